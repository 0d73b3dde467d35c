"use strict";
// Concepts of the vocabulary, and how many of the datasets found have a class for each, by task.

views.labels = {
  title: "Labels",
  order: 2,
  render(root, state) {
    const found = answer(state);
    const tasks = [...new Set(datasets.flatMap((d) => d.classes.map((each) => each.task)))];
    const held = heldBy(found.matches, tasks);
    const all = (sets) => new Set([...sets.values()].flatMap((names) => [...names])).size;
    const rows = [...held].map(([concept, sets]) => ({ concept, sets, n: all(sets) })).sort((a, b) => b.n - a.n || collator.compare(titleOf(a.concept), titleOf(b.concept)));
    const chips = el("div");
    drawChips(chips, state, found);
    root.replaceChildren(el("h1", { text: "Labels" }), chips,
      el("p", { class: "quiet", text: `Concepts of the vocabulary, and how many of the ${count(found.matches.length)} datasets found have a class for them. A concept leads to these and to those of narrower concepts.` }),
      el("section", { class: "panel" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "labels" }, el("table", { class: "labels" }, el("caption", { class: "hidden", text: "datasets by concept and task" }),
        el("thead", {}, el("tr", {}, ["concept", "datasets", ...tasks.map(titleOf)].map((text, at) => el("th", { scope: "col", class: at ? "number" : null, text })))),
        el("tbody", {}, rows.map((row) => labelRow(row, tasks)))))));
  },
};
function heldBy(places, tasks) {
  const held = new Map();
  for (const at of places) {
    for (const each of datasets[at].classes) {
      if (!each.concept) continue;
      if (!held.has(each.concept)) held.set(each.concept, new Map(tasks.map((task) => [task, new Set()])));
      held.get(each.concept).get(each.task).add(at);
    }
  }
  return held;
}
function labelRow({ concept, sets, n }, tasks) {
  const link = route({ view: null, concept, page: null }, { "data-key": `label ${concept}` }, titleOf(concept));
  const cells = tasks.map((task) => sets.get(task).size).map((times) => el("td", { class: "number" }, times ? count(times) : el("span", { class: "quiet", text: "0" })));
  return el("tr", {}, el("th", { scope: "row" }, link, el("div", { class: "quiet small", text: pathOf(concept).slice(0, -1).map(titleOf).join(" › ") })), el("td", { class: "number", text: count(n) }), cells);
}
