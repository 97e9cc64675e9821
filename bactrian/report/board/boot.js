// The two views, which one is shown, and the looking again.

const state = document.getElementById("state"), panels = { runs: document.getElementById("runs"), samples: document.getElementById("samples") };
const source = openSource();
let fault = false;

function tell(error) {
  fault = true;
  state.className = "bad";
  state.textContent = source.live && error instanceof TypeError ? "no answer from bactrian board: was it stopped?" : visible(error.message);
}

const samples = new SamplesView(panels.samples, source, tell);
const runs = new RunsView(panels.runs, source, (step) => visit(new URLSearchParams({ samples: step }).toString()), tell);

/** What is shown is in the address, so that back and reload work. */
function visit(where) {
  if (location.hash.slice(1) === where) route(); else location.hash = where;
}

function route() {
  const words = new URLSearchParams(location.hash.slice(1)), shown = words.has("samples") ? "samples" : "runs";
  for (const [name, panel] of Object.entries(panels)) {
    const tab = document.getElementById(`tab-${name}`);
    panel.hidden = name !== shown;
    tab.setAttribute("aria-selected", String(name === shown));
    tab.tabIndex = name === shown ? 0 : -1;
  }
  document.body.dataset.view = shown;
  if (shown === "samples") samples.show(words.get("samples") || undefined, words).catch(tell);
  else if (words.get("runs")) runs.pick(words.get("runs").split(",")).catch(tell);
}

for (const name of ["runs", "samples"]) {
  const tab = document.getElementById(`tab-${name}`);
  tab.addEventListener("click", () => visit(name === "runs" ? "runs=" : "samples="));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = document.getElementById(name === "runs" ? "tab-samples" : "tab-runs");
    other.click();
    other.focus();
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.body.dataset.view !== "samples") return;
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape") {
    panels.samples.classList.remove("reading");
    samples.list.focus();
  } else if (typing) return;
  else if (event.key === "/") samples.search?.focus();
  else if (event.key === "j") samples.move(1);
  else if (event.key === "k") samples.move(-1);
  else if (event.key === "f") samples.detail.toggle("folded");
  else if (event.key === "d") samples.detail.toggle("marked");
  else return;
  event.preventDefault();
});

let turn = 0;
async function look() {
  try {
    const found = await runs.lookAgain();
    samples.offer(found.runs);
    const busy = found.runs.some((run) => run.steps.some((step) => step.status === "making"));
    const reading = samples.steps.find((step) => step.id === samples.step);
    if (source.live && turn++ % 4 === 3 && !panels.samples.hidden && samples.index && reading?.status === "making") await samples.load(true);
    state.className = busy ? "busy" : "";
    state.textContent = source.live ? (busy ? "live" : "nothing is being made") : `written ${local(found.now)}`;
    fault = false;
  } catch (error) {
    tell(error);
  }
}

async function forever() {
  await look();
  window.addEventListener("hashchange", route);
  route();
  while (source.live) {
    await new Promise((done) => setTimeout(done, fault ? 3 * EVERY : EVERY));
    if (!document.hidden) await look();
  }
}
forever();
