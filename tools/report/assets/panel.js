"use strict";

/** Everything known of one node. */
function panelOf(node, model) {
  const { cpu } = model.report;
  const q = node.quality ?? {}, d = node.diagnosis ?? {};
  const reached = node.ms && node.macs ? `${number(node.macs / node.ms / 1e6, 3)} GMAC/s` : "";
  const bound = cpu && node.macs ? (node.macs / moved(node) > peakOf(node, cpu) / cpu.memory ? "its products" : "memory") : "";
  const parts = [
    h("h3", { id: "panel-title", tabindex: -1 }, node.short),
    node.name !== node.short ? h("p", { class: "full" }, node.name) : null,
    facts([
      ["Operator", node.op], ["Output", `${node.dtype} ${sizes(node.shape)}`], ["Computes on", kindOf(node)],
      ["In float because", node.why], ["Weights", known(node.bits) ? `${node.bits} bits, ${bytes(node.bytes.constants)}` : ""],
      ["Stands for", node.fused.join(", ")],
      ["Cause", d.cause], ["Tried cure", d.cure], ["Gain of the cure", known(d.gain) ? decibels(d.gain) : ""],
      ["Loss alone", decibels(q.sqnr_both)], ["of its weights", decibels(q.sqnr_weights)], ["of its input", decibels(q.sqnr_activations)],
      ["Loss so far", "sqnr" in node ? decibels(node.sqnr) || "exact" : ""], ["Cosine so far", known(node.cosine) ? String(node.cosine) : ""],
      ["Range taken by", q.method], ["Clipped", q.clip_rate ? `${(100 * q.clip_rate).toFixed(3)} % of the values` : ""],
    ]),
    facts([
      ["Time", known(node.ms) ? `${milliseconds(node.ms)}, ${percent(node.share)} of all` : node.step ? `within ${node.stepShort}` : ""],
      ["Runs in one step", node.step && node.step !== node.name && known(node.ms) ? node.stepShort : ""],
      ["At best", known(node.forecast_ms) ? milliseconds(node.forecast_ms) : ""], ["bound by", bound],
      ["MACs", node.macs ? count(node.macs) : ""], ["Reaches", reached],
      ["Reads, writes, constants", [node.bytes.read, node.bytes.written, node.bytes.constants].map(bytes).join(", ")],
    ]),
  ];
  if (node.histogram) parts.push(...histogramOf(node.histogram));
  if (node.channels) parts.push(channelChart(node.channels, node.histogram?.range));
  if (node.values?.length) parts.push(valuesChart(node.values));
  return parts;
}

const peakOf = (node, cpu) => (node.computes === "int8" ? cpu.int8 : cpu.real);

/** The histogram with a choice of the method whose range is drawn beside the one taken. */
function histogramOf(histogram) {
  const id = "panel-method";
  const names = Object.keys(histogram.ranges);
  const text = (name) => `${name}: ${histogram.ranges[name].map((v) => number(v)).join(" … ")}`;
  const select = h("select", { id }, h("option", { value: "" }, "none"), names.map((name) => h("option", { value: name }, text(name))));
  const chart = histogramChart(histogram, () => select.value);
  select.addEventListener("change", () => chart.redraw());
  return [chart, h("div", { class: "controls" }, h("label", { for: id }, "Dashed: the range by "), select)];
}
