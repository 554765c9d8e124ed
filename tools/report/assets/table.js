"use strict";

/**
 * A table that sorts by its heads and filters by words and by choices.
 *
 * columns: {label, value(row), text(row)?, number?, bar(row)? (0..1), title(row)?, help?, least? (sort: least first)}.
 * filters: {label, options: [[text, test(row)]]}. pick(row): what a row's first cell does.
 */
function sortable({ id, caption, columns, rows, pick, filters = [], search = true, first = null, most = Infinity }) {
  const body = h("tbody");
  const told = h("p", { class: "told", role: "status" });
  let order = first, words = "";
  const tests = filters.map(() => () => true);
  const lines = new Map();

  const heads = columns.map((column, k) => {
    const button = h("button", { type: "button", title: column.help, onclick: () => sortBy(k) }, column.label);
    return h("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": "none" }, button);
  });

  function cell(column, row, k) {
    const text = column.text ? column.text(row) : known(column.value(row)) ? String(column.value(row)) : "";
    const title = column.title ? column.title(row) : null;
    const kind = [column.number ? "number" : "", column.bar ? "barred" : ""].join(" ").trim() || null;
    const inside = k === 0 && pick ? h("button", { type: "button", class: "link", onclick: () => pick(row) }, text) : text;
    const made = h(k === 0 ? "th" : "td", { scope: k === 0 ? "row" : null, class: kind, title }, inside);
    if (column.bar) made.style.setProperty("--share", String(Math.min(1, column.bar(row) || 0)));
    return made;
  }

  function line(row) {
    if (!lines.has(row)) lines.set(row, h("tr", {}, columns.map((column, k) => cell(column, row, k))));
    return lines.get(row);
  }

  function shown() {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (row) => columns.map((c) => `${c.value(row) ?? ""} ${c.title ? c.title(row) : ""}`).join(" ").toLowerCase();
    const kept = rows.filter((row) => tests.every((test) => test(row)) && (!wanted.length || wanted.every((w) => text(row).includes(w))));
    if (!order) return kept;
    const { value } = columns[order.column];
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    return [...kept].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (!known(x) || !known(y)) return known(x) ? -1 : known(y) ? 1 : 0;
      return order.down ? compare(y, x) : compare(x, y);
    });
  }

  function draw() {
    const found = shown();
    body.replaceChildren(...found.slice(0, most).map(line));
    heads.forEach((head, k) => {
      const state = order && order.column === k ? (order.down ? "descending" : "ascending") : "none";
      head.setAttribute("aria-sort", state);
    });
    told.textContent = search ? `${found.length} of ${rows.length}` : "";
  }

  function sortBy(k) {
    const down = columns[k].number && !columns[k].least;
    order = order && order.column === k ? { column: k, down: !order.down } : { column: k, down };
    draw();
  }

  const controls = h("div", { class: "controls" });
  if (search) {
    const input = h("input", { type: "search", id: `${id}-search`, placeholder: "name, operator, …" });
    input.addEventListener("input", () => ((words = input.value), draw()));
    controls.append(h("label", { for: `${id}-search` }, "Filter "), input);
    filters.forEach((filter, k) => {
      const select = h("select", { id: `${id}-filter-${k}` }, filter.options.map(([text], n) => h("option", { value: n }, text)));
      select.addEventListener("change", () => ((tests[k] = filter.options[Number(select.value)][1]), draw()));
      controls.append(h("label", { for: select.id }, `${filter.label} `), select);
    });
    controls.append(told);
  }
  draw();
  const table = h("table", { id }, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads)), body);
  const box = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, table);
  return {
    element: h("div", { class: "tabled" }, search ? controls : null, box),
    select: (row) => lines.forEach((tr, key) => tr.toggleAttribute("data-picked", key === row)),
  };
}

/** A table of text and numbers as they come. */
function plainTable(id, caption, labels, cells) {
  const rows = cells.map((values) => ({ values }));
  const columns = labels.map((label, k) => ({
    label,
    value: (row) => row.values[k],
    text: (row) => (typeof row.values[k] === "number" ? number(row.values[k]) : row.values[k] ?? ""),
    number: cells.some((values) => typeof values[k] === "number"),
  }));
  return sortable({ id, caption, columns, rows, search: rows.length > 12 }).element;
}
