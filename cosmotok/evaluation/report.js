"use strict";

function make(tag, attributes = {}, ...content) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...content);
  return made;
}

// Tables: a click on a heading sorts by it, a second one turns the order; what was not measured stays last.

function valueOf(row, column) {
  const cell = row.cells[column];
  const value = cell.dataset.value;
  if (value === undefined) return cell.textContent;
  if (value === "") return null;
  return value === "inf" ? Infinity : Number(value);
}

function compare(a, b) {
  return typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b || 0;
}

function sortBy(table, column, direction) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : direction * compare(a, b)));
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll(".sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      sortBy(table, column, up ? 1 : -1);
    });
    heading.append(button);
  });

  const rows = [...table.tBodies[0].rows];
  const names = [...new Set(rows.map((row) => row.cells[1].textContent))];
  if (names.length > 1) {
    const select = make("select", {}, make("option", { value: "" }, "all contestants"));
    names.sort((a, b) => compare(a, b)).forEach((name) => select.append(make("option", { value: name }, name)));
    select.addEventListener("change", () => {
      for (const row of rows) row.hidden = select.value !== "" && row.cells[1].textContent !== select.value;
    });
    table.parentElement.before(make("label", { className: "choice" }, "Show", select));
  }
}

// Examples: original and reconstruction on top of each other, with an edge between them that can be moved.

document.querySelectorAll(".example").forEach((example, number) => {
  const views = example.querySelector(".views");
  const original = views.querySelector(".original img");
  const reconstructions = [...views.querySelectorAll(".reconstruction")];
  const differences = [...views.querySelectorAll(".difference")];
  const pictures = reconstructions.map((figure) => figure.querySelector("img"));

  const range = make("input", { type: "range", min: "0", max: "100", step: "any", value: "50" });
  range.setAttribute("aria-label", "Share of the picture that shows the original");
  const left = make("span", { className: "tag left" }, "original");
  const right = make("span", { className: "tag right" });
  const edge = make("div", { className: "edge" });
  original.classList.add("over");
  const pair = make("div", { className: "pair" }, ...pictures, original, edge, left, right, range);
  range.addEventListener("input", () => pair.style.setProperty("--cut", `${range.value}%`));
  range.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    range.value = Number(range.value) + step;
    range.dispatchEvent(new Event("input"));
  });

  function show(chosen) {
    pictures.forEach((picture, i) => { picture.hidden = i !== chosen; });
    differences.forEach((figure, i) => { figure.hidden = i !== chosen; });
    right.textContent = reconstructions[chosen].dataset.model;
  }

  const choices = make("fieldset", { className: "models" }, make("legend", { className: "unseen" }, "Reconstruction by"));
  reconstructions.forEach((figure, i) => {
    const radio = make("input", { type: "radio", name: `example-${number}`, checked: i === 0 });
    radio.addEventListener("change", () => show(i));
    choices.append(make("label", {}, radio, figure.dataset.model, make("small", {}, figure.dataset.psnr)));
    figure.remove();
  });
  views.querySelector(".original").remove();
  views.prepend(make("figure", {}, pair));
  views.before(choices);
  example.classList.add("ready");
  show(0);
});
