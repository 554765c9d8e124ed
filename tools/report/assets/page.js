"use strict";

function titleOf(report) {
  const names = [report.source ?? report.model ?? report.file ?? "", ...Object.keys(report.files ?? {})];
  return names.filter(Boolean).map((name) => name.split("/").at(-1)).join(" → ");
}

/** One report: everything known, and a panel that shows the operator that was picked. Sections as functions, from the top. */
function single(model) {
  const { report, nodes } = model;
  const panel = h("aside", { id: "panel", "aria-labelledby": "panel-title" }, h("h3", { id: "panel-title" }, "No operator picked"), h("p", {}, "Click one in the graph, a chart or a table."));
  let graph = null, table = null, picked = null;
  const pick = (node, focus = true) => {
    if (!node) return;
    picked = node;
    panel.replaceChildren(...panelOf(node, model).filter(Boolean));
    panel.scrollTop = 0;
    graph?.select(node);
    table?.select(node);
    if (focus && matchMedia("(max-width: 900px)").matches) panel.scrollIntoView({ block: "start" });
    if (focus) panel.querySelector("h3").focus({ preventScroll: true });
  };
  const parts = [() => [...headline(model), worstSection(model, pick)]];
  if (nodes.length) {
    parts.push(() => {
      graph = graphView(nodes, pick);
      return [graph && section("graph-section", "Graph", h("div", { class: "split" }, graph.element, panel))];
    });
    parts.push(() => {
      const start = worstOf(nodes, 1)[0] ?? [...nodes].sort((a, b) => (b.ms ?? b.macs) - (a.ms ?? a.macs))[0];
      if (!picked) pick(start, false);
      return [];
    });
  }
  if (nodes.some((n) => known(n.sqnr))) parts.push(() => [errorSection(model, pick)]);
  if (nodes.length) {
    parts.push(() => {
      table = layersTable(model, pick);
      table.select(picked);
      return [section("all", "All operators", table.element)];
    });
    parts.push(() => [timesAndMemory(model, pick)]);
  }
  parts.push(() => [decisions(model)], () => [rest(model)]);
  return parts;
}

function errorSection({ report, nodes }, pick) {
  const series = [{ label: "so far", name: "accent", values: nodes.map((n) => n.sqnr ?? null) },
                  { label: "alone", name: "float", dots: true, values: nodes.map((n) => n.alone ?? null) }];
  const of = report.trace?.samples ? `On ${report.trace.samples} samples of ${report.trace.of}. Line: so far; dots: the layer alone.` : "";
  return section("error", "Error", errorChart(series, nodes.map((n) => n.short), (k) => pick(nodes[k])), h("p", {}, of));
}

/** Puts what is made of parts, functions that give elements, on the page: the first at once, each other after a frame, so
 * that what is seen answers before the rest is there; busy until then. */
async function draw(parts) {
  const page = document.getElementById("page");
  page.querySelector("noscript").remove();
  page.setAttribute("aria-busy", "true");
  for (const part of parts) {
    page.append(...part().filter(Boolean));
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
  }
  page.removeAttribute("aria-busy");
}

{
  const models = JSON.parse(document.getElementById("documents").textContent).map(modelOf);
  draw(models.length > 1 ? [() => compared(models)] : single(models[0]));
}
