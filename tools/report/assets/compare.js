"use strict";

/** Two reports side by side: their headlines, errors and operators, joined by name. */
function compared(models) {
  const [a, b] = models, names = ["A", "B"];
  const tops = models.map((model, k) => section(`run-${names[k].toLowerCase()}`, `${names[k]}: ${titleOf(model.report)}`, ...headline(model)));
  const others = new Map(b.nodes.map((node) => [node.name, node]));
  const rows = a.nodes.map((node) => ({ name: node.name, short: node.short, op: node.op, a: node, b: others.get(node.name) }));
  const mine = new Set(a.nodes.map((node) => node.name));
  rows.push(...b.nodes.filter((node) => !mine.has(node.name)).map((node) => ({ name: node.name, short: node.short, op: node.op, a: undefined, b: node })));
  const both = (get) => (row) => (row.a && row.b && known(get(row.a)) && known(get(row.b)) ? get(row.b) - get(row.a) : null);
  const signed = (value, text) => (known(value) ? `${value > 0 ? "+" : value < 0 ? "−" : "±"}${text(Math.abs(value))}` : "");
  const kinds = [["time", (n) => n.ms, milliseconds], ["so far", (n) => n.sqnr, decibels], ["alone", (n) => n.alone, decibels], ["weights", (n) => n.bytes.constants || null, bytes]]
    .filter(([, get]) => models.some(({ nodes }) => nodes.some((n) => known(get(n)))));
  const columns = [
    { label: "layer", value: (r) => r.short, text: (r) => cut(r.short), title: (r) => r.name },
    { label: "operator", value: (r) => r.op },
    { label: "on", value: (r) => [r.a, r.b].map((n) => (n ? n.computes : "–")).filter((k, i, all) => !i || k !== all[0]).join(" → ") },
    ...kinds.flatMap(([label, get, text]) => [
      { label: `${label} A`, number: true, value: (r) => (r.a ? get(r.a) : null), text: (r) => (r.a ? text(get(r.a)) : "") },
      { label: `${label} B`, number: true, value: (r) => (r.b ? get(r.b) : null), text: (r) => (r.b ? text(get(r.b)) : "") },
      { label: "B − A", number: true, value: both(get), text: (r) => signed(both(get)(r), text) },
    ]),
  ];
  const parts = [h("div", { class: "pair runs" }, tops)];
  if (models.some(({ nodes }) => nodes.some((n) => known(n.sqnr)))) {
    const series = models.map((_, k) => ({ label: names[k], name: ["accent", "float"][k], values: rows.map((r) => (k ? r.b : r.a)?.sqnr ?? null) }));
    parts.push(section("errors", "Error (blue: A, amber: B)", errorChart(series, rows.map((r) => r.short), () => {})));
  }
  if (rows.length) {
    const filters = [{ label: "in", options: [["either", () => true], ["both", (r) => r.a && r.b], ["one alone", (r) => !r.a || !r.b]] }];
    parts.push(section("all", "Operators", sortable({ id: "layers", caption: "Operators of both runs, by name", columns, rows, filters }).element));
  }
  return parts;
}
