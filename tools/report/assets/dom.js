"use strict";

/** An element with attributes (on…: listeners) and children; strings become text, never markup. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const known = (value) => value !== null && value !== undefined;
const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);

const WHOLE = new Intl.NumberFormat("en");
const ROUNDED = new Map();

/** A number in about four digits. */
function number(value, digits = 4) {
  if (!known(value)) return "";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return WHOLE.format(value);
  if (!ROUNDED.has(digits)) ROUNDED.set(digits, new Intl.NumberFormat("en", { maximumSignificantDigits: digits }));
  return ROUNDED.get(digits).format(Number(value.toPrecision(digits)));
}

function scaled(value, units, step) {
  if (!known(value)) return "";
  let k = 0;
  while (Math.abs(value) >= step && k < units.length - 1) {
    value /= step;
    k += 1;
  }
  return `${k ? value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0) : value}${units[k]}`;
}

const bytes = (value) => scaled(value, [" B", " KB", " MB", " GB"], 1000);
const count = (value) => scaled(value, ["", " k", " M", " G"], 1000);
const decibels = (value) => (known(value) ? `${value.toFixed(1)} dB` : "");

/** Milliseconds as such, or as microseconds where they are few. */
function milliseconds(value) {
  if (!known(value)) return "";
  return value < 0.1 ? `${(1000 * value).toFixed(1)} µs` : `${value.toFixed(value < 10 ? 3 : 1)} ms`;
}

const percent = (value) => (known(value) ? `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %` : "");
const sizes = (shape) => (shape ? shape.map((d) => d ?? "?").join("×") : "?");

/** The folder that nearly all names are in, "model/": it tells none from another. */
function commonFolder(names) {
  const tops = new Map();
  for (const name of names) {
    const top = name.slice(0, name.indexOf("/") + 1);
    tops.set(top, (tops.get(top) ?? 0) + 1);
  }
  const [top, many] = [...tops].reduce((a, b) => (b[1] > a[1] ? b : a), ["", 0]);
  if (!top || many < 0.8 * names.length) return "";
  return top + commonFolder(names.filter((name) => name.startsWith(top)).map((name) => name.slice(top.length)));
}

/** A layer's name as it is shown: the first of those that TFLite joins, without the common folder. */
function shortName(name, common) {
  const first = name.split(";")[0];
  return (first.startsWith(common) ? first.slice(common.length) : first) || name;
}

/** A name cut in its middle, where long names differ least. */
function cut(text, most = 34) {
  if (text.length <= most) return text;
  const tail = (most - 1) >> 1;
  return `${text.slice(0, most - 1 - tail)}…${text.slice(text.length - tail)}`;
}

function section(id, title, ...children) {
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), ...children);
}

/** Terms with what they are; those of which nothing is known are left out. */
function facts(pairs) {
  const shown = pairs.filter(([, value]) => known(value) && value !== "");
  return h("dl", {}, shown.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}
