"use strict";
// One pair at a time, judged with the keys 1, 2, t, b, s, u, c. Texts are set as text (dom.js). An answer that cannot be
// sent is kept and sent again under the same name, so that it arrives once however often it is sent.

const DEAF = 250; // ms after a new pair: a key that was pressed twice must not judge what nobody has read
const AGAIN = 1500; // ms between tries where the server is away
const CHOICES = [["left", "First is better", "1"], ["right", "Second is better", "2"], ["tie", "Equally good", "t"], ["both_bad", "Both bad", "b"]];
const KEYS = { 1: "left", 2: "right", 3: "tie", t: "tie", 4: "both_bad", b: "both_bad", s: "skip" };
const SIDES = ["First", "Second"], ACCEPT = { q: [0, true], w: [0, false], o: [1, true], p: [1, false] };
const YES_NO = [["q", "w"], ["o", "p"]];

let now = null, busy = true, acceptable = [null, null], seconds = 0, since = null, deafUntil = 0;

function watch() {
  if (since !== null) seconds += (performance.now() - since) / 1000;
  since = document.visibilityState === "visible" ? performance.now() : null;
}

function messageName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function notice(text) {
  const box = document.getElementById("notice");
  box.textContent = text;
  box.hidden = text === "";
}

/** Ask the server until it answers. What it refuses is said, and null. */
async function ask(path, said) {
  const how = said === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(said) };
  for (;;) {
    let reply = null;
    try {
      reply = await fetch(path, { cache: "no-store", ...how });
      const told = await reply.json();
      notice(reply.ok ? "" : told.error);
      return reply.ok ? told : null;
    } catch (error) {
      notice("The server is away. Your answer is kept here and sent when it is back: leave this page open.");
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  }
}

async function send(path, said) {
  busy = true;
  for (const button of document.querySelectorAll("#choices button")) button.disabled = true;
  const told = await ask(path, said);
  if (told) show(told);
  else for (const button of document.querySelectorAll("#choices button")) button.disabled = false;
  busy = false;
}

function choose(choice) {
  if (busy || now.place === null || performance.now() < deafUntil) return;
  if (now.acceptability && choice !== "skip" && acceptable.includes(null)) {
    notice(`First say of each answer whether it is acceptable: ${YES_NO.flat().join(", ")}.`);
    return;
  }
  watch();
  const comment = document.querySelector("textarea").value.trim();
  send("answer", { place: now.place, choice, comment, acceptable: now.acceptability ? acceptable : null, seconds, sent: messageName() });
}

function undo() {
  if (!busy && now.done > 0) send("undo", { sent: messageName() });
}

function accept(side, value) {
  if (!now.acceptability || now.place === null) return;
  acceptable[side] = value;
  for (const button of document.querySelectorAll(`[data-side="${side}"]`)) button.setAttribute("aria-pressed", String(button.dataset.value === String(value)));
  if (!acceptable.includes(null)) notice("");
}

function acceptButton(side, value) {
  const word = value ? "yes" : "no";
  return el("button", { type: "button", class: word, "data-side": side, "data-value": String(value), "aria-pressed": String(acceptable[side] === value), onclick: () => accept(side, value) }, word, el("kbd", {}, YES_NO[side][value ? 0 : 1]));
}

function answer(side, text) {
  const asked = now.acceptability ? el("div", { class: "asked", role: "group", "aria-label": `${SIDES[side]} answer: acceptable?` }, "Acceptable?", acceptButton(side, true), acceptButton(side, false)) : null;
  return el("article", {}, el("h2", {}, `${SIDES[side]} answer`), el("pre", {}, text), asked);
}

function turn(message) {
  return el("div", { class: "turn" }, el("b", {}, message.role), el("pre", {}, message.content));
}

function choices() {
  const shown = CHOICES.map(([choice, words, key]) => el("button", { type: "button", class: "main", "data-choice": choice, onclick: () => choose(choice) }, words, el("kbd", {}, key)));
  const field = el("textarea", { "aria-label": "Comment", maxlength: 4000 });
  field.value = now.earlier ? now.earlier.comment : "";
  return el("div", { id: "choices" }, el("div", {},
    el("div", { class: "buttons" }, shown, el("button", { type: "button", onclick: () => choose("skip") }, "Skip", el("kbd", {}, "s")), undoButton()),
    el("label", { class: "comment" }, el("span", {}, "Comment", el("kbd", {}, "c")), field)));
}

function undoButton() {
  return el("button", { type: "button", id: "undo", disabled: now.done === 0, onclick: undo }, "Undo", el("kbd", {}, "u"));
}

function show(told) {
  now = told;
  acceptable = (now.earlier && now.earlier.acceptable) || [null, null];
  seconds = now.earlier ? now.earlier.seconds : 0;
  since = null;
  watch();
  deafUntil = performance.now() + DEAF;
  document.getElementById("bar").max = now.total;
  document.getElementById("bar").value = now.done;
  document.getElementById("count").textContent = `${count(now.done)} of ${count(now.total)}`;
  const work = document.getElementById("work");
  if (now.place === null) {
    work.replaceChildren(el("div", { class: "done" }, el("h1", {}, "All done"), el("p", {}, "Every pair is judged. Thank you. You can close this page."), undoButton()));
  } else {
    work.replaceChildren(el("h1", {}, "Which answer is better?"), el("div", {}, now.prompt.map(turn)), el("div", { class: "both" }, answer(0, now.left), answer(1, now.right)), choices());
  }
  work.dataset.place = String(now.place);
  window.scrollTo(0, 0);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || now === null) return;
  const field = document.querySelector("textarea");
  if (document.activeElement === field && field !== null) {
    if (event.key === "Escape") field.blur();
    return;
  }
  const key = event.key.toLowerCase();
  if (KEYS[key]) choose(KEYS[key]);
  else if (ACCEPT[key]) accept(...ACCEPT[key]);
  else if (key === "u") undo();
  else if (key === "c" && field !== null) field.focus();
  else return;
  event.preventDefault();
});
document.addEventListener("visibilitychange", watch);
ask("state").then((told) => {
  if (told) show(told);
  busy = false;
});
