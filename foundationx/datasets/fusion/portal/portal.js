"use strict";
// Filters, table, labels, and the recipe of what was chosen. Unknown is never "no": a filter keeps it or drops it as asked.

const UNKNOWN = "unknown";
const PAGE = 100; // datasets shown at once
const LONGEST = 10; // values of a facet; those that are filtered by stand first
const FACETS = [
  ["task", (d) => d.tasks],
  ["annotation", (d) => d.annotations],
  ["access", (d) => (d.access ? [d.access] : [])],
  ["commercial use", (d) => (d.commercial ? [d.commercial] : [])],
  ["redistribution", (d) => (d.redistribution ? [d.redistribution] : [])],
  ["modality", (d) => d.modalities],
  ["dimension", (d) => d.dimensions],
  ["anatomy", (d) => d.anatomy],
  ["concept", (d) => d.concepts],
  ["can be trained on", (d) => [d.card ? "has a card" : "only in a table"]],
];
const state = { search: "", filters: {}, keepUnknown: true, sort: "images", down: false, shown: PAGE, chosen: new Set(), open: new Set() };
const byId = (id) => document.getElementById(id);
const datasets = FACTS.datasets;

function escape(value) {
  const signs = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(value).replace(/[&<>"']/g, (sign) => signs[sign]);
}
const count = (number) => (number === null || number === undefined ? "?" : number.toLocaleString("en"));
const titleOf = (concept) => (FACTS.concepts[concept] ? FACTS.concepts[concept].title : concept);
const isChecked = (d, key) => !d.unverified.includes("licence") && !d.unverified.includes("licence." + key);

// ------------------------------------------------------------------ search

function conceptWords(name) {
  const concept = FACTS.concepts[name];
  return concept ? concept.path.flatMap((each) => [FACTS.concepts[each].title, ...FACTS.concepts[each].synonyms]) : [name];
}
for (const d of datasets) {
  d.concepts = [...new Set([...d.classes.flatMap((each) => each.within), ...d.diseases.flatMap((name) => (FACTS.concepts[name] ? FACTS.concepts[name].path : [name]))])];
  const concepts = [...d.diseases, ...d.anatomy, ...d.classes.map((each) => each.concept).filter(Boolean)];
  const words = [d.name, d.title, d.description, d.challenge, d.licence, ...d.organisations, ...d.classes.map((each) => each.name)];
  d.text = [...words, ...new Set(concepts.flatMap(conceptWords))].filter(Boolean).join(" \n ").toLowerCase();
}
const words = () => state.search.toLowerCase().split(/\s+/).filter(Boolean);
const isFound = (d) => words().every((word) => d.text.includes(word));

function passes(d, except) {
  return FACETS.every(([name, read]) => {
    const selected = state.filters[name];
    if (name === except || !selected || !selected.size) return true;
    const values = read(d);
    return values.length ? values.some((value) => selected.has(value)) : selected.has(UNKNOWN) || state.keepUnknown;
  });
}
const visible = () => datasets.filter((d) => isFound(d) && passes(d));

// ------------------------------------------------------------------ filters

function drawFacets() {
  byId("facets").innerHTML = FACETS.map(([name, read]) => {
    const counts = new Map();
    for (const d of datasets) {
      if (!isFound(d) || !passes(d, name)) continue;
      for (const value of read(d).length ? read(d) : [UNKNOWN]) counts.set(value, (counts.get(value) || 0) + 1);
    }
    const selected = state.filters[name] || new Set();
    for (const value of selected) if (!counts.has(value)) counts.set(value, 0);
    const most = Math.max(1, ...counts.values());
    const rows = [...counts].sort((a, b) => selected.has(b[0]) - selected.has(a[0]) || b[1] - a[1]).slice(0, LONGEST).map(([value, n]) =>
      `<button data-facet="${escape(name)}" data-value="${escape(value)}" aria-pressed="${selected.has(value)}">` +
      `<i style="width:${(100 * n) / most}%"></i><span>${escape(titleOf(value))}</span><span>${n}</span></button>`);
    return `<h2>${escape(name)}</h2><div class="facet">${rows.join("")}</div>`;
  }).join("") + `<label class="check"><input type="checkbox" id="keep" ${state.keepUnknown ? "checked" : ""}>
    keep what is not known</label><p class="quiet" style="font-size:13px">A filter asks for a fact. Where a dataset does not
    state it, it stays as long as this is ticked.</p>`;
}

// ------------------------------------------------------------------ table

const COLUMNS = [
  ["name", "dataset", (d) => d.title.toLowerCase()],
  ["tasks", "tasks (classes)", (d) => -d.classes.length],
  ["images", "images", (d) => (d.images === null ? Infinity : -d.images)],
  ["year", "year", (d) => (d.year === null ? Infinity : -d.year)],
  ["access", "access", (d) => d.access || "~"],
  ["licence", "licence; commercial, pass on", (d) => (d.licence || "~").toLowerCase()],
];

function permission(d, key) {
  const answer = d[key] || UNKNOWN;
  const doubt = d[key] && !isChecked(d, key) ? "?" : "";
  return `<span class="${answer}" title="${doubt ? "nobody has checked this" : ""}">${answer}${doubt}</span>`;
}
function taskTags(d) {
  return d.tasks.map((task) => {
    const n = d.classes.filter((each) => each.task === task).length;
    return `<span class="tag">${escape(task)}${n ? ` (${n})` : ""}</span>`;
  }).join("") || `<span class="unknown">${UNKNOWN}</span>`;
}
function row(d) {
  const tick = d.card ? `<input type="checkbox" data-choose="${escape(d.name)}" aria-label="choose ${escape(d.title)}" ${state.chosen.has(d.name) ? "checked" : ""}>` : "";
  const line = `<tr class="row" data-open="${escape(d.name)}"><td>${tick}</td><td><b>${escape(d.title)}</b><br><small>${escape(d.card || "no card")}` +
    `${d.parent ? `, images of ${escape(d.parent)}` : ""}</small></td><td>${taskTags(d)}</td><td class="number">${count(d.images)}</td>` +
    `<td class="number">${d.year || "?"}</td><td>${escape(d.access || UNKNOWN)}</td><td>${escape(d.licence || UNKNOWN)}<br>` +
    `<small>${permission(d, "commercial")}, ${permission(d, "redistribution")}</small></td></tr>`;
  return state.open.has(d.name) ? `${line}<tr><td></td><td colspan="6" class="detail">${detail(d)}</td></tr>` : line;
}
function drawTable() {
  const key = COLUMNS.find(([name]) => name === state.sort)[2];
  const order = (a, b) => { const [x, y] = [key(a), key(b)]; return x < y ? -1 : x > y ? 1 : a.title.localeCompare(b.title); };
  const matches = visible().sort(order);
  if (state.down) matches.reverse();
  const known = matches.filter((d) => d.images !== null && !d.parent);
  const images = known.reduce((sum, d) => sum + d.images, 0);
  byId("summary").textContent = `${matches.length} of ${datasets.length} datasets; ${count(images)} images in those with a known number` +
    ` (of ${known.length}; those that show the images of another are not added).`;
  const heads = COLUMNS.map(([name, title]) => `<th${["images", "year"].includes(name) ? ' class="number"' : ""}><button data-sort="${name}">${title}` +
    `${state.sort === name ? (state.down ? " \u2191" : " \u2193") : ""}</button></th>`);
  const rows = matches.slice(0, state.shown).map(row).join("");
  const more = matches.length > state.shown ? `<p><button class="plain" id="more">show ${Math.min(PAGE, matches.length - state.shown)} more</button></p>` : "";
  byId("sets").innerHTML = matches.length ? `<table><thead><tr><th></th>${heads.join("")}</tr></thead><tbody>${rows}</tbody></table>${more}`
    : "<p class='quiet'>Nothing fits. Remove a filter or a word.</p>";
}

// ------------------------------------------------------------------ details

function detail(d) {
  const link = /^https?:/.test(d.home || "") ? `<a href="${escape(d.home)}" rel="noopener">${escape(d.home)}</a>` : escape(d.home || UNKNOWN);
  const splits = Object.entries(d.volume).filter(([split]) => split !== "total").map(([split, n]) => `${split} ${count(n)}`);
  const lines = [
    ["about", [d.description, d.notes].filter(Boolean).map(escape).join("<br>")],
    ["address", link],
    ["citation", d.citation && escape(d.citation)],
    ["organisations", d.organisations.map(escape).join(", ")],
    ["images", [count(d.images), ...splits].join(", ") + (d.patients ? `; ${count(d.patients)} patients` : "") + (d.storage_gb ? `; ${d.storage_gb} GB` : "")],
    ["images of", d.parent && escape(d.parent)],
    ["about disease", d.diseases.map(titleOf).map(escape).join(", ")],
    ...d.tasks.map((task) => [task, classList(d, task)]),
    ["not checked", d.unverified.map(escape).join(", ")],
    ["tables say", d.differences.map(escape).join("<br>")],
    ["from tables", d.filled.map(escape).join(", ")],
  ];
  return `<dl>${lines.filter(([, text]) => text).map(([name, text]) => `<dt>${escape(name)}</dt><dd>${text}</dd>`).join("")}</dl>`;
}
function classList(d, task) {
  return d.classes.filter((each) => each.task === task).map((each) => {
    const said = [...conceptWords(each.concept || ""), each.name].join(" ").toLowerCase();
    const hit = words().length && words().some((word) => said.includes(word));
    const meaning = each.concept ? `${each.relation} ${titleOf(each.concept)}${each.polarity === "absence" ? ", absent" : ""}` : "no concept";
    return `<span class="class${hit ? " hit" : ""}${each.polarity === "absence" ? " absence" : ""}" title="${escape(meaning)}">${escape(each.name)}</span>`;
  }).join("");
}

// ------------------------------------------------------------------ labels

function drawLabels() {
  const tasks = [...new Set(datasets.flatMap((d) => d.classes.map((each) => each.task)))];
  const held = new Map();
  for (const d of visible()) {
    for (const each of d.classes) {
      if (!each.concept) continue;
      if (!held.has(each.concept)) held.set(each.concept, new Map(tasks.map((task) => [task, new Set()])));
      held.get(each.concept).get(each.task).add(d.name);
    }
  }
  const all = (sets) => new Set([...sets.values()].flatMap((names) => [...names]));
  const rows = [...held].sort((a, b) => all(b[1]).size - all(a[1]).size || titleOf(a[0]).localeCompare(titleOf(b[0]))).map(([concept, sets]) => {
    const cells = tasks.map((task) => sets.get(task).size).map((n) => `<td class="${n ? "" : "none"}">${n}</td>`).join("");
    return `<tr class="row" data-find="${escape(concept)}"><td><b>${escape(titleOf(concept))}</b><br>` +
      `<small>${FACTS.concepts[concept].path.slice(0, -1).map(titleOf).map(escape).join(" \u203a ")}</small></td><td>${all(sets).size}</td>${cells}</tr>`;
  });
  byId("labels").innerHTML = `<p class="quiet">Concepts of the vocabulary and how many of the datasets shown have a class for them. A click finds these and those of narrower concepts.</p>` +
    `<table class="labels"><thead><tr><th>concept</th><th>datasets</th>${tasks.map((task) => `<th>${escape(task)}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

// ------------------------------------------------------------------ what was chosen

const chosen = () => datasets.filter((d) => state.chosen.has(d.name));
function warnings() {
  const warnings = [];
  for (const d of chosen()) {
    if (d.parent && state.chosen.has(d.parent)) warnings.push(`${d.title} re-uses images of ${d.parent}: patients stay in one split by their key, but images count twice.`);
    if (d.commercial === "no") warnings.push(`${d.title}: no commercial use.`);
    if (!d.commercial) warnings.push(`${d.title}: it is unknown whether commercial use is allowed.`);
    if (d.access && d.access !== "open") warnings.push(`${d.title}: access is ${d.access}.`);
  }
  return warnings;
}
function drawBasket() {
  const picked = chosen();
  byId("basket").hidden = !picked.length;
  const images = picked.filter((d) => d.images !== null);
  const text = `<b>${picked.length} chosen</b><span class="quiet">${count(images.reduce((sum, d) => sum + d.images, 0))} images` +
    `${images.length < picked.length ? `, ${picked.length - images.length} of unknown size` : ""}</span>`;
  byId("basket").innerHTML = `<div class="bar">${text}<button class="plain" data-give="recipe">recipe</button>` +
    `<button class="plain" data-give="config">configuration</button><button class="plain" id="clear">clear</button></div>` +
    `<ul>${warnings().map((each) => `<li>${escape(each)}</li>`).join("")}</ul>`;
}
const recipe = () => `# foundationx data fuse recipe.yaml --out fused\nname: chosen\ncards:\n  allow:\n${chosen().map((d) => `    - ${d.card}`).join("\n")}\n`;
const config = () => `datasets = [\n${chosen().map((d) => `    dict(card="${d.card}", tasks=[${d.tasks.map((task) => `"${task}"`).join(", ")}]),`).join("\n")}\n]\n`;
function give(kind) {
  const [name, text] = kind === "recipe" ? ["recipe.yaml", recipe()] : ["config.py", config()];
  byId("dialog").innerHTML = `<b>${name}</b><pre>${escape(text)}</pre><button class="plain" id="save">save</button> <button class="plain" id="close">close</button>`;
  byId("dialog").showModal();
  byId("save").onclick = () => save(name, text);
  byId("close").onclick = () => byId("dialog").close();
}
function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
function exportCsv() {
  const names = ["name", "title", "card", "home", "tasks", "annotations", "modalities", "dimensions", "anatomy", "images", "year", "access", "licence", "commercial", "redistribution", "parent"];
  const cell = (value) => `"${(Array.isArray(value) ? value.join("; ") : value === null ? "" : String(value)).replace(/"/g, '""')}"`;
  save("datasets.csv", [names.join(","), ...visible().map((d) => names.map((name) => cell(d[name])).join(","))].join("\r\n") + "\r\n");
}

// ------------------------------------------------------------------ events

function draw() {
  drawFacets();
  drawTable();
  drawLabels();
  drawBasket();
}
function show(tab) {
  for (const name of ["sets", "labels"]) {
    byId(name).hidden = name !== tab;
    byId("tab-" + name).setAttribute("aria-pressed", name === tab);
  }
}
byId("facets").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-facet]");
  if (!button) return;
  const selected = (state.filters[button.dataset.facet] ||= new Set());
  if (!selected.delete(button.dataset.value)) selected.add(button.dataset.value);
  state.shown = PAGE;
  draw();
});
byId("facets").addEventListener("change", (event) => {
  if (event.target.id === "keep") { state.keepUnknown = event.target.checked; draw(); }
});
byId("sets").addEventListener("click", (event) => {
  const sort = event.target.closest("[data-sort]");
  if (event.target.id === "more") state.shown += PAGE;
  else if (sort) { state.down = state.sort === sort.dataset.sort && !state.down; state.sort = sort.dataset.sort; }
  else if (event.target.dataset.choose) { if (!state.chosen.delete(event.target.dataset.choose)) state.chosen.add(event.target.dataset.choose); drawBasket(); return; }
  else if (event.target.closest("[data-open]") && !event.target.closest("a")) { const name = event.target.closest("[data-open]").dataset.open; if (!state.open.delete(name)) state.open.add(name); }
  else return;
  drawTable();
});
byId("labels").addEventListener("click", (event) => {
  const target = event.target.closest("[data-find]");
  if (!target) return;
  state.filters.concept = new Set([target.dataset.find]);
  show("sets");
  draw();
});
byId("basket").addEventListener("click", (event) => {
  if (event.target.dataset.give) give(event.target.dataset.give);
  if (event.target.id === "clear") { state.chosen.clear(); draw(); }
});
byId("search").addEventListener("input", () => { state.search = byId("search").value; state.shown = PAGE; draw(); });
byId("tab-sets").addEventListener("click", () => show("sets"));
byId("tab-labels").addEventListener("click", () => show("labels"));
byId("export").addEventListener("click", exportCsv);
draw();
