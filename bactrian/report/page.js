"use strict";
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}
for (const chart of document.querySelectorAll("svg.curve")) {
  const points = JSON.parse(chart.dataset.points);
  const readout = chart.closest("figure").querySelector(".readout");
  const resting = readout.textContent;
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  mark.setAttribute("r", "4");
  mark.setAttribute("class", "mark");
  chart.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    const gap = (point) => Math.abs(point[0] - at.x) * 1000 + Math.abs(point[1] - at.y);
    const near = points.reduce((best, point) => (gap(point) < gap(best) ? point : best), points[0]);
    mark.setAttribute("cx", near[0]);
    mark.setAttribute("cy", near[1]);
    chart.append(mark);
    readout.textContent = near[2];
  });
  chart.addEventListener("pointerleave", () => { mark.remove(); readout.textContent = resting; });
}
