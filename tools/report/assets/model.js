"use strict";

const moved = (node) => sum(Object.values(node.bytes));

/** Where a figure lies among bounds: 0 (harmless) to bounds.length. */
const rank = (value, bounds) => bounds.filter((bound) => value >= bound).length;

const LOSSES = { bounds: [-40, -30, -25, -20, -15], texts: ["above 40 dB", "30–40", "25–30", "20–25", "15–20", "below 15 dB"] };
const SHARES = { bounds: [0.01, 0.02, 0.04, 0.08, 0.16], texts: ["below 1 %", "1–2", "2–4", "4–8", "8–16", "above 16 %"] };
const lossStep = (value) => (known(value) ? rank(-value, LOSSES.bounds) : null);

/** What nodes can be coloured by: name → steps of a scale, its texts, and the value in words. */
const METRICS = {
  loss: { label: "loss so far", scale: LOSSES, step: (n) => lossStep(n.sqnr), text: (n) => decibels(n.sqnr), has: (n) => known(n.sqnr) },
  alone: { label: "loss of the layer alone", scale: LOSSES, step: (n) => lossStep(n.alone), text: (n) => decibels(n.alone), has: (n) => known(n.alone) },
  time: { label: "time", scale: SHARES, step: (n) => (known(n.ms) ? rank(n.share, SHARES.bounds) : null),
          text: (n) => (known(n.ms) ? `${milliseconds(n.ms)}, ${percent(n.share)}` : n.step ? `within ${n.stepShort}` : ""), has: (n) => known(n.ms) },
  bits: { label: "type", text: (n) => `${kindOf(n)}${known(n.bits) ? `, weights of ${n.bits} bits` : ""}`, has: () => true },
};

const KINDS = { int8: "int8", codes: "float on weights in codes", float: "float", other: "integers" };
const kindOf = (node) => KINDS[node.computes];

/** A report's document with everything known of a node on that node. */
function modelOf(report) {
  const nodes = (report.nodes ?? []).map((node, index) => ({ ...node, index }));
  const common = commonFolder(nodes.map(({ name }) => name.split(";")[0]));
  const by = (rows, key) => new Map((rows ?? []).map((row) => [row[key], row]));
  const quality = by(report.quality, "layer"), weights = by(report.layers, "layer"), found = by(report.diagnosis, "layer");
  const total = sum(nodes.map(({ ms }) => ms ?? 0));
  for (const node of nodes) {
    node.short = shortName(node.name, common);
    node.quality = quality.get(node.name);
    node.weights = weights.get(node.name);
    node.diagnosis = found.get(node.name);
    node.alone = node.quality?.sqnr_both;
    node.share = total ? (node.ms ?? 0) / total : 0;
    node.why ||= node.computes === "int8" ? "" : node.weights?.why ?? "";
  }
  const shorts = new Map(nodes.map((node) => [node.name, node.short]));
  const stepName = (step) => shorts.get(step) ?? stepParts(step, shorts).join(" + ");
  for (const node of nodes) {
    node.added = addedNoise(node, nodes);
    if (node.step) node.stepShort = stepName(node.step);
  }
  if (report.memory) report.memory.at = shorts.get(report.memory.at) ?? report.memory.at;
  return { report, nodes, total };
}

/** The operators of a step, whose names it joins with "+". */
function stepParts(step, shorts) {
  return step.split("+").filter((part) => shorts.has(part)).map((part) => shorts.get(part));
}

/** The share of an output's energy that is lost there and was not on any input. */
function addedNoise(node, nodes) {
  const noise = (n) => (known(n.sqnr) ? 10 ** (-n.sqnr / 10) : 0);
  const before = node.inputs.filter((k) => k >= 0).map((k) => noise(nodes[k]));
  return Math.max(0, noise(node) - Math.max(0, ...before));
}

/** The nodes that lose most: those that were diagnosed, then by their own loss, else by what they add. */
function worstOf(nodes, most = 10) {
  const loss = (n) => (known(n.alone) ? 10 ** (-n.alone / 10) : n.added);
  const diagnosed = nodes.filter((n) => n.diagnosis);
  const others = nodes.filter((n) => !n.diagnosis && loss(n) > 0).sort((a, b) => loss(b) - loss(a));
  return [...diagnosed, ...others].slice(0, most);
}
