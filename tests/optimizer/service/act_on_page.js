"use strict";
(async () => {
  const given = GIVEN;
  const found = {};
  const every = (query) => [...document.querySelectorAll(query)];
  const light = (colour) => Math.max(...colour.match(/[\d.]+/g).slice(0, 3).map(Number));
  const text = (query) => one(query).textContent;
  const until = async (what, holds) => {
    for (let looks = 0; !holds(); looks++) {
      if (looks > 600) throw new Error(`it did not come to this: ${what}; ${text("#problem")}; ${text("#state")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const shows = (query, part) => until(`${query} shows ${part}`, () => text(query).includes(part));
  const work = (step) => fetch(`stage/${step}`);
  const signIn = one("#sign-in"), form = one("#submit");
  const set = (name, value) => { form.elements[name].value = value; };
  const press = (name) => form.requestSubmit(form.elements[name]);
  try {
    signIn.elements.token.value = "wrong";
    signIn.requestSubmit();
    await shows("#problem", "token");
    found.wrong_token = text("#problem");
    signIn.elements.token.value = given.token;
    signIn.requestSubmit();
    await until("the token is accepted", () => signIn.hidden);
    found.kept = sessionStorage.getItem("token");
    found.caps = text("#caps");

    one("#new").open = true;
    set("pipeline", given.yaml);
    set("models", "sim/nobody");
    set("usd", "50");
    const files = new DataTransfer();
    files.items.add(new File([given.rows], "rows.json"));
    one("#file").files = files.files;
    press("send");
    await shows("#problem", "nobody");
    found.refused = text("#problem");
    set("models", "sim/alder, sim/birch");
    press("send");
    await shows("#problem", "left");
    found.over_budget = text("#problem");
    set("usd", "0.5");
    press("dry_run");
    await shows("#estimate", "nothing was called");
    found.estimate = text("#estimate");
    press("send");
    await shows("#state", "queued");
    found.queued = text("#state");

    await work("trial");
    await shows("#events", "trial 0");
    await shows("#state", "running");
    found.events = text("#events");
    found.injected = Boolean(window.injected || one("img"));
    found.running = text("#state");
    found.used = one("progress").value;
    one("#stop").click();
    await shows("#state", "stopping");
    found.stopping = text("#state");
    await work("stopped");
    await shows("#state", "stopped");
    found.stopped = text("#state");
    one("#resume").click();
    await shows("#state", "queued");
    found.resumed = text("#state");
    await work("done");
    await shows("#state", "done");
    found.done = text("#state");
    found.artifacts = every("#artifacts button").map((button) => button.textContent);

    press("send");
    await shows("#state", "queued");
    await work("done");
    await shows("#state", "done");
    for (const place of [0, 1]) {
      await until("both can be compared", () => every("#searches input:enabled").length === 2);
      every("#searches input")[place].click();
      await until("it is ticked", () => every("#searches input:checked").length === place + 1);
    }
    await until("they can be compared", () => !one("#compare").disabled);
    one("#compare").click();
    await until("they are compared", () => !one("#compared").hidden);
    found.compared = text("#compared");

    found.window = innerWidth;
    found.page = document.documentElement.scrollWidth;
    const scrolls = (part) => part.closest(".wide, pre");
    found.sticking_out = every("body *").filter((part) => part.getBoundingClientRect().right > innerWidth + 1
      && !scrolls(part)).map((part) => part.outerHTML.slice(0, 80));
    found.paper = light(getComputedStyle(document.body).backgroundColor);
    found.ink = light(getComputedStyle(document.body).color);
    found.origin = location.origin;
    found.asked_of = [...new Set(performance.getEntriesByType("resource").map((entry) => new URL(entry.name).origin))];
    const acting = every("button, input, select, textarea, summary").filter((part) => part.checkVisibility() && !part.disabled);
    found.unreachable = acting.filter((part) => { part.focus(); return document.activeElement !== part; }).map((part) => part.outerHTML.slice(0, 80));
    found.unnamed = acting.filter((part) => !(part.textContent.trim() || part.ariaLabel || part.labels?.length)).map((part) => part.outerHTML.slice(0, 80));
  } catch (error) {
    found.failed = String(error);
  }
  console.log("the end");
  await fetch("found", { method: "POST", body: JSON.stringify(found) });
})();
