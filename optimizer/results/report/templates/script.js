"use strict";
const $ = (query, root = document) => root.querySelector(query);
const all = (query, root = document) => [...root.querySelectorAll(query)];
const make = (name, attributes = {}, ...inside) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside.filter((part) => part !== null && part !== ""));
  return element;
};
const source = $("#data");
const data = source ? JSON.parse(source.textContent) : { texts: [], runs: [], finalists: {}, examples: [] };

// Long texts are cut until they are asked for.
const clip = (element) => {
  element.classList.add("clipped");
  if (element.scrollHeight <= element.clientHeight + 4) return element.classList.remove("clipped");
  const more = make("button", { type: "button", class: "more", "aria-expanded": "false" }, "Show all");
  more.addEventListener("click", () => {
    const open = !element.classList.toggle("clipped");
    more.textContent = open ? "Show less" : "Show all";
    more.setAttribute("aria-expanded", open);
  });
  element.after(more);
};
all(".clip").forEach(clip);

// Sorting: by data-v where a cell has one, else by its text; cells without a value go last.
const sort = (button) => {
  const header = button.closest("th"), table = header.closest("table"), place = header.cellIndex;
  const down = header.getAttribute("aria-sort") === "ascending";
  all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = (row) => {
    const cell = row.cells[place];
    return cell.dataset.v === undefined ? cell.textContent.trim() : parseFloat(cell.dataset.v);
  };
  const compare = (a, b) => {
    if (typeof a === "string") return (down ? -1 : 1) * a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return down ? b - a : a - b;
  };
  const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
  table.tBodies[0].append(...rows.sort((a, b) => compare(a[0], b[0])).map((pair) => pair[1]));
};
all(".sortable th button").forEach((button) => button.addEventListener("click", () => sort(button)));

// Filters: one kind, and every word of the search.
const searched = (row) => {
  const opener = $("[data-example]", row);
  if (!opener) return row.textContent.toLowerCase();
  const example = data.examples[opener.dataset.example];
  const answers = Object.values(example.runs).map((run) => data.runs[run].answer);
  const places = [...Object.values(example.inputs), ...Object.values(example.labels), ...answers];
  return `${row.textContent}\n${places.map((place) => data.texts[place]).join("\n")}`.toLowerCase();
};
for (const tools of all("[data-filters]")) {
  const rows = [...document.getElementById(tools.dataset.filters).tBodies[0].rows];
  const texts = new Map();
  const filter = () => {
    const kind = $("[aria-pressed=true]", tools)?.dataset.kind ?? "all";
    const words = $("input", tools).value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      if (words.length && !texts.has(row)) texts.set(row, searched(row));
      const fits = kind === "all" || row.dataset.kinds.split(" ").includes(kind);
      row.hidden = !(fits && words.every((word) => texts.get(row).includes(word)));
      shown += !row.hidden;
    }
    $("output", tools).textContent = shown < rows.length ? `${shown} of ${rows.length}` : "";
  };
  for (const button of all("[data-kind]", tools)) {
    button.addEventListener("click", () => {
      all("[data-kind]", tools).forEach((other) => other.setAttribute("aria-pressed", other === button));
      filter();
    });
  }
  $("input", tools).addEventListener("input", filter);
}

// Traces.
const block = (place, name = "pre") => make(name, { class: "clip" }, data.texts[place]);
const fields = (values, known = {}) => {
  const same = Object.keys(values).filter((name) => known[name] === values[name]);
  const others = Object.entries(values).filter(([name]) => !same.includes(name));
  return make("dl", {}, same.length ? make("dd", {}, `${same.join(", ")} as given`) : null,
    ...others.flatMap(([name, place]) => [make("dt", {}, name), block(place, "dd")]));
};
const failed = (place) => place === null ? null : make("p", {}, make("span", { class: "tag failed" }, "failed"), " ", data.texts[place]);
const callView = (call) => make("details", { class: "call" },
  make("summary", {}, `${data.texts[call.model]} `, make("span", { class: "soft" }, call.about)),
  call.reply === null ? make("p", { class: "soft" }, "The reply is not kept.") : block(call.reply));
const stepView = (step, given) => make("details", { class: "step", open: "" },
  make("summary", {}, make("b", {}, data.texts[step.module]), make("span", { class: "soft" },
    ` ${step.usd}, ${step.seconds}${step.agreement && `, ${step.agreement} agreed`}`)),
  failed(step.failure), make("div", { class: "soft" }, "received"), fields(step.inputs, given),
  step.outputs ? make("div", { class: "soft" }, "returned") : null, step.outputs ? fields(step.outputs) : null,
  ...step.made_up_for.map((place) => make("p", { class: "soft" }, `made up for: ${data.texts[place]}`)),
  ...step.calls.map(callView));
const runView = (name, run, given) => make("article", { class: "card" }, make("h3", {}, name),
  make("p", {}, make("b", {}, `score ${run.score}`), make("span", { class: "soft" }, `, ${run.usd}, ${run.seconds}`)),
  failed(run.failure), run.failure === null ? block(run.answer) : null,
  run.feedback === null ? null : make("p", { class: "soft" }, `feedback: ${data.texts[run.feedback]}`),
  ...run.steps.map((step) => stepView(step, given)));
const dialog = $("#trace");
let current = 0;
const show = (place) => {
  current = place;
  const example = data.examples[place];
  $("#trace-title").replaceChildren(`Example ${example.row} `, make("span", { class: `tag ${example.change}` }, example.change));
  const runs = Object.entries(data.finalists).filter(([key]) => example.runs[key] !== undefined)
    .map(([key, name]) => runView(name, data.runs[example.runs[key]], example.inputs));
  const given = make("div", { class: "runs" },
    make("div", {}, make("b", {}, "Inputs"), fields(example.inputs)),
    make("div", {}, make("b", {}, "Labels"), fields(example.labels)));
  $("#trace-body").replaceChildren(given, make("div", { class: "runs" }, ...runs));
  if (!dialog.open) {
    dialog.showModal();
    $("[data-close]", dialog).focus();
  }
  dialog.scrollTop = 0;
  all(".clip", dialog).forEach((element) => element.offsetParent && clip(element));
  all("details.call", dialog).forEach((call) => call.addEventListener("toggle", () => all(".clip", call).forEach(clip), { once: true }));
};
if (dialog) {
  $("#example-rows").tBodies[0].addEventListener("click", (event) => {
    if (String(getSelection())) return;
    const opener = event.target.closest("tr") && $("[data-example]", event.target.closest("tr"));
    if (opener) show(Number(opener.dataset.example));
  });
  all("[data-step]", dialog).forEach((button) => button.addEventListener("click", () => {
    const shown = all("#example-rows tbody tr:not([hidden]) [data-example]").map((opener) => Number(opener.dataset.example));
    const next = shown[shown.indexOf(current) + Number(button.dataset.step)];
    if (next !== undefined) show(next);
  }));
  $("[data-close]", dialog).addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
