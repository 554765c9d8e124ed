"use strict";

/** The graph's picture, coloured by a metric, whose nodes are picked by click, Enter or arrows. */
function graphView(nodes, pick) {
  const picture = document.getElementById("graph").content.querySelector("svg");
  if (!picture) return null;
  const boxes = [...picture.querySelectorAll(".node")];
  const legend = h("ul", { class: "legend", "aria-label": "colours" });
  const scroll = h("div", { class: "scroll graphbox", tabindex: -1 }, picture);
  const metrics = Object.entries(METRICS).filter(([, metric]) => nodes.some(metric.has));
  const select = h("select", { id: "graph-metric" }, metrics.map(([key, { label }]) => h("option", { value: key }, label)));
  let at = 0, zoom = 1;

  picture.setAttribute("role", "listbox");
  picture.setAttribute("aria-label", "operators in the order of execution; arrows move, Enter opens");
  boxes.forEach((box, k) => {
    box.setAttribute("role", "option");
    box.setAttribute("tabindex", k ? -1 : 0);
    box.addEventListener("click", () => pick(nodes[k]));
  });
  picture.addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -boxes.length, End: boxes.length }[event.key];
    if (move) focusOn(Math.min(boxes.length - 1, Math.max(0, at + move)), true);
    else if (event.key === "Enter" || event.key === " ") pick(nodes[at]);
    else return;
    event.preventDefault();
  });

  function focusOn(k, focus) {
    boxes[at].setAttribute("tabindex", -1);
    at = k;
    boxes[k].setAttribute("tabindex", 0);
    if (focus) boxes[k].focus();
  }

  function paint() {
    const metric = METRICS[select.value];
    const classes = nodes.map((node) => (metric.step ? `step${metric.step(node) ?? "none"}` : node.computes));
    boxes.forEach((box, k) => {
      box.setAttribute("class", `node ${classes[k]}`);
      box.querySelector("title").textContent = [nodes[k].short, nodes[k].op, sizes(nodes[k].shape), metric.text(nodes[k])].filter(Boolean).join(", ");
    });
    const scale = metric.step
      ? metric.scale.texts.map((text, k) => [`step${k}`, text])
      : Object.entries(KINDS).filter(([kind]) => nodes.some((n) => n.computes === kind));
    legend.replaceChildren(...scale.map(([kind, text]) => h("li", {}, h("i", { class: kind }), text)));
  }

  function resize(factor) {
    zoom = Math.min(3, Math.max(0.2, zoom * factor));
    picture.style.width = `${picture.viewBox.baseVal.width * zoom}px`;
    picture.style.height = "auto";
  }

  select.addEventListener("change", paint);
  const zooms = [["−", "smaller", 0.8], ["+", "larger", 1.25]].map(([text, label, factor]) =>
    h("button", { type: "button", "aria-label": label, onclick: () => resize(factor) }, text));
  paint();
  return {
    element: h("div", { class: "graphview" }, h("div", { class: "controls" }, h("label", { for: "graph-metric" }, "Colour by "), select, zooms, legend), scroll),
    select(node) {
      boxes.forEach((box, k) => box.setAttribute("aria-selected", String(k === node.index)));
      focusOn(node.index, false);
      const box = boxes[node.index].getBoundingClientRect(), frame = scroll.getBoundingClientRect();
      scroll.scrollTop += box.top - frame.top - frame.height / 2;
      scroll.scrollLeft += box.left + box.width / 2 - frame.left - frame.width / 2;
    },
  };
}
