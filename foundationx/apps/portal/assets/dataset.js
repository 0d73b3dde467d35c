"use strict";
// The page of one dataset: what is known of it, who says so, and what nobody has checked.

views.dataset = {
  title: "Dataset",
  whole: true,
  heading: (state) => datasets[byName.get(state.get("name"))]?.title || "No such dataset",
  render(root, state) {
    const d = datasets[byName.get(state.get("name"))];
    const back = route({ view: null, name: null }, { class: "back", "data-key": "back" }, "‹ all datasets");
    if (!d) { root.replaceChildren(back, el("h1", { text: "No such dataset" }), el("p", { text: `The portal knows no dataset “${state.get("name")}”.` })); return; }
    if (root.dataset.drawn === d.name && root.querySelector("#about")) { drawChoice(d, state); return; }
    root.dataset.drawn = d.name;
    root.replaceChildren(back, el("div", { class: "headline" }, el("h1", { text: d.title }), el("span", { id: "choice" })),
      el("p", { class: "quiet" }, d.card ? `card ${d.card}` : "only a public table lists it: it has no card yet", d.challenge ? ` · ${d.challenge}` : ""),
      el("div", { class: "two", id: "about" },
        el("div", {}, aboutPanel(d), classPanel(d), samplePanel(d), rowPanel(d)),
        el("div", {}, licencePanel(d), getPanel(d), relativesPanel(d), citePanel(d), evidencePanel(d))));
    drawChoice(d, state);
  },
};

function drawChoice(d, state) {
  if (!d.card) return;
  const picked = state.all("pick").includes(d.name);
  const before = focused();
  byId("choice").replaceChildren(el("button", { type: "button", class: picked ? "plain" : "button", "aria-pressed": String(picked), "data-key": "choice", on: { click: () => choose(d.name) } }, picked ? "chosen ✓" : "choose"));
  refocus(before);
}

const panel = (title, ...content) => {
  const kept = content.flat(Infinity).filter(Boolean);
  return kept.length ? el("section", { class: "panel" }, el("h2", { text: title }), kept) : null;
};
// Facts as a list: [name, value, key of the card]; a value that is not known says so.
function facts(d, rows) {
  return el("dl", {}, rows.filter(Boolean).flatMap(([name, value, key]) => [
    el("dt", { text: name }), el("dd", {}, Array.isArray(value) ? (value.length ? value.join(", ") : knownOr(null)) : knownOr(value), key ? marks(d, key) : null),
  ]));
}
// Whether nobody has checked a fact, whether it comes from a table, and where its source stands.
function marks(d, key) {
  const within = (each) => key === each || key.startsWith(`${each}.`);
  const source = Object.keys(detailsOf(d).evidence).find(within);
  return [
    d.unverified.some(within) ? el("span", { class: "flag", text: "unchecked" }) : null,
    d.filled.includes(key.split(".").at(-1)) ? el("span", { class: "flag", text: "from a table" }) : null,
    source ? el("a", { href: `#source-${source}`, class: "source", "aria-label": `source of ${source}`, text: "source" }) : null,
  ];
}

// ------------------------------------------------------------------ facts

function aboutPanel(d) {
  const counted = Object.entries(d.volume).filter(([split]) => split !== "total").map(([split, n]) => `${split} ${count(n)}`);
  const images = d.images === null && d.collection_images ? `unknown (a table counts ${count(d.collection_images)} for a collection of which this is a part)` : d.images;
  return panel("About", d.description ? el("p", { text: d.description }) : null, facts(d, [
    ["tasks", d.tasks.map(titleOf)], ["annotations", d.annotations],
    ["images", images, "expected.images"], ["patients", d.patients, "expected.patients"],
    ["sides", counted.length ? counted : d.official_splits ? `official, by ${d.official_splits}` : "none official: the run splits by patient", "expected.splits"],
    ["patient known by", d.card ? d.patient_key || "nothing: each image counts as its own patient" : null, "patient"],
    ["released", d.released, "survey.released"], ["organisations", d.organisations, "survey.organisations"],
    ["modality", [...d.modalities, d.modality_detail].filter(Boolean), "survey.modality"], ["dimension", d.dimensions, "survey.dimension"],
    ["anatomy", d.anatomy.map(titleOf), "survey.anatomy"], ["about", d.diseases.map(titleOf), "survey.diseases"],
    ["labels", d.label_presence, "survey.label_presence"], ["download", d.storage_gb === null ? null : `${d.storage_gb} GB`, "survey.storage_gb"],
  ]), detailsOf(d).notes ? el("p", { class: "note", text: detailsOf(d).notes }) : null);
}

function classPanel(d) {
  return [...new Set(d.classes.map((each) => each.task))].map((task) => {
    const classes = d.classes.filter((each) => each.task === task), source = detailsOf(d).sources[task];
    const most = Math.max(1, ...classes.map((each) => each.positives || 0));
    const known = classes.some((each) => each.positives !== null);
    const rows = classes.map((each) => el("tr", {}, el("th", { scope: "row", text: each.name }), el("td", {}, meaning(each)),
      known ? el("td", { class: "number bar", style: { "--share": `${(100 * (each.positives || 0)) / most}%` } }, knownOr(each.positives)) : null));
    const about = [`reader ${source.reader}`, source.images ? plural(source.images, "annotated image") : "", source.boxes ? `${count(source.boxes)} boxes` : ""].filter(Boolean).join(", ");
    return panel(`${titleOf(task)}: ${plural(classes.length, "class").replace("classs", "classes")}`, el("p", { class: "quiet small", text: about }, marks(d, `tasks.${task}.expected`)),
      el("table", { class: "classes" }, el("caption", { class: "hidden", text: `classes of ${titleOf(task)}` }),
        el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "class" }), el("th", { scope: "col", text: "concept" }), known ? el("th", { scope: "col", class: "number", text: "images with it" }) : null)), el("tbody", {}, rows)),
      known ? null : el("p", { class: "quiet small", text: "The card has no published counts: `foundationx data check` counts the files." }));
  });
}
function meaning(each) {
  if (!each.concept) return el("span", { class: "unknown", text: "no concept" });
  const words = [each.polarity === "absence" ? "absence of" : "", each.relation === "exact" ? "" : `${each.relation} ${each.relation === "related" ? "to" : "than"}`].filter(Boolean).join(", ");
  return [words ? el("span", { class: "quiet", text: `${words} ` }) : null, route({ view: null, name: null, concept: each.concept, page: null }, { title: pathOf(each.concept).map(titleOf).join(" › ") }, titleOf(each.concept))];
}

// ------------------------------------------------------------------ licence, download

const ALLOWED = { yes: "allowed", no: "not allowed" };
// What the licence permits, in plain words.
function licenceInWords(d) {
  const doubt = (key) => (d[key] && !isChecked(d, key) ? " (nobody has checked this)" : "");
  const words = [
    d.commercial ? `Commercial use is ${ALLOWED[d.commercial]}${doubt("commercial")}.` : "Whether commercial use is allowed is unknown.",
    d.redistribution ? `Passing the data on is ${ALLOWED[d.redistribution]}${doubt("redistribution")}.` : "Whether the data may be passed on is unknown.",
  ];
  const sentences = { "no commercial use": null, "the source is named": "You must name the source.", "adaptations under the same licence": "What you make of the data goes under the same licence.",
    "no adaptations are passed on": "Changed data may not be passed on." };
  return [...words, ...d.conditions.map((each) => (each in sentences ? sentences[each] : `Condition: ${each}.`)).filter(Boolean)];
}
function licencePanel(d) {
  return panel("Licence", el("p", {}, el("strong", {}, knownOr(d.licence)), d.spdx && d.spdx !== d.licence ? el("span", { class: "quiet", text: ` ${d.spdx}` }) : null, marks(d, "licence.name")),
    el("ul", {}, licenceInWords(d).map((text) => el("li", { text }))), el("p", { class: "quiet small", text: d.card ? "As the card states it; not legal advice." : "From a public table, whose licences are often wrong; not legal advice." }));
}

const ACCESS = {
  open: "Anyone may download it.", registration: "You register or log in with its publisher, and accept the terms.", credentialed: "You prove who you are and sign an agreement of your own.",
  application: "You apply, and the publisher decides.", private: "It is your own.",
};
function getPanel(d) {
  const steps = [el("li", {}, ACCESS[d.access] || "How to get access is unknown.", d.home ? [el("br"), outward(d.home)] : "", marks(d, "home"))];
  if (d.root) {
    const files = [...new Set(Object.values(detailsOf(d).sources).flatMap((each) => each.files))];
    steps.push(el("li", {}, "Unpack it into ", el("code", { text: `DATA_ROOT/${d.root}` }), files.length ? el("details", {}, el("summary", { text: plural(files.length, "annotation file") }), el("ul", {}, files.map((name) => el("li", {}, el("code", { text: name }))))) : null));
    steps.push(el("li", {}, "Compare the download with the card:", command(`foundationx data check ${d.card} --data-root DATA_ROOT`)));
  } else if (!d.card) steps.push(el("li", {}, "Write a card for your download:", command("foundationx data new NAME --help")));
  return panel("How to get it", d.storage_gb ? el("p", { class: "quiet", text: `${d.storage_gb} GB` }) : null, onDisk?.has(d.name) ? el("p", {}, el("span", { class: "tag", text: "on your disk" })) : null, el("ol", {}, steps));
}
function command(text) {
  return el("div", { class: "command" }, el("pre", { tabindex: "0", text }), el("button", { type: "button", class: "plain", "aria-label": `copy the command ${text}`, on: { click: () => copy(text, "command") } }, "copy"));
}

// ------------------------------------------------------------------ relatives, citation, evidence, tables

const datasetLink = (name) => (byName.has(name) ? route({ view: "dataset", name }, {}, datasets[byName.get(name)].title) : el("span", { text: name }));
function relativesPanel(d) {
  const list = (what, title) => {
    const names = d.shares.filter((each) => each.what === what).map((each) => each.name);
    return names.length ? [el("h3", { text: title }), el("ul", {}, names.map((name) => el("li", {}, datasetLink(name), name === d.parent ? " (its films are re-used here)" : "")))] : null;
  };
  const held = d.held_out_by.length ? [el("h3", { text: "Wholly on the official test or validation side of" }), el("ul", {}, d.held_out_by.map((name) => el("li", {}, datasetLink(name))))] : null;
  const none = !d.shares.length && !held ? el("p", { class: "quiet", text: d.card ? "The cards know of none. `foundationx data audit` looks for identical films." : "Unknown: it has no card." }) : null;
  return panel("Shared films and patients", list("films", "The same films"), list("patients", "The same patients"), held, none);
}
function citePanel(d) {
  return detailsOf(d).citation ? panel("Citation", el("blockquote", { text: detailsOf(d).citation }), el("button", { type: "button", class: "plain", on: { click: () => copy(detailsOf(d).citation, "citation") } }, "copy the citation")) : null;
}
function evidencePanel(d) {
  const sources = Object.entries(detailsOf(d).evidence);
  const rows = sources.flatMap(([key, source]) => [el("dt", { id: `source-${key}`, tabindex: "-1", text: key }), el("dd", {}, withLinks(source))]);
  const unchecked = d.unverified.length ? [el("h3", { text: "Nobody has checked" }), el("p", {}, d.unverified.map((key) => el("span", { class: "flag", text: key })))] : null;
  return panel("Evidence", rows.length ? el("dl", { class: "stacked" }, rows) : el("p", { class: "quiet", text: d.card ? "The card names no sources." : "It has no card." }), unchecked);
}
// A text with the web addresses in it as links.
const withLinks = (text) => String(text).split(/(https?:\/\/[^\s,;()]+)/).map((part, at) => (at % 2 ? outward(part) : part));

function rowPanel(d) {
  if (!FACTS.tables.length) return null;
  const rows = detailsOf(d).table_rows.map((row) => el("div", {}, el("h3", { text: row.where.join(", ") }), row.cards.length > 1 ? el("p", { class: "quiet small", text: `One row for ${row.cards.join(", ")}: its counts are of the whole.` }) : null, rowTable(row)));
  return panel("In public tables", rows.length ? rows : el("p", { class: "quiet", text: "No row describes it." }));
}
function rowTable(row) {
  const shown = Object.entries(row.says).map(([name, value]) => {
    const wrong = row.errors.filter((each) => each.field === name);
    return el("tr", { class: wrong.length ? "wrong" : null }, el("th", { scope: "row", text: titleOf(name) }), el("td", {}, Array.isArray(value) ? value.map(titleOf).join(", ") : typeof value === "number" && name === "images" ? count(value) : String(value),
      wrong.map((each) => el("div", { class: "error small", text: `✗ ${each.text}` }))));
  });
  const gaps = row.gaps.length ? el("p", { class: "quiet small", text: `The row leaves out: ${row.gaps.map(titleOf).join(", ")}.` }) : null;
  return [el("table", { class: "rows" }, el("caption", { class: "hidden", text: row.where.join(", ") }), el("thead", {}, el("tr", {}, ["fact", "the table says"].map((text) => el("th", { scope: "col", text })))), el("tbody", {}, shown)), gaps];
}

// ------------------------------------------------------------------ sample images, by the server

function samplePanel(d) {
  if (!FACTS.server || !d.card) return null;
  const box = panel("Sample images", el("p", { class: "quiet", text: "looking on the disk …" }));
  api(`/api/samples/${encodeURIComponent(d.name)}`).then(({ images, why }) => {
    const figures = images.map(({ url, name, labels }) => el("figure", {}, el("img", { src: url, alt: `film of ${d.title}: ${labels.join(", ") || "no class is present"}`, loading: "lazy" }),
      el("figcaption", { class: "quiet small" }, labels.join(", ") || "no class is present", el("br"), name)));
    box.replaceChildren(box.firstChild, figures.length ? el("div", { class: "films" }, figures) : el("p", { class: "quiet", text: `None to show: ${why || "the data root has none of its images"}.` }));
  }).catch((error) => box.replaceChildren(box.firstChild, el("p", { class: "quiet", text: error.message })));
  return box;
}
