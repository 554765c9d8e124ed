"use strict";

function titleOf(report) {
  const names = [report.source ?? report.model ?? report.file ?? "", ...Object.keys(report.files ?? {})];
  return names.filter(Boolean).map((name) => name.split("/").at(-1)).join(" → ");
}

/** One report: everything known, and a panel that shows the operator that was picked. */
function single(model) {
  const { report, nodes } = model;
  const panel = h("aside", { id: "panel", "aria-labelledby": "panel-title" }, h("h3", { id: "panel-title" }, "No operator picked"), h("p", {}, "Click one in the graph, a chart or a table."));
  const pick = (node, focus = true) => {
    if (!node) return;
    panel.replaceChildren(...panelOf(node, model).filter(Boolean));
    panel.scrollTop = 0;
    graph?.select(node);
    table.select(node);
    if (focus && matchMedia("(max-width: 900px)").matches) panel.scrollIntoView({ block: "start" });
    if (focus) panel.querySelector("h3").focus({ preventScroll: true });
  };
  const graph = nodes.length ? graphView(nodes, pick) : null;
  const table = layersTable(model, pick);
  const worst = worstSection(model, pick);
  const parts = [...headline(model), worst];
  if (graph) parts.push(section("graph-section", "Graph", h("div", { class: "split" }, graph.element, panel)));
  if (nodes.some((n) => known(n.sqnr))) {
    const series = [{ label: "so far", name: "accent", values: nodes.map((n) => n.sqnr ?? null) },
                    { label: "alone", name: "float", dots: true, values: nodes.map((n) => n.alone ?? null) }];
    const of = report.trace?.samples ? `On ${report.trace.samples} samples of ${report.trace.of}. Line: so far; dots: the layer alone.` : "";
    parts.push(section("error", "Error", errorChart(series, nodes.map((n) => n.short), (k) => pick(nodes[k])), h("p", {}, of)));
  }
  if (nodes.length) parts.push(section("all", "All operators", table.element), timesAndMemory(model, pick));
  parts.push(decisions(model), rest(model));
  const start = worstOf(nodes, 1)[0] ?? [...nodes].sort((a, b) => (b.ms ?? b.macs) - (a.ms ?? a.macs))[0];
  return { parts: parts.filter(Boolean), ready: () => pick(start, false) };
}

{
  const models = JSON.parse(document.getElementById("documents").textContent).map(modelOf);
  const { parts, ready } = models.length > 1 ? { parts: compared(models) } : single(models[0]);
  const page = document.getElementById("page");
  page.querySelector("noscript").remove();
  page.append(...parts);
  ready?.();
}
