"use strict";
const showSource = () => {
  const shown = location.hash && document.getElementById(location.hash.slice(1));
  const folded = shown && shown.closest("details.traced-source");
  if (folded) {
    folded.open = true;
    shown.scrollIntoView({ block: "nearest" });
    shown.focus({ preventScroll: true });
  }
};
addEventListener("hashchange", showSource);
for (const link of document.querySelectorAll("a.traced, sup a")) {
  link.addEventListener("click", () => setTimeout(showSource));
}
showSource();
