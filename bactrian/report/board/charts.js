// Curves of several steps over one another, with a cursor that all charts share.

const WIDE = 360, HIGH = 176, LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 22;

/** Round ticks that hold both numbers. */
function ticksBetween(low, high, about = 4) {
  if (!(high - low > 1e-6 * Math.max(Math.abs(low), Math.abs(high)))) [low, high] = low ? [Math.min(0, low), Math.max(0, low)] : [0, 1];
  const power = 10 ** Math.floor(Math.log10((high - low) / about));
  const width = [1, 2, 5, 10].map((each) => each * power).find((each) => (high - low) / about <= each * 1.001);
  const ticks = [];
  for (let at = Math.floor(low / width + 1e-9); at <= Math.ceil(high / width - 1e-9); at++) ticks.push(Number((at * width).toPrecision(12)));
  return ticks;
}

/** The mean of the `width` points around each: as smooth as the eye wants it, at the ends over fewer. */
function smoothed(values, width) {
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1) + value);
  const half = Math.floor(width / 2);
  return values.map((_, at) => {
    const reach = Math.min(half, at, values.length - 1 - at);
    return (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1);
  });
}

function smoothingOf(points) { return points < 12 ? 1 : Math.max(3, Math.floor(points / 15)) | 1; }

function nearest(xs, x) {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle; else high = middle;
  }
  return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
}

class Panel {
  /** series: [{colour, label, xs, ys}]; look: {log, smooth, unit}; cursor: told of every move, as onmove(x or null). */
  constructor(title, note, series, look, onmove) {
    Object.assign(this, { title, series, look, onmove, at: null });
    const scale = (y) => (look.log ? Math.log10(y) : y);
    this.usable = series.map((each) => {
      const kept = each.ys.map((y, i) => i).filter((i) => Number.isFinite(scale(each.ys[i])));
      return { ...each, xs: kept.map((i) => each.xs[i]), ys: kept.map((i) => each.ys[i]) };
    }).filter((each) => each.xs.length);
    this.readout = el("dl", { class: "values" });
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "curve", role: "img", tabindex: 0, "aria-label": `${title}; arrow keys move the cursor` });
    this.element = el("figure", { class: "panel" }, el("figcaption", {}, el("b", {}, title), note && el("small", {}, note)), this.svg, this.readout);
    if (this.usable.length) this.draw(scale);
    this.say(null);
  }

  draw(scale) {
    const xs = this.usable.flatMap((each) => [each.xs[0], each.xs.at(-1)]);
    this.low = Math.min(...xs);
    this.high = Math.max(...xs);
    const smooth = this.usable.map((each) => {
      const ys = each.ys.map(scale);
      return { ys, line: this.look.smooth ? smoothed(ys, smoothingOf(ys.length)) : ys };
    });
    const range = smooth.flatMap((each) => this.look.smooth ? trimmed(each) : [least(each.ys), most(each.ys)]);
    const ticks = ticksBetween(Math.min(...range), Math.max(...range));
    this.x = (at) => LEFT + (this.high > this.low ? (at - this.low) / (this.high - this.low) : 0.5) * (WIDE - LEFT - RIGHT);
    this.y = (value) => HIGH - BOTTOM - Math.min(1.04, Math.max(-0.04, (value - ticks[0]) / (ticks.at(-1) - ticks[0]))) * (HIGH - TOP - BOTTOM);
    for (const tick of ticks) {
      const y = this.y(tick).toFixed(1);
      this.svg.append(drawn("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y, y2: y, class: "grid" }));
      this.svg.append(drawn("text", { x: LEFT - 6, y: Number(y) + 4, "text-anchor": "end" }, number(this.look.log ? 10 ** tick : tick)));
    }
    const ends = this.high > this.low ? [[this.low, "start"], [this.high, "end"]] : [[this.low, "middle"]];
    for (const [at, anchor] of ends) {
      this.svg.append(drawn("text", { x: this.x(at).toFixed(1), y: HIGH - 5, "text-anchor": anchor }, `${this.look.unit} ${number(at)}`));
    }
    this.usable.forEach((each, which) => {
      const place = (y, i) => `${this.x(each.xs[i]).toFixed(1)} ${this.y(y).toFixed(1)}`;
      if (this.look.smooth && each.xs.length > 1) this.svg.append(drawn("path", { class: `raw c${each.colour}`, d: smooth[which].ys.map((y, i) => `M${place(y, i)}h0`).join("") }));
      if (each.xs.length > 1) this.svg.append(drawn("path", { class: `line c${each.colour}`, d: `M${smooth[which].line.map(place).join("L")}` }));
      else this.svg.append(drawn("circle", { class: `only c${each.colour}`, r: 3.5, cx: this.x(each.xs[0]), cy: this.y(smooth[which].ys[0]) }));
    });
    this.cursor = drawn("line", { class: "cursor", y1: TOP, y2: HIGH - BOTTOM, visibility: "hidden" });
    this.svg.append(this.cursor);
    this.svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
      this.onmove(this.low + (Math.min(WIDE - RIGHT, Math.max(LEFT, at.x)) - LEFT) / (WIDE - LEFT - RIGHT) * (this.high - this.low));
    });
    this.svg.addEventListener("pointerleave", () => this.onmove(null));
    this.svg.addEventListener("blur", () => this.onmove(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
  }

  step(event) {
    const xs = this.usable[0].xs, ends = { Home: 0, End: xs.length - 1 };
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (by === undefined && ends[event.key] === undefined) return;
    event.preventDefault();
    const from = this.at === null ? (by < 0 ? xs.length : -1) : nearest(xs, this.at);
    this.onmove(xs[ends[event.key] ?? Math.min(xs.length - 1, Math.max(0, from + by))]);
  }

  /** Shows the cursor at x, and the values there; without x the last values. */
  say(x) {
    this.at = x;
    this.readout.replaceChildren();
    for (const each of this.usable) {
      const i = x === null ? each.xs.length - 1 : nearest(each.xs, x);
      const where = x === null || this.usable.length > 1 && i === 0 ? "" : ` · ${this.look.unit} ${number(each.xs[i])}`;
      this.readout.append(el("div", {}, el("dt", {}, el("i", { class: `swatch c${each.colour}` }), each.label), el("dd", {}, number(each.ys[i]), el("span", {}, where))));
    }
    if (!this.cursor) return;
    this.cursor.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (x !== null) for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.x(Math.min(this.high, Math.max(this.low, x))).toFixed(1));
  }
}

function least(values) { return values.reduce((a, b) => Math.min(a, b), Infinity); }
function most(values) { return values.reduce((a, b) => Math.max(a, b), -Infinity); }

/** The range of a line and of all but the wildest raw points, which are drawn at the edge. */
function trimmed(each) {
  const sorted = [...each.ys].sort((a, b) => a - b), cut = Math.floor(sorted.length / 100);
  return [Math.min(sorted[cut], least(each.line)), Math.max(sorted[sorted.length - 1 - cut], most(each.line))];
}
