"use strict";

const tile = (label, value, more, kind) =>
  h("div", { class: `tile ${kind ?? ""}` }, h("span", { class: "label" }, label), h("b", {}, value), h("span", { class: "more" }, more ?? ""));

const VERDICTS = { exact: "good", faithful: "good", usable: "fair", poor: "bad" };

function bestFile(report) {
  const files = Object.entries(report.files ?? {});
  return files.length ? files.reduce((a, b) => (a[1] <= b[1] ? a : b)) : null;
}

function timeTile(report) {
  const mine = report.time_ms?.min ?? null, other = report.other_time_ms?.min ?? null;
  if (mine === null) return known(report.forecast_ms) && report.nodes ? tile("Forecast", milliseconds(report.forecast_ms), cpuText(report.cpu)) : null;
  const against = other === null ? "" : `${kindOfOther(report)} ${milliseconds(other)}, ${number(other / mine, 3)} times this; `;
  return tile("Time of a run", milliseconds(mine), `${against}${report.threads} ${report.threads === 1 ? "thread" : "threads"}, least of ${report.time_ms.runs}`);
}

const kindOfOther = (report) => (report.kind === "conversion" ? "float" : "the other");
const cpuText = (cpu) => (cpu ? `${number(cpu.int8)} GMAC/s int8, ${number(cpu.real)} float, ${number(cpu.memory)} GB/s${cpu.measured ? ", measured here" : ""}` : "");

function accuracyTiles(report) {
  const tiles = [];
  for (const [model, rates] of Object.entries(report.top_k ?? {})) {
    const rate = rates["1"];
    if (rate) tiles.push(tile(`Top-1 of ${model.split("/").at(-1)}`, percent(rate[0]), `± ${(100 * rate[1]).toFixed(2)} points`));
  }
  const outputs = report.fidelity?.outputs ?? report.comparison?.outputs;
  if (!outputs?.length) return tiles;
  const worst = outputs.reduce((a, b) => ((a.sqnr ?? Infinity) <= (b.sqnr ?? Infinity) ? a : b));
  const same = known(worst.same_class) ? `, same class ${percent(worst.same_class)}` : "";
  const { samples, held_back: heldBack, random } = report.fidelity ?? {};
  const on = random ? "; on a random input, there are no data" : samples ? `; ${samples} samples${heldBack ? " held back" : ", fitted to"}` : "";
  tiles.push(tile("Against float", known(worst.sqnr) ? decibels(worst.sqnr) : "exact", `cosine ${number(worst.cosine, 6)}${same}${on}`));
  return tiles;
}

function headline({ report }) {
  const file = bestFile(report), tiles = [];
  if (file) tiles.push(tile("Size", bytes(file[1]), `${percent(file[1] / report.source_bytes)} of ${bytes(report.source_bytes)}`));
  if (report.bytes) tiles.push(tile("Size", bytes(report.bytes), report.format));
  tiles.push(timeTile(report), ...accuracyTiles(report));
  if (report.verdict) tiles.push(tile("Verdict", report.verdict, "of the worst output: faithful from 30 dB, usable from 20", VERDICTS[report.verdict]));
  if (report.memory) tiles.push(tile("Peak memory", bytes(report.memory.peak + report.memory.constants), `${bytes(report.memory.peak)} of activations, forecast`));
  const warnings = (report.notes ?? []).filter((note) => note.startsWith("warning: "));
  const unmeasured = report.trace?.samples === 0 ? [h("p", {}, `Losses and times were not measured: ${report.trace.of.replace(/^none: /, "")}.`)] : [];
  return [h("div", { class: "tiles" }, tiles.filter(Boolean)), ...unmeasured, ...warnings.map((note) => h("p", { class: "warning" }, note))];
}

function where(node) {
  const q = node.quality;
  if (!q) return "";
  const [w, x] = [q.sqnr_weights ?? Infinity, q.sqnr_activations ?? Infinity];
  const side = Math.abs(w - x) < 3 ? "weights and input alike" : w < x ? "its weights" : "its input's codes";
  return `${side}${q.clip_rate > 0.001 ? `; ${(100 * q.clip_rate).toFixed(1)} % of its output clipped` : ""}`;
}

function worstSection(model, pick) {
  const worst = worstOf(model.nodes);
  if (!worst.length) return null;
  const diagnosed = worst.some((n) => n.diagnosis);
  const columns = [
    layerColumn(),
    { label: "operator", value: (n) => n.op },
    { label: "alone", number: true, least: true, value: (n) => n.alone, text: (n) => decibels(n.alone), help: "SQNR of the layer quantized alone" },
    { label: "so far", number: true, least: true, value: (n) => n.sqnr, text: (n) => decibels(n.sqnr), help: "SQNR of its output, all before it quantized, too" },
    ...(diagnosed ? [] : [{ label: "lost by", value: where }]),
    ...(diagnosed ? [
      { label: "cause", value: (n) => n.diagnosis?.cause }, { label: "tried cure", value: (n) => n.diagnosis?.cure },
      { label: "gain", number: true, value: (n) => n.diagnosis?.gain, text: (n) => decibels(n.diagnosis?.gain) }] : []),
  ].filter((column) => worst.some((n) => known(column.value(n)) && column.value(n) !== ""));
  const table = sortable({ id: "worst", caption: "By what each loses alone; a name opens", columns, rows: worst, pick, search: false });
  return section("worst-layers", `The ${worst.length} worst layers`, table.element);
}

const layerColumn = () => ({ label: "layer", value: (n) => n.short, text: (n) => cut(n.short), title: (n) => n.name });

function layersTable(model, pick) {
  const { nodes } = model;
  const some = (test) => nodes.some(test);
  const columns = [
    { ...layerColumn() },
    { label: "operator", value: (n) => n.op },
    { label: "output", value: (n) => sizes(n.shape) },
    { label: "on", value: (n) => (n.computes === "codes" ? "codes" : kindOf(n)), title: kindOf, help: "what it computes on" },
    some((n) => known(n.bits)) && { label: "bits", number: true, value: (n) => n.bits, help: "of its weights" },
    { label: "weights", number: true, value: (n) => n.bytes.constants || null, text: (n) => (n.bytes.constants ? bytes(n.bytes.constants) : "") },
    some((n) => known(n.alone)) && { label: "alone", number: true, least: true, value: (n) => n.alone, text: (n) => decibels(n.alone), help: "SQNR of the layer quantized alone" },
    some((n) => known(n.sqnr)) && { label: "so far", number: true, least: true, value: (n) => n.sqnr, text: (n) => decibels(n.sqnr), help: "SQNR of its output, all before it quantized, too" },
    some((n) => known(n.ms)) && { label: "time", number: true, value: (n) => n.ms, text: (n) => milliseconds(n.ms) || (n.step ? "fused" : ""), title: (n) => (n.step && !known(n.ms) ? `within ${n.stepShort}` : null), bar: (n) => n.share * 4, help: "measured; the bar is its share, full at a quarter" },
    some((n) => n.forecast_ms) && { label: "at best", number: true, value: (n) => n.forecast_ms, text: (n) => milliseconds(n.forecast_ms), help: "what products and memory of the CPU allow" },
    { label: "MACs", number: true, value: (n) => n.macs || null, text: (n) => (n.macs ? count(n.macs) : "") },
    { label: "moved", number: true, value: moved, text: (n) => bytes(moved(n)), help: "bytes read and written, with constants" },
  ].filter(Boolean);
  const kinds = Object.entries(KINDS).filter(([kind]) => some((n) => n.computes === kind));
  const filters = kinds.length > 1 ? [{ label: "on", options: [["all", () => true], ...kinds.map(([kind, text]) => [text, (n) => n.computes === kind])] }] : [];
  return sortable({ id: "layers", caption: "All operators; a head sorts, a name opens", columns, rows: nodes, pick, filters });
}

function typesTable({ nodes, total }) {
  const types = new Map();
  for (const node of nodes) {
    const row = types.get(node.op) ?? { op: node.op, count: 0, ms: 0, macs: 0, moved: 0 };
    types.set(node.op, { ...row, count: row.count + 1, ms: row.ms + (node.ms ?? 0), macs: row.macs + node.macs, moved: row.moved + moved(node) });
  }
  const columns = [
    { label: "operator", value: (r) => r.op },
    { label: "count", number: true, value: (r) => r.count },
    total && { label: "time", number: true, value: (r) => r.ms || null, text: (r) => milliseconds(r.ms || null), bar: (r) => r.ms / total },
    { label: "MACs", number: true, value: (r) => r.macs || null, text: (r) => (r.macs ? count(r.macs) : "") },
    { label: "moved", number: true, value: (r) => r.moved, text: (r) => bytes(r.moved) },
  ].filter(Boolean);
  const first = { column: total ? 2 : 1, down: true };
  return sortable({ id: "types", caption: "By operator", columns, rows: [...types.values()], search: false, first }).element;
}

function timesAndMemory(model, pick) {
  const { nodes, report } = model, charts = [];
  if (report.cpu && nodes.some((n) => n.ms && n.macs)) charts.push(roofChart(nodes, report.cpu, (k) => pick(nodes[k])));
  if (report.memory?.live?.length > 1) charts.push(memoryChart(report.memory, nodes.map((n) => n.short), (k) => pick(nodes[k])));
  const lines = [];
  if (report.cpu && known(report.forecast_ms)) lines.push(`At best ${milliseconds(report.forecast_ms)} on a CPU of ${cpuText(report.cpu)}: each operator bound by its products or its bytes, one after the other.`);
  return section("performance", "Time and memory", ...lines.map((text) => h("p", {}, text)), h("div", { class: "pair" }, typesTable(model), ...charts));
}

function decisions({ report, nodes }) {
  const parts = [];
  const floats = nodes.filter((n) => n.computes !== "int8" && n.why);
  if (floats.length) parts.push(plainTable("floats", "What stays in float", ["operator", "type", "why"], floats.map((n) => [n.short, n.op, n.why])));
  const done = (report.passes ?? []).filter((r) => r.kind === "change"), left = (report.passes ?? []).filter((r) => r.kind !== "change");
  if (done.length) parts.push(plainTable("passes", "What the passes did", ["pass", "node", "what"], done.map((r) => [r.pass_name, cut(r.node.split(";")[0], 48), r.what])));
  if (left.length) parts.push(plainTable("refused", "What they left alone", ["pass", "node", "why"], left.map((r) => [r.pass_name, cut(r.node.split(";")[0], 48), r.reason])));
  const weights = report.layers ?? [];
  if (weights.length) {
    const cells = weights.map((r) => [cut(r.layer.split(";")[0], 40), r.op, sizes(r.shape), r.why ? (r.bits === 16 ? "float16" : "float") : r.bits, r.bytes_before, r.bytes_after, r.why || r.form]);
    parts.push(plainTable("weights", "Weights in the file", ["layer", "operator", "shape", "bits", "bytes before", "after", "stored, or why not"], cells));
  }
  return parts.length ? section("decisions", "What was fused, what stays float, and why", ...parts) : null;
}

function rest({ report }) {
  const parts = [];
  const notes = [...(report.notes ?? []).filter((note) => !note.startsWith("warning: ")), ...(report.runs ?? [])];
  if (notes.length) parts.push(h("ul", {}, notes.map((note) => h("li", {}, note))));
  if (report.data) {
    const few = (v) => (Array.isArray(v) ? (v.length > 4 ? `${v.slice(0, 4).map((x) => number(x)).join(", ")}, …` : v.map((x) => number(x)).join(", ")) : known(v) ? String(v) : "");
    const labels = Object.keys(report.data.inputs[0] ?? {});
    parts.push(h("h3", {}, `Calibration data: ${report.data.samples} samples`), plainTable("data", "Inputs as they were fed", labels.map((l) => l.replaceAll("_", " ")), report.data.inputs.map((row) => labels.map((l) => few(row[l])))));
  }
  const files = Object.entries(report.files ?? {});
  if (files.length) parts.push(plainTable("files", "Files", ["file", "bytes"], [[report.source, report.source_bytes], ...files]));
  return parts.length ? section("notes", "Notes, data and files", ...parts) : null;
}
