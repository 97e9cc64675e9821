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
