// The runs of the store: how far each step is, and the curves of those that are ticked.

const COLOURS = 8, EVERY = 3000;
const STATUS = { made: "made", reused: "reused", making: "being made", cut: "cut, resumes", waiting: "waiting" };

class RunsView {
  constructor(root, source, openSamples, tell) {
    Object.assign(this, { root, source, openSamples, tell });
    this.ticked = null;   // step id → colour, in order of ticking; null: nothing was chosen by hand
    this.curves = new Map();
    this.look = { log: false, smooth: true, unit: "step" };
    this.open = new Map();
    this.list = el("div", { class: "list" });
    this.charts = el("div", { class: "charts" });
    this.tools = el("div", { class: "tools" });
    this.root.replaceChildren(this.list, el("div", {}, this.tools, this.charts));
    this.drawTools();
  }

  async lookAgain() {
    const state = await this.source.runs();
    this.steps = new Map(state.runs.flatMap((run) => run.steps.filter((each) => each.id).map((each) => [each.id, { ...each, run: run.name }])));
    if (this.ticked === null) this.choose(state.runs);
    this.now = state.now;
    const text = JSON.stringify([state.runs, [...this.ticked]]);
    if (text !== this.shown) {
      this.shown = text;
      this.drawList(state);
    }
    await this.readCurves();
    return state;
  }

  /** What is being made, or else the last step that has curves. */
  choose(runs) {
    const all = runs.slice(0, 1).flatMap((run) => run.steps).filter((each) => each.curves);
    const first = all.find((each) => each.status === "making") ?? all.at(-1);
    this.ticked = new Map(first ? [[first.id, 0]] : []);
    if (!first) this.ticked = runs.length ? new Map() : null;
  }

  /** Lay these steps over one another, as the address says. */
  async pick(steps) {
    this.ticked = new Map(steps.filter((each) => this.steps.get(each)?.curves).map((each, at) => [each, at % COLOURS]));
    await this.lookAgain();
  }

  tick(step, on) {
    if (on) {
      const taken = new Set(this.ticked.values());
      const free = [...Array(COLOURS).keys()].find((each) => !taken.has(each)) ?? this.ticked.size % COLOURS;
      this.ticked.set(step, free);
    } else this.ticked.delete(step);
    history.replaceState(null, "", `#runs=${[...this.ticked.keys()].join()}`);
    this.lookAgain().catch(this.tell);
  }

  drawList(state) {
    const focused = document.activeElement?.dataset?.step;
    this.list.replaceChildren();
    if (!state.runs.length) this.list.append(el("p", { class: "nothing" }, "No run in this store yet. It appears here when its first step begins."));
    state.runs.forEach((run, place) => {
      const busy = run.steps.some((each) => each.status === "making");
      const done = run.steps.filter((each) => each.status === "made" || each.status === "reused").length;
      const open = this.open.get(run.name) ?? (place === 0 || busy);
      const details = el("details", { class: "run", open, ontoggle: () => this.open.set(run.name, details.open) },
        el("summary", {}, el("b", { dir: "auto" }, run.name), " ", el("span", { class: "soft" }, `${done} of ${run.steps.length} steps · `, el("span", { class: "time" }, run.started.slice(0, 16).replace("T", " ")))),
        el("ol", {}, run.steps.map((step) => this.row(step))));
      this.list.append(details);
    });
    if (focused) this.list.querySelector(`[data-step="${CSS.escape(focused)}"]`)?.focus();
  }

  row(step) {
    const colour = this.ticked.get(step.id);
    const box = step.curves && el("input", { type: "checkbox", "data-step": step.id, "aria-label": `Curves of ${step.name}`, checked: colour !== undefined, onchange: () => this.tick(step.id, box.checked) });
    const read = step.samples && el("button", { type: "button", class: "small", onclick: () => this.openSamples(step.id) }, step.samples === "rollouts" ? "Rollouts" : "Answers");
    const time = step.seconds === null ? "" : duration(step.seconds);
    return el("li", { class: step.status },
      el("div", { class: "line" },
        el("span", { class: "tick" }, box || null), colour !== undefined && el("i", { class: `swatch c${colour}` }),
        el("label", {}, el("b", { dir: "auto" }, step.name), " ", el("span", { class: "soft" }, step.stage)),
        read || null, el("span", { class: `state ${step.status}` }, STATUS[step.status] ?? step.status, time && ` · ${time}`)),
      step.note && el("p", { class: "fine" }, step.note),
      step.progress && this.bar(step));
  }

  bar(step) {
    const { done, total, unit, title, memory, gpu_memory: gpu, values } = step.progress;
    const said = [`${count(done)}${total ? ` of ${count(total)}` : ""} ${unit}s`];
    if (step.left !== null) said.push(`${duration(step.left)} left`);
    if (memory && step.status === "making") said.push(size(memory));
    const silent = this.now - step.progress.time;
    if (step.status === "making" && silent > 60) said.push(`no sign for ${duration(silent)}`);
    if (gpu) said.push(`GPU ${size(gpu)}`);
    const shown = Object.entries(values ?? {}).map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value)}`);
    return el("div", { class: "doing" },
      el("progress", { max: total || 1, value: total ? Math.min(done, total) : false, "aria-label": title }),
      el("p", { class: "fine" }, el("b", {}, title), ` · ${said.join(" · ")}`),
      shown.length > 0 && el("p", { class: "fine" }, shown.join(" · ")));
  }

  async readCurves() {
    let fresh = this.drawn !== [...this.ticked.keys()].join();
    for (const step of this.ticked.keys()) {
      const known = this.curves.get(step);
      if (known && this.steps.get(step)?.status !== "making" && known.version && known.settled) continue;
      const found = await this.source.curves(step, known?.version ?? "");
      if (found.columns) {
        this.curves.set(step, found);
        fresh = true;
      }
      this.curves.get(step).settled = this.steps.get(step)?.status !== "making";
    }
    if (fresh) this.drawCharts();
  }

  drawTools() {
    const toggle = (name, label) => {
      const box = el("input", { type: "checkbox", checked: this.look[name], onchange: () => { this.look[name] = box.checked; this.drawCharts(); } });
      return el("label", { class: "toggle" }, box, label);
    };
    this.tools.replaceChildren(
      choice("Along", [["step", "steps"], ["tokens", "tokens"], ["share", "share of the steps"]], "step", (unit) => { this.look.unit = unit; this.drawCharts(); }),
      toggle("smooth", "smooth line"), toggle("log", "logarithmic"));
  }

  drawCharts() {
    this.drawn = [...this.ticked.keys()].join();
    const focus = document.activeElement?.closest?.("figure")?.dataset.name, groups = new Map(), panels = [];
    const chosen = [...this.ticked].filter(([step]) => Object.keys(this.curves.get(step)?.columns ?? {}).length);
    const move = (x) => panels.forEach((panel) => panel.say(x));
    for (const name of new Set(chosen.flatMap(([step]) => Object.keys(this.curves.get(step).columns)))) {
      if (name === "tokens" && this.look.unit === "tokens") continue;
      const series = chosen.filter(([step]) => this.curves.get(step).columns[name]).map(([step, colour]) => this.series(step, colour, name));
      const words = this.curves.get(chosen.find(([step]) => this.curves.get(step).columns[name])[0]).words[name];
      const panel = new Panel(words[0], words[1], series, { ...this.look, log: this.look.log, unit: this.look.unit === "share" ? "at" : this.look.unit }, move);
      panel.element.dataset.name = name;
      panels.push(panel);
      const flat = series.every((each) => least(each.ys) === most(each.ys)), group = flat && name !== "reward" ? "More" : words[2];
      groups.set(group, [...(groups.get(group) ?? []), panel]);
    }
    this.charts.replaceChildren();
    if (!panels.length) this.charts.append(el("p", { class: "nothing" }, "Tick a step to see its curves; tick several, of one run or of many, to lay them over one another."));
    for (const group of ["Reward and its parts", "Training", "More"].filter((each) => groups.has(each))) {
      const parts = el("div", { class: "panels" }, groups.get(group).map((panel) => panel.element));
      this.charts.append(el("h2", {}, group), parts);
    }
    if (focus) this.charts.querySelector(`figure[data-name="${CSS.escape(focus)}"] svg`)?.focus();
  }

  series(step, colour, name) {
    const { columns } = this.curves.get(step), [at, ys] = columns[name], about = this.steps.get(step);
    const several = new Set([...this.ticked.keys()].map((each) => this.steps.get(each)?.run)).size > 1;
    let xs = at;
    if (this.look.unit === "share") xs = at.map((x) => x / at.at(-1));
    if (this.look.unit === "tokens" && columns.tokens) xs = at.map((x) => columns.tokens[1][nearest(columns.tokens[0], x)]);
    return { colour, label: several ? `${about?.run} · ${about?.name}` : about?.name ?? step, xs, ys };
  }
}
