"use strict";
// Sorting, tooltips, the paper's points and the colour scheme. The page is whole without any of it.

function sortBy(table, column) {
  const heads = table.tHead.rows[0].cells;
  const head = heads[column];
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const numeric = head.classList.contains("number");
  const value = (row) => row.cells[column].dataset.v;
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined); // empty ones last
    const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
    return descending ? -order : order;
  };
  const body = table.tBodies[0];
  body.append(...Array.from(body.rows).sort(compare));
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sortBy(table, column));
    head.replaceChildren(button);
  });
}

const tooltip = document.getElementById("tooltip");

function show(point) {
  tooltip.replaceChildren(...point.dataset.tip.split("\n").map((line) => {
    const [name, value] = line.split("\t");
    if (!name) return Object.assign(document.createElement("b"), { textContent: value });
    const row = document.createElement("div");
    for (const words of [name, value]) row.append(Object.assign(document.createElement("span"), { textContent: words }));
    return row;
  }));
  tooltip.hidden = false;
  const place = (point.querySelector(".mark, .paper-mark, svg") || point).getBoundingClientRect();
  const room = document.documentElement.clientWidth - tooltip.offsetWidth - 8;
  const left = Math.min(Math.max(place.left + place.width / 2 - tooltip.offsetWidth / 2, 8), room);
  const above = place.top - tooltip.offsetHeight - 10;
  const top = above > 4 ? above : place.bottom + 10;
  tooltip.style.left = `${left + window.scrollX}px`;
  tooltip.style.top = `${top + window.scrollY}px`;
}

function hide() {
  tooltip.hidden = true;
}

for (const point of document.querySelectorAll("[data-tip]")) {
  point.addEventListener("pointerenter", () => show(point));
  point.addEventListener("pointerleave", hide);
  point.addEventListener("focus", () => show(point));
  point.addEventListener("blur", hide);
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});

const withPaper = document.getElementById("with-paper");
if (withPaper) {
  const choose = () => {
    document.getElementById("own").hidden = withPaper.checked;
    document.getElementById("both").hidden = !withPaper.checked;
  };
  withPaper.addEventListener("change", choose);
  choose(); // a browser may remember the box
}

document.getElementById("scheme").addEventListener("click", () => {
  const root = document.documentElement;
  const now = root.dataset.scheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.scheme = now === "dark" ? "light" : "dark";
});
