// Every answer of a step: filters, a list of any length, and what the chosen answers say, with an interval.

const ROW = 54, MORE = 8;
const OUTCOMES = ["right", "wrong", "unparsable", "truncated", "timed_out", "refused", "crashed"];
const SORTS = {
  order: "as they stand", latest: "latest step first", question: "by question", hardest: "hardest questions first",
  best: "highest score first", worst: "lowest score first", longest: "longest first", shortest: "shortest first",
};
const CHANGES = { gained: "gained", lost: "lost", both: "right both times", neither: "not right either time", same: "as before" };

class SamplesView {
  constructor(root, source, tell) {
    Object.assign(this, { root, source, tell, asked: {}, items: [], at: 0 });
    this.detail = new DetailView(source, (row) => this.goto(row), (by) => this.move(by), tell);
    this.tools = el("div", { class: "tools" });
    this.said = el("div", { class: "said", role: "status" });
    this.chips = el("div", { class: "chips", role: "group", "aria-label": "Outcomes" });
    this.space = el("div", { class: "space" });
    this.list = el("div", { class: "rows", role: "listbox", tabindex: 0, "aria-label": "Answers", onscroll: () => this.paint(), onkeydown: (event) => this.key(event) }, this.space);
    const hint = el("p", { class: "fine keys" }, "↑ ↓ or j k: next · / search · f fold · d differences · Esc back");
    this.left = el("div", { class: "left" }, this.chips, this.said, this.list, hint);
    this.root.replaceChildren(this.tools, el("div", { class: "panes" }, this.left, this.detail.element));
    new ResizeObserver(() => this.paint()).observe(this.list);
  }

  /** Steps that have answers, as far as they are known now. */
  offer(runs) {
    this.steps = runs.flatMap((run) => run.steps.filter((each) => each.samples).map((each) => ({ ...each, run: run.name })));
    const text = JSON.stringify(this.steps.map((each) => [each.id, each.run, each.name]));
    if (text === this.offered) return;
    this.offered = text;
    if (this.step) this.drawTools();
  }

  /** `words`: what the address says beside the step. */
  async show(step, words = new URLSearchParams()) {
    const chosen = step ?? this.step ?? (this.steps?.find((each) => each.samples === "answers") ?? this.steps?.[0])?.id;
    if (!chosen) return this.said.replaceChildren(el("p", { class: "nothing" }, "No step of this store has left answers yet."));
    if (chosen === this.step && this.index) return this.paint();
    this.step = chosen;
    this.said.replaceChildren(el("p", { class: "nothing" }, "Reading the answers …"));
    await this.load(false, words);
  }

  /** Reads the index; `again`: the same step has gone on, so what was chosen stays. */
  async load(again, words = new URLSearchParams()) {
    const step = this.step, index = await this.source.samples(step);
    if (step !== this.step || again && index.count === this.index.count) return;
    const current = again ? this.items[this.at]?.rows[0] : undefined;
    this.index = index;
    this.read = { ...index.rows };
    this.members = Array.from({ length: index.questions.length }, () => []);
    this.read.question.forEach((question, row) => this.members[question].push(row));
    if (!again) {
      const { labels } = index, rollouts = index.kind === "rollouts";
      this.asked = {
        task: labels.task.length === 1 || rollouts ? "" : "0", mode: labels.mode.includes("greedy") && labels.mode.length > 1 ? String(labels.mode.indexOf("greedy")) : "",
        model: rollouts ? "" : String(labels.model.length - 1), beside: "", words: "", sort: rollouts ? "latest" : "order",
        from: "", to: "", outcomes: new Set(), changes: new Set(),
      };
      for (const name of Object.keys(this.asked)) {
        if (!words.has(name)) continue;
        const given = words.get(name);
        this.asked[name] = this.asked[name] instanceof Set ? new Set(given.split(",").filter(Boolean)) : given;
      }
      this.hits = null;
      this.at = 0;
      this.drawTools();
      if (this.asked.words) await this.find(this.asked.words);
    }
    this.filter(again || !words.has("row") ? current : Number(words.get("row")));
    if (words.has("row")) this.root.classList.add("reading");
  }

  /** The address of what is shown, for a reload or another reader. */
  remember() {
    const words = new URLSearchParams({ samples: this.step });
    for (const [name, value] of Object.entries(this.asked)) {
      const text = value instanceof Set ? [...value].join(",") : value;
      if (text) words.set(name, text);
    }
    if (this.root.classList.contains("reading") && this.items.length) words.set("row", this.items[this.at].rows.at(-1));
    history.replaceState(null, "", `#${words}`);
  }

  drawTools() {
    const { asked } = this, { labels, kind } = this.index ?? { labels: {} };
    const set = (name) => (value) => { asked[name] = value; this.filter(); };
    const names = (list, all) => [...(all ? [["", all]] : []), ...list.map((each, at) => [String(at), each || "–"])];
    const parts = [choice("Step", this.steps.map((each) => [each.id, `${each.run} · ${each.name}`]), this.step, (step) => this.show(step).catch(this.tell))];
    if (this.index) {
      if (labels.task.length > 1) parts.push(choice("Task", names(labels.task, "all"), asked.task, set("task")));
      if (labels.mode.length > 1) parts.push(choice("Asked", names(labels.mode, "all ways"), asked.mode, set("mode")));
      if (labels.model.length > 1) {
        parts.push(choice("Model", names(labels.model, "all"), asked.model, (value) => { asked.model = value; if (!value) asked.beside = ""; this.drawTools(); this.filter(); }));
        if (asked.model) parts.push(choice("Against", names(labels.model, "none").filter(([key]) => key !== asked.model), asked.beside, set("beside")));
      }
      if (kind === "rollouts") parts.push(this.box("Steps from", "from"), this.box("to", "to"));
      parts.push(choice("Order", Object.entries(SORTS).filter(([key]) => kind === "rollouts" || key !== "latest"), asked.sort, set("sort")));
      parts.push(this.searchBox());
    }
    this.tools.replaceChildren(...parts);
  }

  box(label, name) {
    const input = el("input", { type: "number", min: 1, value: this.asked[name], "aria-label": label, onchange: () => { this.asked[name] = input.value; this.filter(); } });
    return el("label", { class: "choice" }, el("span", {}, label), input);
  }

  searchBox() {
    this.search = el("input", { type: "search", placeholder: 'words, or "a phrase"', value: this.asked.words, "aria-label": "Search in questions and answers" });
    const ask = () => this.find(this.search.value.trim()).catch(this.tell);
    this.search.addEventListener("input", () => { clearTimeout(this.wait); this.wait = setTimeout(ask, 250); });
    this.search.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); this.list.focus(); } });
    return el("label", { class: "choice search" }, el("span", {}, "Search"), this.search);
  }

  async find(words) {
    this.asked.words = words;
    const found = words ? await this.source.search(this.step, words) : null;
    if (words !== this.asked.words) return;
    this.hits = null;
    if (found) {
      this.hits = new Uint8Array(this.index.count);
      for (const row of found) this.hits[row] = 1;
    }
    this.filter();
  }

  /** The rows of a model that all filters but those of outcomes let through. */
  among(model) {
    const { asked, read, hits } = this, found = [];
    const task = asked.task === "" ? null : Number(asked.task), mode = asked.mode === "" ? null : Number(asked.mode);
    const from = asked.from ? Number(asked.from) : -Infinity, to = asked.to ? Number(asked.to) : Infinity;
    for (let row = 0; row < this.index.count; row++) {
      if (model !== null && read.model[row] !== model || task !== null && read.task[row] !== task || mode !== null && read.mode[row] !== mode) continue;
      if (hits && !hits[row] || read.step && (read.step[row] < from || read.step[row] > to)) continue;
      found.push(row);
    }
    return found;
  }

  filter(keep) {
    const { asked } = this, wanted = keep ?? this.items[this.at]?.rows[0];
    const model = asked.model === "" ? null : Number(asked.model);
    this.rows = this.among(model);
    this.several = this.rows.some((row) => this.read.sample?.[row] > 0);
    if (asked.beside !== "") this.pair(Number(asked.beside));
    else {
      this.all = this.rows.map((row) => ({ rows: [row], question: this.read.question[row] }));
      const outcome = (row) => this.outcome(row);
      this.items = asked.outcomes.size ? this.all.filter((item) => asked.outcomes.has(outcome(item.rows[0]))) : this.all;
      this.counts = new Map();
      for (const row of this.rows) this.counts.set(outcome(row), (this.counts.get(outcome(row)) ?? 0) + 1);
    }
    this.sort();
    this.at = Math.max(0, wanted === undefined ? 0 : this.items.findIndex((item) => item.rows.includes(wanted)));
    this.drawChips();
    this.tellNumbers();
    this.space.style.height = `${this.items.length * ROW}px`;
    this.reveal();
    this.paint();
    this.open();
    this.remember();
  }

  /** Questions that both models answered: [the other's answers, this one's], and how the score moved. */
  pair(beside) {
    const by = (rows) => Map.groupBy ? Map.groupBy(rows, (row) => this.place(row)) : grouped(rows, (row) => this.place(row));
    const before = by(this.among(beside)), after = by(this.rows);
    this.all = [...after].filter(([place]) => before.has(place)).map(([place, rows]) => {
      const [x, y] = [this.mean(before.get(place)), this.mean(rows)];
      const bits = this.inBits(rows[0]);
      return { rows: [before.get(place)[0], rows[0]], question: this.read.question[rows[0]], x, y, bits, change: changeOf(x, y, bits) };
    });
    this.items = this.asked.changes.size ? this.all.filter((item) => this.asked.changes.has(item.change)) : this.all;
    this.counts = new Map();
    for (const item of this.all) this.counts.set(item.change, (this.counts.get(item.change) ?? 0) + 1);
  }

  place(row) { return this.read.question[row] * this.index.labels.mode.length + this.read.mode[row]; }
  inBits(row) { return this.index.bits.includes(this.read.task[row]); }
  outcome(row) { return this.inBits(row) ? "text" : this.index.labels.outcome[this.read.outcome[row]]; }
  mean(rows) { return rows.reduce((sum, row) => sum + this.read.score[row], 0) / rows.length; }

  sort() {
    const { read, asked } = this, last = (item) => item.rows.at(-1);
    const by = {
      latest: (item) => -read.step[last(item)], question: (item) => item.question, hardest: (item) => this.mean(this.members[item.question]),
      best: (item) => -read.score[last(item)], worst: (item) => read.score[last(item)],
      longest: (item) => -read.tokens[last(item)], shortest: (item) => read.tokens[last(item)],
    }[asked.sort];
    if (!by) return;
    const keys = new Map(this.items.map((item) => [item, by(item)]));
    this.items = [...this.items].sort((a, b) => keys.get(a) - keys.get(b));
  }

  drawChips() {
    const two = this.asked.beside !== "", chosen = two ? this.asked.changes : this.asked.outcomes;
    const names = (two ? Object.keys(CHANGES) : [...OUTCOMES, ...[...this.counts.keys()].filter((each) => !OUTCOMES.includes(each))]).filter((each) => this.counts.get(each) || chosen.has(each));
    const focus = document.activeElement?.dataset?.chip;
    this.chips.replaceChildren(...names.map((name) => el("button", {
      type: "button", class: `chip ${name}`, "data-chip": name, "aria-pressed": String(chosen.has(name)),
      onclick: () => { chosen.has(name) ? chosen.delete(name) : chosen.add(name); this.filter(); },
    }, el("i", { class: "key" }), (CHANGES[name] ?? name.replaceAll("_", " ")) || "no outcome", " ", el("b", {}, count(this.counts.get(name) ?? 0)))));
    if (focus) this.chips.querySelector(`[data-chip="${CSS.escape(focus)}"]`)?.focus();
  }

  /** The means by question of a selection, and the most answers to one question. */
  means(rows) {
    const by = grouped(rows, (row) => this.place(row));
    return [[...by.values()].map((each) => this.mean(each)), Math.max(1, ...[...by.values()].slice(0, 5000).map((each) => each.length))];
  }

  tellNumbers() {
    const { asked, index } = this, name = (which) => index.labels.model[which];
    if (!this.all.length) return this.said.replaceChildren(el("p", { class: "nothing" }, "No answer is like that."));
    const bits = this.rows.every((row) => this.inBits(row));  // among tasks with answers, texts are left out: one mean of both is of nothing
    const scored = this.rows.filter((row) => this.read.score?.[row] !== null && this.inBits(row) === bits);
    const whole = scored.every((row) => this.read.score[row] === 0 || this.read.score[row] === 1);
    const what = bits ? "bits per byte, mean over texts" : whole ? "right" : "mean score";
    const lines = [];
    if (asked.beside === "") {
      const [means, samples] = this.means(scored);
      if (means.length) {
        const share = means.reduce((a, b) => a + b, 0) / means.length;
        const inside = !bits && means.every((each) => each >= 0 && each <= 1);
        const interval = inside ? clusteredWilson(means, samples) : null;
        lines.push(el("p", {}, el("b", {}, inside ? percent(share) : number(share)), ` ${what}`, interval && ` [${percent(interval[0])}, ${percent(interval[1])}]`,
          el("span", { class: "soft" }, ` · ${bits ? `${count(means.length)} texts` : `${count(scored.length)} answers to ${count(means.length)} questions`}${interval ? " · Wilson, by question" : ""}`)));
      }
    } else {
      const compared = this.all.filter((item) => item.bits === bits);
      const found = paired(compared.map((item) => item.x), compared.map((item) => item.y)), text = (value) => differenceText(value, bits);
      const told = found.p < 0.05 && (found.interval[0] > 0 || found.interval[1] < 0);
      lines.push(el("p", {}, `${name(asked.beside)} → ${name(asked.model)}: `, el("b", { class: told ? (found.difference > 0 !== bits ? "better" : "worse") : "" }, `${text(found.difference)} ${bits ? "bits per byte" : "points"}`),
        ` [${text(found.interval[0])}, ${text(found.interval[1])}], ${pValue(found.p)}`,
        el("span", { class: "soft" }, ` · ${count(found.n)} ${bits ? "texts" : "questions"}, ${count(found.gained)} up, ${count(found.lost)} down · ${found.test}`)));
    }
    if (this.items.length !== this.all.length) lines.push(el("p", { class: "fine" }, `Listed: ${count(this.items.length)} of them. The numbers above are of all, as what is picked by its outcome proves nothing.`));
    this.said.replaceChildren(...lines);
  }

  /** Only the rows in sight are in the document. */
  paint() {
    if (!this.items.length || !this.list.clientHeight) return void this.space.replaceChildren();
    const first = Math.max(0, Math.floor(this.list.scrollTop / ROW) - MORE);
    const last = Math.min(this.items.length, Math.ceil((this.list.scrollTop + this.list.clientHeight) / ROW) + MORE);
    const made = [];
    for (let at = first; at < last; at++) made.push(this.row(at));
    this.space.replaceChildren(...made);
    this.list.setAttribute("aria-activedescendant", `row-${this.at}`);
  }

  row(at) {
    const item = this.items[at], row = item.rows.at(-1), { read, index } = this;
    const label = (each) => this.outcome(each);
    const about = [];
    if (read.step) about.push(`step ${read.step[row]}`);
    if (this.asked.beside === "" && this.asked.model === "" && index.labels.model.length > 1) about.push(index.labels.model[read.model[row]]);
    if (index.labels.task.length > 1 && this.asked.task === "") about.push(index.labels.task[read.task[row]]);
    if (index.labels.mode.length > 1 && this.asked.mode === "") about.push(index.labels.mode[read.mode[row]]);
    if (this.several && this.asked.beside === "") about.push(`answer ${read.sample[row] + 1}`);
    if (read.reward) about.push(`reward ${number(read.reward[row])}`);
    about.push(`${read.tokens?.[row] ?? "?"} tokens`, `read as ${index.extracted[read.extracted[row]] || "nothing"}`);
    const [, id, head] = index.questions[item.question];
    const made = el("div", { class: "item", role: "option", id: `row-${at}`, "aria-selected": String(at === this.at), "aria-setsize": this.items.length, "aria-posinset": at + 1, onclick: () => this.select(at, true) },
      el("span", { class: "marks" }, item.rows.map((each) => el("i", { class: `mark ${label(each)}`, title: label(each) }))),
      el("span", { class: "head", dir: "auto" }, head || id), el("span", { class: "about" }, item.change ? `${CHANGES[item.change]} · ` : `${label(row).replaceAll("_", " ")} · `, about.join(" · ")));
    made.style.top = `${at * ROW}px`;
    return made;
  }

  select(at, opened = false) {
    if (!this.items.length) return;
    this.at = Math.min(this.items.length - 1, Math.max(0, at));
    this.reveal();
    this.paint();
    this.open();
    if (opened) this.root.classList.add("reading");
    this.remember();
  }

  move(by) { this.select(this.at + by); }

  goto(row) {
    const at = this.items.findIndex((item) => item.rows.at(-1) === row);
    if (at >= 0) this.select(at);
  }

  reveal() {
    const top = this.at * ROW, { scrollTop, clientHeight } = this.list;
    if (top < scrollTop) this.list.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.list.scrollTop = top + ROW - clientHeight;
  }

  open() {
    const item = this.items[this.at];
    if (!item) return this.detail.clear();
    const beside = item.rows.length > 1 ? item.rows[0] : null;
    this.detail.show(this.step, this.index, item.rows.at(-1), beside, this.members[item.question], `${count(this.at + 1)} of ${count(this.items.length)}`);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.list.clientHeight / ROW) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page }[event.key];
    if (by) this.move(by);
    else if (event.key === "Home") this.select(0);
    else if (event.key === "End") this.select(this.items.length - 1);
    else if (event.key === "Enter") { this.root.classList.add("reading"); this.detail.element.focus(); }
    else return;
    event.preventDefault();
  }
}

function grouped(rows, key) {
  const found = new Map();
  for (const row of rows) {
    const mine = found.get(key(row));
    if (mine) mine.push(row); else found.set(key(row), [row]);
  }
  return found;
}
