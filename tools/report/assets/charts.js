"use strict";

const built = new Set();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * A chart under its title, drawn once it is seen, and again when width or theme change.
 *
 * build(): uPlot's options and data, without sizes; description: the same in words, for who cannot see it.
 */
function figure(title, description, build, height = 240) {
  const box = h("div", { class: "chart", role: "img", "aria-label": `${title}. ${description}` });
  const made = h("figure", {}, h("figcaption", {}, h("b", {}, title), " ", h("span", {}, description)), box);
  const chart = { plot: null, width: 0 };
  chart.draw = () => {
    chart.plot?.destroy();
    const { options, data } = build();
    chart.width = box.clientWidth;
    chart.plot = new uPlot({ width: Math.max(box.clientWidth, 120), height, legend: { show: false }, ...options }, data, box);
  };
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    chart.draw();
    built.add(chart);
  }, { rootMargin: "200px" });
  seen.observe(box);
  new ResizeObserver(() => {
    if (chart.plot && box.clientWidth && box.clientWidth !== chart.width) {
      chart.width = box.clientWidth;
      chart.plot.setSize({ width: box.clientWidth, height });
    }
  }).observe(box);
  made.redraw = () => chart.plot && chart.draw();
  return made;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  built.forEach((chart) => (chart.plot.root.isConnected ? chart.draw() : built.delete(chart)));
});

function axis(label, format, more = {}) {
  const lines = { stroke: colour("line"), width: 1 };
  return { label: label || undefined, labelSize: 16, size: 30, stroke: colour("mute"), grid: lines, ticks: lines, font: "12px system-ui", labelFont: "12px system-ui",
           values: (u, marks) => marks.map((v) => (v === null ? "" : format(v))), ...more };
}

const points = (name, size = 6) => ({ paths: () => null, stroke: colour(name), points: { show: true, size, fill: colour(name) } });
const steps = (values) => values.map((_, k) => k);

/** dB of each node from input to output; a click picks the node. */
function errorChart(series, names, pick) {
  return figure(
    "Error from input to output",
    "SQNR of each operator's output in the order of execution, all before it quantized, too; lower is worse.",
    () => ({
      options: {
        scales: { x: { time: false }, y: { range: (u, low, high) => [Math.min(0, low), Math.max(10, high) * 1.05] } },
        axes: [axis("operator", (v) => (Number.isInteger(v) ? v : "")), axis("dB", (v) => v, { size: 46 })],
        series: [{}, ...series.map(({ label, name, dots }) => ({ label, stroke: colour(name), width: 2, spanGaps: true, ...(dots ? points(name) : {}) }))],
        hooks: { ready: [(u) => u.over.addEventListener("click", () => pick(u.cursor.idx))],
                 setCursor: [(u) => (u.over.title = known(u.cursor.idx) ? hint(u.cursor.idx) : "")] },
      },
      data: [steps(names), ...series.map(({ values }) => values)],
    }),
  );
  function hint(k) {
    return `${names[k]}: ${series.map(({ label, values }) => `${label} ${decibels(values[k]) || "exact"}`).join(", ")}`;
  }
}

/** Bytes of activations alive while each node runs. */
function memoryChart(memory, names, pick) {
  return figure(
    "Memory",
    `Activations alive while each operator runs: at most ${bytes(memory.peak)}, at ${memory.at}; constants take ${bytes(memory.constants)} more.`,
    () => ({
      options: {
        scales: { x: { time: false }, y: { range: (u, low, high) => [0, high * 1.05] } },
        axes: [axis("operator", (v) => (Number.isInteger(v) ? v : "")), axis("", bytes, { size: 66 })],
        series: [{}, { stroke: colour("accent"), fill: colour("accent-pale"), width: 1.5, paths: uPlot.paths.stepped({ align: 1 }) }],
        hooks: { ready: [(u) => u.over.addEventListener("click", () => pick(u.cursor.idx))],
                 setCursor: [(u) => (u.over.title = known(u.cursor.idx) ? `${names[u.cursor.idx]}: ${bytes(memory.live[u.cursor.idx])}` : "")] },
      },
      data: [steps(memory.live), memory.live],
    }),
  );
}

/** What each node reaches against what products and memory allow. */
function roofChart(nodes, cpu, pick) {
  const done = nodes
    .map((node) => ({ node, x: node.macs / moved(node), y: node.macs / node.ms / 1e6 }))
    .filter(({ x, y }) => x > 0 && y > 0 && Number.isFinite(y))
    .sort((a, b) => a.x - b.x);
  const inner = [cpu.int8, cpu.real].map((peak) => peak / cpu.memory);
  const ends = [Math.min(...done.map(({ x }) => x), ...inner) / 2, Math.max(...done.map(({ x }) => x), ...inner) * 2];
  const all = [...done.map(({ x, y, node }) => ({ x, y, node })), ...[...ends, ...inner].map((x) => ({ x, y: null }))].sort((a, b) => a.x - b.x);
  const where = cpu.measured ? "measured on the machine that made this report" : "given by numbers";
  return figure(
    "Roofline",
    `${done.length} operators with products: GMAC/s reached over MACs per byte moved. Lines: ${number(cpu.int8)} GMAC/s in int8, ${number(cpu.real)} in float, ${number(cpu.memory)} GB/s, ${where}. Winograd's algorithm may pass them.`,
    () => ({
      options: {
        scales: { x: { time: false, distr: 3 }, y: { distr: 3 } },
        axes: [axis("MACs per byte", (v) => number(v, 2)), axis("GMAC/s", (v) => number(v, 2), { size: 56 })],
        series: [{}, { label: "int8", ...points("int8") }, { label: "float", ...points("float") },
                 { stroke: colour("int8"), width: 1.5 }, { stroke: colour("float"), width: 1.5, dash: [6, 4] }],
        hooks: { ready: [(u) => u.over.addEventListener("click", () => known(u.cursor.idx) && all[u.cursor.idx].node && pick(nodes.indexOf(all[u.cursor.idx].node)))],
                 setCursor: [(u) => (u.over.title = all[u.cursor.idx]?.node?.name ?? "")] },
      },
      data: [
        all.map(({ x }) => x),
        all.map(({ y, node }) => (node?.computes === "int8" ? y : null)),
        all.map(({ y, node }) => (node && node.computes !== "int8" ? y : null)),
        all.map(({ x }) => Math.min(cpu.int8, cpu.memory * x)),
        all.map(({ x }) => Math.min(cpu.real, cpu.memory * x)),
      ],
    }),
    300,
  );
}

/** Upright lines at chosen values of x. */
function uprights(lines) {
  return (u) => {
    for (const { at, name, dash, wide } of lines()) {
      const x = u.valToPos(at, "x", true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
      u.ctx.save();
      u.ctx.strokeStyle = colour(name);
      u.ctx.lineWidth = wide * devicePixelRatio;
      u.ctx.setLineDash(dash.map((n) => n * devicePixelRatio));
      u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
      u.ctx.restore();
    }
  };
}

/** Calibration's histogram with the range taken and the range of the method that `looked()` names. */
function histogramChart(histogram, looked) {
  const middles = histogram.counts.map((_, k) => histogram.low + (k + 0.5) * histogram.width);
  const lines = () => {
    const other = histogram.ranges[looked()] ?? [];
    return [...histogram.range.map((at) => ({ at, name: "accent", dash: [], wide: 2 })),
            ...other.map((at) => ({ at, name: "bad", dash: [5, 4], wide: 2 }))];
  };
  const widest = Object.values(histogram.ranges).concat([histogram.range]);
  const reach = [Math.min(histogram.low, ...widest.map(([low]) => low)), Math.max(middles.at(-1) + histogram.width / 2, ...widest.map(([, high]) => high))];
  const [low, high] = histogram.range;
  return figure(
    "Values that calibration saw",
    `Counts on a logarithmic scale; codes reach from ${number(low)} to ${number(high)} (${histogram.method}), solid lines.`,
    () => ({
      options: {
        scales: { x: { time: false, range: () => [reach[0], reach[1] + (reach[1] - reach[0]) * 0.01] }, y: { distr: 3, range: (u, a, b) => [0.7, Math.max(b, 10)] } },
        axes: [axis("value", (v) => number(v, 3)), axis("count", count, { size: 52 })],
        series: [{}, { stroke: colour("mute"), fill: colour("bar"), width: 0, paths: uPlot.paths.bars({ size: [1, Infinity] }), points: { show: false } }],
        hooks: { draw: [uprights(lines)] },
      },
      data: [middles, histogram.counts.map((n) => n || null)],
    }),
    200,
  );
}

function channelChart([low, high], range) {
  const flat = (at) => low.map(() => at);
  return figure(
    "Range of each channel",
    `Least and greatest float value of ${low.length} channels${range ? "; dashed: what the codes reach" : ""}.`,
    () => ({
      options: {
        scales: { x: { time: false } },
        axes: [axis("channel", (v) => (Number.isInteger(v) ? v : "")), axis("", (v) => number(v, 3), { size: 52 })],
        series: [{}, { stroke: colour("accent"), width: 1 }, { stroke: colour("accent"), width: 1 },
                 ...(range ? range.map(() => ({ stroke: colour("bad"), width: 1, dash: [5, 4], points: { show: false } })) : [])],
        bands: [{ series: [2, 1], fill: colour("accent-pale") }],
      },
      data: [steps(low), low, high, ...(range ? range.map(flat) : [])],
    }),
    180,
  );
}

function valuesChart([real, made]) {
  const pairs = real.map((x, k) => [x, made[k]]).sort((a, b) => a[0] - b[0]);
  return figure(
    "Float against quantized values",
    `${pairs.length} values of a sample; on the line nothing is lost.`,
    () => ({
      options: {
        scales: { x: { time: false } },
        axes: [axis("float", (v) => number(v, 3)), axis("quantized", (v) => number(v, 3), { size: 56 })],
        series: [{}, points("accent", 5), { stroke: colour("mute"), width: 1, points: { show: false } }],
      },
      data: [pairs.map(([x]) => x), pairs.map(([, y]) => y), pairs.map(([x]) => x)],
    }),
    200,
  );
}
