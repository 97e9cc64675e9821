"use strict";
for (const input of document.querySelectorAll("input[data-filter]")) {
  const entries = [...document.getElementById(input.dataset.filter).querySelectorAll(".entry, details.cell, tr.entry-row")];
  const texts = entries.map((entry) => entry.textContent.toLowerCase());
  const shown = input.parentElement.querySelector("output");
  input.disabled = false;
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    entries.forEach((entry, index) => {
      entry.hidden = !wanted.every((word) => texts[index].includes(word));
      left += entry.hidden ? 0 : 1;
    });
    shown.textContent = `${left} of ${entries.length} shown`;
  });
}

const browse = document.querySelector(".browse");
if (browse) {
  const PAGE = 20;
  const entries = [...document.querySelectorAll("article.made")];
  const selects = [...browse.querySelectorAll("select")];
  const search = browse.querySelector("input");
  const [back, on] = document.querySelectorAll(".pager button");
  const shown = document.querySelector(".pager output");
  const none = document.querySelector(".none");
  let texts = null;
  let found = entries;
  let page = 0;

  const matches = (entry, { dataset: { by }, value }) =>
    value === "" || entry.dataset[by] === value || (value === "dropped" && entry.dataset.reason !== "kept");
  const show = () => {
    const first = page * PAGE;
    const now = new Set(found.slice(first, first + PAGE));
    for (const entry of entries) entry.hidden = !now.has(entry);
    for (const entry of now) {  // only texts that scroll are stops of the Tab key
      for (const text of entry.querySelectorAll("pre")) text.tabIndex = text.scrollHeight > text.clientHeight ? 0 : -1;
    }
    back.disabled = page === 0;
    on.disabled = first + PAGE >= found.length;
    none.hidden = found.length > 0;
    const last = Math.min(first + PAGE, found.length);
    const all = found.length < entries.length ? ` (${entries.length} without a filter)` : "";
    shown.textContent = found.length ? `${first + 1} to ${last} of ${found.length}${all}` : `none of ${entries.length}`;
  };
  const filter = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (wanted.length) texts ??= entries.map((entry) => entry.textContent.toLowerCase());
    found = entries.filter((entry, index) =>
      selects.every((select) => matches(entry, select)) && wanted.every((word) => texts[index].includes(word)));
    page = 0;
    show();
  };
  const turn = (pages) => {
    const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    page = Math.min(last, Math.max(0, page + pages));
    show();
  };
  const step = (rows) => {
    const now = found.filter((entry) => !entry.hidden);
    const at = now.indexOf(document.activeElement?.closest?.("article.made"));
    const next = now[at < 0 ? (rows > 0 ? 0 : now.length - 1) : Math.min(now.length - 1, Math.max(0, at + rows))];
    next?.focus();
  };
  for (const control of [...selects, search]) {
    control.disabled = false;
    control.addEventListener(control === search ? "input" : "change", filter);
  }
  for (const button of [back, on]) {
    button.addEventListener("click", () => {
      turn(Number(button.dataset.turn));
      document.getElementById("rows").scrollIntoView();
    });
  }
  const keys = { n: () => turn(1), p: () => turn(-1), j: () => step(1), k: () => step(-1), "/": () => search.focus() };
  document.querySelector(".keys").hidden = false;
  document.addEventListener("keydown", (event) => {
    const writing = event.target.matches?.("input, select, textarea");
    if (event.key === "Escape" && writing) event.target.blur();
    if (writing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  filter();
}
