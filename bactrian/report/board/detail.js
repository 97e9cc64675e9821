// One answer, or two beside each other: the question without its examples, what was said, and where the two differ.

const MOST_CELLS = 4e6;

class DetailView {
  constructor(source, goto, move, tell) {
    Object.assign(this, { source, goto, move, tell, folded: true, marked: true });
    this.element = el("article", { class: "detail", tabindex: -1, "aria-label": "The chosen answer" });
  }

  clear() {
    this.now = null;
    this.element.replaceChildren();
  }

  async show(step, index, row, beside, members, where) {
    const now = this.now = { step, index, row, beside, members, where };
    try {
      const texts = await this.source.texts(step, beside === null ? [row] : [beside, row]);
      if (this.now === now) this.draw(texts);
    } catch (fault) {
      this.tell(fault);
    }
  }

  draw(texts) {
    const { index, row, beside, where } = this.now, main = texts.at(-1);
    this.texts = texts;
    const question = bare(main.prompt.slice(main.start)), before = main.prompt.slice(0, main.start);
    const button = (label, name, by) => el("button", { type: "button", "aria-label": name, onclick: () => this.move(by) }, label);
    const parts = [
      el("div", { class: "top" },
        el("button", { type: "button", class: "back", onclick: () => document.querySelector("#samples").classList.remove("reading") }, "← List"),
        button("↑", "Previous answer", -1), button("↓", "Next answer", 1), el("span", { class: "soft" }, where),
        el("span", { class: "soft id", dir: "auto" }, `${main.task} · question ${main.question}${main.group ? ` · ${main.group}` : ""}`)),
    ];
    if (bare(before)) parts.push(this.fold(`What stands before the question: ${count(before.length)} characters`, () => el("pre", { dir: "auto", tabindex: 0 }, before), !this.folded));
    parts.push(el("pre", { class: "question", dir: "auto", tabindex: 0 }, question || main.prompt));
    parts.push(el("p", { class: "gold" }, "right answer ", el("b", { dir: "auto" }, main.ground_truth || "none given")));
    const apart = texts.length > 1 && this.marked ? differences(...texts.map(answerOf)) : null;
    parts.push(el("div", { class: texts.length > 1 ? "two" : "" }, texts.map((each, at) => this.answer(each, apart?.[at], at === 0 ? "gone" : "new"))));
    if (texts.length > 1) {
      const box = el("input", { type: "checkbox", checked: this.marked, onchange: () => { this.marked = box.checked; this.draw(this.texts); } });
      parts.push(el("label", { class: "toggle" }, box, "mark the differences"));
    }
    parts.push(this.others(index, row, beside));
    parts.push(this.fold("The prompt exactly as the model saw it", () => el("pre", { dir: "auto", tabindex: 0 }, main.prompt), false));
    this.element.replaceChildren(...parts);
    this.element.scrollTop = 0;
  }

  fold(title, content, open) {
    const details = el("details", { open, ontoggle: () => { if (details.open && details.children.length === 1) details.append(content()); } }, el("summary", {}, title));
    if (open) details.append(content());
    return details;
  }

  answer(it, pieces, tone) {
    const at = it.answer_at ?? 0, facts = [];
    if (it.step) facts.push(`step ${it.step}`);
    if (it.reward !== undefined && it.reward !== null) facts.push(`reward ${number(it.reward)}`);
    facts.push(`score ${number(it.score ?? 0)}`, `${count(it.tokens ?? 0)} tokens`);
    if (it.finish) facts.push(`ended by ${it.finish}`);
    const said = pieces ? pieces.map(([text, shared]) => (shared ? text : el("mark", { class: tone }, text))) : [answerOf(it)];
    return el("div", { class: "answer" },
      el("p", { class: "by" }, el("span", { class: `badge ${it.outcome}` }, it.outcome.replaceAll("_", " ") || "no outcome"), " ", el("b", { dir: "auto" }, it.model), " ", el("span", {}, it.mode, it.sample ? `, answer ${it.sample + 1}` : "")),
      at > 0 && this.fold(`Thinking${it.thinking_tokens ? `, ${count(it.thinking_tokens)} tokens` : ""}`, () => el("pre", { dir: "auto", tabindex: 0 }, it.completion.slice(0, at).trim()), false),
      el("pre", { dir: "auto", tabindex: 0 }, said),
      el("p", { class: "fine" }, "read as ", el("b", { dir: "auto" }, it.extracted === "∅" ? "nothing" : it.extracted || "–"), it.reason && ` (${it.reason})`, ` · ${facts.join(" · ")}`));
  }

  /** Other answers to the same question, to read or to lay beside this one. */
  others(index, row, beside) {
    const { read, members } = { read: index.rows, members: this.now.members };
    if (members.length < 2) return null;
    const name = (each) => [read.step && `step ${read.step[each]}`, index.labels.model.length > 1 && index.labels.model[read.model[each]], index.labels.mode.length > 1 && index.labels.mode[read.mode[each]], `answer ${(read.sample?.[each] ?? 0) + 1}`].filter(Boolean).join(", ");
    const shown = members.length > 300 ? members.slice(0, 300) : members;
    const options = shown.filter((each) => each !== row).map((each) => [String(each), `${index.labels.outcome[read.outcome[each]].replaceAll("_", " ")} · ${name(each)}`]);
    const lay = choice(`Beside it, of ${count(members.length)} answers to this question`, [["", "none"], ...options], beside === null ? "" : String(beside), (value) => {
      const { step, where } = this.now;
      this.show(step, index, row, value === "" ? null : Number(value), members, where);
    });
    const marks = el("p", { class: "others" }, shown.map((each) => el("button", { type: "button", class: `mark ${index.labels.outcome[read.outcome[each]]}`, "aria-current": String(each === row), title: name(each), "aria-label": `${index.labels.outcome[read.outcome[each]]}, ${name(each)}`, onclick: () => this.jump(each) })));
    return el("div", { class: "same" }, lay, marks);
  }

  jump(row) {
    const { step, index, members, where } = this.now;
    this.show(step, index, row, null, members, where);
    this.goto(row);
  }

  toggle(what) {
    if (!this.now || !this.texts) return;
    this[what] = !this[what];
    this.draw(this.texts);
  }
}

function answerOf(it) { return (it.answer_at ? it.completion.slice(it.answer_at).trimStart() : it.completion) ?? ""; }

/** Both texts in pieces [text, shared], by words; of very long ones by lines. */
function differences(first, second) {
  for (const cut of [/(\s+|[^\s\p{L}\p{N}])/u, /(\n)/]) {
    const [a, b] = [first, second].map((text) => text.split(cut).filter((piece) => piece !== ""));
    let start = 0, end = 0;
    while (start < Math.min(a.length, b.length) && a[start] === b[start]) start++;
    while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++;
    const [left, right] = [a, b].map((each) => each.slice(start, each.length - end));
    if (left.length * right.length > MOST_CELLS) continue;
    const [kept, held] = common(left, right);
    const flags = (each, middle) => each.map((piece, at) => [piece, at < start || at >= each.length - end || middle[at - start] === 1]);
    return [joined(flags(a, kept)), joined(flags(b, held))];
  }
  return [[[first, false]], [[second, false]]];
}

/** Which pieces of each are in a longest common subsequence. */
function common(a, b) {
  const wide = b.length + 1, table = new Uint32Array((a.length + 1) * wide);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i * wide + j] = a[i] === b[j] ? table[(i + 1) * wide + j + 1] + 1 : Math.max(table[(i + 1) * wide + j], table[i * wide + j + 1]);
    }
  }
  const kept = new Uint8Array(a.length), held = new Uint8Array(b.length);
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) kept[i++] = held[j++] = 1;
    else if (table[(i + 1) * wide + j] >= table[i * wide + j + 1]) i++;
    else j++;
  }
  return [kept, held];
}

function joined(flags) {
  const pieces = [];
  for (const [text, shared] of flags) {
    if (pieces.length && pieces.at(-1)[1] === shared) pieces.at(-1)[0] += text;
    else pieces.push([text, shared]);
  }
  return pieces;
}
