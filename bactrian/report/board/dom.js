"use strict";
// Elements and numbers. Whatever comes from data or models is set as text, never as markup.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\u{e0000}-\u{e007f}]/gu;

/** Text in which nothing can hide or reorder its surroundings: as the report's `visible`. */
function visible(text) {
  return String(text).replaceAll("\r\n", "\n").replace(HIDDEN, (found) =>
    `⟨U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** An element: el("b", {class: "name", onclick}, "text", child). */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  fill(made, attributes, children);
  return made;
}

/** The same for SVG. */
function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(made, attributes, children);
  return made;
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, key === "value" ? value : visible(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
}

/** Seconds since 1970 as this place writes them, in the order of the run's own times: 2026-11-29 17:00. */
function local(seconds) {
  const then = new Date(seconds * 1000);
  return new Date(seconds * 1000 - then.getTimezoneOffset() * 60000).toISOString().slice(0, 16).replace("T", " ");
}

const THIN = "\u202f";
const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function count(value) { return plain.format(value); }

function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 10000) return count(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1).replace("-", "−");
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

function percent(share, digits = 1) { return Number.isFinite(share) ? `${(100 * share).toFixed(digits)}${THIN}%` : "–"; }

function points(share) {
  const size = Math.abs(100 * share).toFixed(1);
  return Number(size) === 0 ? size : `${share < 0 ? "−" : "+"}${size}`;
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}${THIN}s`;
  const two = (part) => String(part).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function size(bytes) {
  for (const [unit, of] of [["GiB", 2 ** 30], ["MiB", 2 ** 20]]) {
    if (bytes >= of) return `${(bytes / of).toFixed(1)}${THIN}${unit}`;
  }
  return `${count(bytes / 1024)}${THIN}KiB`;
}

/** A `select` whose options are [value, label]. */
function choice(label, options, value, onchange) {
  const select = el("select", { "aria-label": label, onchange: () => onchange(select.value) });
  for (const [key, shown] of options) select.append(el("option", { value: key }, shown));
  select.value = value;
  return el("label", { class: "choice" }, el("span", {}, label), select);
}
