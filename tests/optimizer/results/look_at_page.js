"use strict";
{
  const found = {};
  const one = (query, root = document) => root.querySelector(query);
  const every = (query, root = document) => [...root.querySelectorAll(query)];
  const light = (colour) => Math.max(...colour.match(/[\d.]+/g).slice(0, 3).map(Number));
  const visible = () => every("#example-rows tbody tr").filter((row) => !row.hidden);
  const number = (row) => Number(one("button", row).textContent);
  const press = (table, name) => every(`#${table} th button`).find((button) => button.textContent === name).click();

  found.window = innerWidth;
  found.page = document.documentElement.scrollWidth;
  const scrolls = (element) => {
    for (let at = element.parentElement; at && at !== document.body; at = at.parentElement)
      if (getComputedStyle(at).overflowX !== "visible" && at.getBoundingClientRect().right <= innerWidth + 1) return true;
    return false;
  };
  found.sticking_out = every("body *").filter((element) => !element.closest("dialog")
    && element.getBoundingClientRect().right > innerWidth + 1 && !scrolls(element)).map((element) => element.outerHTML.slice(0, 80));

  found.figures = every("svg").map((svg) => [svg.getAttribute("aria-label"), svg.getBoundingClientRect().width,
    svg.getBoundingClientRect().height, svg.querySelectorAll("*").length]);
  found.cut_texts = every("svg text").filter((text) => {
    const { x, y, width, height } = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
    return x < -1 || x + width > view.width + 1 || y < -1 || y + height > view.height + 1;
  }).map((text) => `${text.ownerSVGElement.getAttribute("aria-label")}: ${text.textContent}`);

  found.cut_headings = every("h1, h2, h3, th").filter((heading) => heading.scrollWidth > heading.clientWidth + 1
    || heading.getBoundingClientRect().right > (heading.parentElement.matches(".knobs tbody tr")
      ? heading.nextElementSibling.getBoundingClientRect().left + 1 : Infinity)).map((heading) => heading.textContent);

  found.paper = light(getComputedStyle(document.body).backgroundColor);
  found.ink = light(getComputedStyle(document.body).color);
  found.figure_ink = light(getComputedStyle(one("svg text")).fill);

  found.rows = visible().length;
  found.says = one("#examples").textContent;
  found.first_changes = visible().slice(0, 6).map((row) => one(".tag", row).textContent);
  found.seventh_failed = visible()[6].dataset.kinds.includes("failed");

  const kind = (name) => one(`#examples [data-kind=${name}]`).click();
  found.filters = {};
  for (const name of ["gained", "lost", "failed", "unscored", "same"]) {
    kind(name);
    found.filters[name] = visible().length;
    if (name === "lost") found.filtered_kinds = [...new Set(visible().map((row) => one(".tag", row).textContent))];
  }
  kind("all");
  const search = (section, text) => {
    const input = one(`#${section} input`);
    input.value = text;
    input.dispatchEvent(new Event("input"));
  };
  search("examples", "Item-007");
  found.searched = visible().map(number);
  found.searched_says = one("#examples output").textContent;
  search("examples", "needle");
  found.searched_in_full = visible().map(number);
  search("examples", "");
  search("trials", "the server answers");
  found.trials_searched = every("#trial-rows tbody tr").filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
  search("trials", "");

  found.sorted_rows = {};
  for (const way of ["ascending", "descending"]) {
    press("example-rows", "row");
    found.sorted_rows[way] = visible().map(number);
  }
  press("example-rows", "row");
  press("trial-rows", "score");
  press("trial-rows", "score");
  found.sorted_scores = every("#trial-rows tbody tr").map((row) => row.cells[1].textContent);
  found.aria_sort = every("#trial-rows th[aria-sort]").map((header) => header.getAttribute("aria-sort")).filter((way) => way !== "none");

  const dialog = one("#trace");
  one("#example-rows [data-example='0']").closest("tr").cells[2].click();
  found.open = dialog.open;
  every("details", dialog).forEach((details) => { details.open = true; });
  found.trace = dialog.textContent;
  const long = one(".clipped", dialog);
  found.heights = [long.getBoundingClientRect().height];
  one(".more", dialog).click();
  found.heights.push(long.getBoundingClientRect().height);
  found.injected = Boolean(window.injected || one("img") || one("#trace-body article b b"));
  one("[data-step='1']").click();
  found.after_next = one("#trace-title").textContent;
  one("[data-close]").click();
  found.open_in_the_end = dialog.open;

  const reached = (element) => { element.focus(); return document.activeElement === element; };
  const acting = every("button, input, a, summary").filter((element) => element.checkVisibility());
  found.unreachable = acting.filter((element) => !reached(element)).map((element) => element.outerHTML.slice(0, 80));
  found.unnamed = acting.filter((element) => !(element.textContent.trim() || element.getAttribute("aria-label"))).map((element) => element.outerHTML.slice(0, 80));

  parent.postMessage(found, "*");
  console.log("the end");
}
