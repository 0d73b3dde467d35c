"use strict";
// The chosen datasets side by side: facts, concepts that several have, clashes between them, films and patients they share.

const COMPARED = 12; // datasets that are compared at once

views.compare = {
  title: "Compare",
  order: 5,
  render(root, state) {
    const all = chosen(), sets = all.slice(0, COMPARED);
    if (sets.length < 2) {
      root.replaceChildren(el("h1", { text: "Compare" }), el("section", { class: "panel" }, el("p", { text: sets.length ? "One dataset is chosen: choose another one to compare it with." : "No dataset is chosen." }),
        el("p", {}, route({ view: null }, { class: "button", "data-key": "choose some" }, "choose datasets"))));
      return;
    }
    const shared = conceptRows(sets);
    root.replaceChildren(el("h1", { text: "Compare" }),
      el("p", { class: "quiet", text: `${plural(sets.length, "dataset")} side by side; together at least ${totalInWords(total(sets.map((d) => byName.get(d.name))))}.${all.length > sets.length ? ` ${all.length - sets.length} more are chosen and left out here.` : ""}` }),
      el("section", { class: "panel" }, el("h2", { text: "Facts" }), wide("facts side by side", factTable(sets))),
      el("section", { class: "panel" }, el("h2", { text: "Shared films and patients" }), sharedList(sets)),
      el("section", { class: "panel" }, el("h2", { text: "Clashing annotations" }), clashList(shared, sets)),
      el("section", { class: "panel" }, el("h2", { text: "Concepts" }), conceptPart(shared, sets, state)));
  },
};
const wide = (name, table) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);

function factTable(sets) {
  const rows = [
    ["tasks", (d) => taskTags(d)], ["annotations", (d) => d.annotations.join(", ")], ["classes", (d) => d.classes.length || null], ["images", (d) => d.images], ["patients", (d) => d.patients],
    ["sides", (d) => Object.entries(d.volume).filter(([split]) => split !== "total").map(([split, n]) => `${split} ${count(n)}`).join(", ") || (d.official_splits ? "official" : null)],
    ["year", (d) => d.year && String(d.year)], ["organisations", (d) => d.organisations.join(", ")], ["views", (d) => d.modality_detail], ["access", (d) => d.access],
    ["licence", (d) => d.licence], ["commercial use", (d) => permission(d, "commercial")], ["passing on", (d) => permission(d, "redistribution")], ["download", (d) => d.storage_gb && `${d.storage_gb} GB`],
    ["reader", (d) => d.readers.join(", ")],
  ];
  const head = el("tr", {}, el("td"), sets.map((d) => el("th", { scope: "col" }, route({ view: "dataset", name: d.name }, { "data-key": `compared ${d.name}` }, d.title),
    el("div", {}, el("button", { type: "button", class: "link", "data-key": `drop ${d.name}`, "aria-label": `take ${d.title} out`, on: { click: () => choose(d.name) } }, "take out")))));
  return el("table", { class: "beside" }, el("caption", { class: "hidden", text: "facts side by side" }), el("thead", {}, head),
    el("tbody", {}, rows.map(([name, read]) => el("tr", {}, el("th", { scope: "row", text: name }), sets.map((d) => el("td", {}, knownOr(read(d) || null)))))));
}

function sharedList(sets) {
  const said = warnings(sets).filter((text) => / show the same | trained on beside /.test(text));
  return said.length ? el("ul", {}, said.map((text) => el("li", { text }))) : el("p", { class: "quiet", text: "The cards know of none. `foundationx data audit` looks for identical films." });
}

// ------------------------------------------------------------------ concepts

// Concepts that classes of the datasets name, with these classes by dataset; those of most datasets first.
function conceptRows(sets) {
  const rows = new Map();
  sets.forEach((d, at) => {
    for (const each of d.classes) {
      if (!each.concept) continue;
      if (!rows.has(each.concept)) rows.set(each.concept, sets.map(() => []));
      rows.get(each.concept)[at].push(each);
    }
  });
  const holders = (cells) => cells.filter((cell) => cell.length).length;
  return [...rows].map(([concept, cells]) => ({ concept, cells, n: holders(cells) })).sort((a, b) => b.n - a.n || collator.compare(titleOf(a.concept), titleOf(b.concept)));
}
// Why classes of one concept in several datasets may not share a target: as `foundationx data fuse` decides it.
function clashes({ cells }) {
  const classes = cells.flat();
  const differing = (key) => [...new Set(classes.map((each) => each[key]))];
  const said = [];
  if (differing("task").length > 1) said.push(`annotated as ${differing("task").map(titleOf).join(" and as ")}`);
  if (differing("relation").length > 1 || differing("relation")[0] !== "exact") said.push(`classes are ${differing("relation").map((each) => (each === "exact" ? "the concept itself" : each === "related" ? "related to it" : `${each} than it`)).join(", ")}`);
  if (differing("polarity").length > 1) said.push("one class says that it is there, another that it is not");
  return said;
}
function clashList(rows, sets) {
  const clashing = rows.filter((row) => row.n > 1).map((row) => [row, clashes(row)]).filter(([, said]) => said.length);
  if (!clashing.length) return el("p", { class: "quiet", text: "None: classes of one concept mean the same, or no concept is in two datasets." });
  return el("ul", {}, clashing.map(([row, said]) => el("li", {}, el("strong", { text: titleOf(row.concept) }), `: ${said.join("; ")} (${row.cells.map((cell, at) => (cell.length ? sets[at].title : "")).filter(Boolean).join(", ")})`)));
}
function conceptPart(rows, sets, state) {
  const all = state.get("concepts") === "all", several = rows.filter((row) => row.n > 1), listed = all ? rows : several;
  const note = `${plural(several.length, "concept")} in two or more of them, ${count(rows.length - several.length)} in one only. A dataset without a class for a concept does not say that it is absent: it is unknown there.`;
  return [
    el("p", { class: "quiet", text: note }),
    listed.length ? wide("concepts by dataset", el("table", { class: "beside" }, el("caption", { class: "hidden", text: "concepts by dataset" }),
      el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "concept" }), sets.map((d) => el("th", { scope: "col", text: d.title })))),
      el("tbody", {}, listed.map((row) => el("tr", {}, el("th", { scope: "row", text: titleOf(row.concept) }), row.cells.map((cell) => el("td", {}, cell.length ? cell.map(classMark) : el("span", { class: "quiet", text: UNKNOWN })))))))) : null,
    rows.length > several.length ? el("button", { type: "button", class: "link", "data-key": "concepts", on: { click: () => go({ concepts: all ? null : "all" }, { replace: true }) } }, all ? "show those of several datasets only" : `show all ${rows.length} concepts`) : null,
  ].filter(Boolean);
}
function classMark(each) {
  const kind = [titleOf(each.task), each.relation === "exact" ? "" : each.relation, each.polarity === "absence" ? "absence" : "", each.positives === null ? "" : `${count(each.positives)} images`].filter(Boolean).join(", ");
  return el("div", {}, each.name, el("span", { class: "quiet small", text: ` ${kind}` }));
}
