"use strict";
// The list of datasets: search, facets, chips, table, pages, and what is done with chosen datasets.

const PAGE = 30; // datasets on a page
const VALUES = 7; // values of a facet that stand without asking
const MOST = 100; // values of a facet that are listed at once
const OPEN = ["task", "modality", "annotation", "access"]; // facets that are open unless the address says otherwise

views.find = {
  title: "Datasets",
  order: 1,
  render(root, state) {
    if (!root.querySelector("#results")) root.replaceChildren(...frame());
    const found = answer(state);
    drawSearch(state);
    byId("facets").replaceChildren(...facetList(state, found));
    byId("results").replaceChildren(...results(state, found));
    if (byId("summary").textContent !== summary(found)) byId("summary").textContent = summary(found);
    drawChips(byId("chips"), state, found);
  },
};

// A served page asks once which datasets are on this machine's disk, and makes its index while nobody types.
document.addEventListener("DOMContentLoaded", () => {
  setTimeout(indexInPauses, 50);
  if (FACTS.server) api("/api/disk").then(({ cards }) => { setOnDisk(cards); show(); }).catch((error) => toast(error.message));
});

function frame() {
  return [
    el("h1", { text: "Datasets" }),
    el("p", { class: "quiet", id: "summary", role: "status" }),
    el("div", { class: "searchbar" },
      el("label", { class: "grow" }, el("span", { class: "hidden", text: "search" }),
        el("input", { type: "search", id: "search", "data-key": "search", autocomplete: "off", placeholder: "title, task, finding, organ, licence, organisation, source", on: { input: onSearch } })),
      el("button", { type: "button", class: "plain narrow", id: "show-filters", "aria-expanded": "false", "aria-controls": "filters", text: "filters", on: { click: onFilters } })),
    el("div", { id: "hints" }),
    el("div", { id: "chips" }),
    el("div", { class: "columns" },
      el("section", { class: "panel filters", id: "filters", "aria-label": "filters" }, el("div", { id: "facets" })),
      el("section", { class: "panel list", id: "results", "aria-label": "datasets" })),
  ];
}
function onSearch(event) { go({ q: event.target.value, page: null }, { merge: "q" }); }
function onFilters(event) {
  const open = byId("filters").classList.toggle("open");
  event.target.setAttribute("aria-expanded", String(open));
}
function summary(found) {
  return `${count(found.matches.length)} of ${plural(datasets.length, "dataset")}; at least ${totalInWords(total(found.matches))}.`;
}

// ------------------------------------------------------------------ search

function drawSearch(state) {
  const input = byId("search");
  const text = state.get("q") || "";
  if (input.value !== text) input.value = text;
  const lost = unheard(answer(state).asks).map(({ part, wanted }) => {
    const words = near(wanted).map(([word, times]) =>
      route({ q: text.replace(part, word), page: null }, { class: "chip", "data-key": `near ${word}` }, `${word} (${times})`));
    return el("p", { class: "hint" }, `Nothing has “${part}”. `, words.length ? ["Near it: ", words] : "No known word is near it.");
  });
  byId("hints").replaceChildren(...lost);
}

// ------------------------------------------------------------------ chips

// What the list is filtered by, each with a way to lift it.
function drawChips(root, state, found) {
  const chips = [];
  const chip = (text, changes) => chips.push(route({ ...changes, page: null }, { class: "chip", "aria-label": `remove ${text}`, "data-key": `chip ${text}` }, text, el("span", { "aria-hidden": "true", text: " ×" })));
  if (state.get("q")) chip(`words: ${state.get("q")}`, { q: null });
  for (const facet of [...FACETS, DISK].filter((each, at, all) => all.indexOf(each) === at)) {
    for (const value of state.all(facet.key)) chip(`${facet.title}: ${titleOf(value)}`, { [facet.key]: state.all(facet.key).filter((other) => other !== value) });
  }
  for (const { key, title } of LEAST) if (found.asks.least.has(key)) chip(`${title}: ${state.get(key)}`, { [key]: null });
  if (state.get("unknown") === "drop") chip("unknown facts left out", { unknown: null });
  const all = Object.fromEntries(["q", "unknown", "every", ...[...FACETS, DISK, ...LEAST].map((each) => each.key)].map((key) => [key, null]));
  if (chips.length > 1) chips.push(route({ ...all, page: null }, { class: "chip strong", "data-key": "chip clear" }, "clear all"));
  root.replaceChildren(...(chips.length ? [el("p", { class: "chips" }, chips)] : []));
}

// ------------------------------------------------------------------ facets

function facetList(state, found) {
  const keep = state.get("unknown") !== "drop";
  return [
    el("h2", { class: "hidden", text: "Filters" }),
    el("label", { class: "check" }, el("input", { type: "checkbox", "data-key": "keep", checked: keep, on: { change: () => go({ unknown: keep ? "drop" : null, page: null }) } }), "keep what is not known"),
    el("p", { class: "quiet small", text: "A filter asks for a fact. A dataset that does not state it stays as long as this is ticked." }),
    FACETS.map((facet) => facetBox(facet, found, state)),
    LEAST.map((each) => leastBox(each, state)),
  ].flat();
}
function leastBox({ key, title }, state) {
  const change = (event) => go({ [key]: event.target.value, page: null }, { merge: key });
  return el("label", { class: "least" }, title, el("input", { type: "number", min: "0", inputmode: "numeric", "data-key": key, value: state.get(key) || "", on: { input: change } }));
}
const isOpen = (facet, state) => state.all("open").includes(facet.key) || (OPEN.includes(facet.key) || state.all(facet.key).length > 0) && !state.all("shut").includes(facet.key);

function facetBox(facet, found, state) {
  const open = isOpen(facet, state), selected = state.all(facet.key);
  const flip = () => go({
    open: open ? state.all("open").filter((key) => key !== facet.key) : [...state.all("open"), facet.key],
    shut: open ? [...state.all("shut"), facet.key] : state.all("shut").filter((key) => key !== facet.key),
  }, { replace: true });
  const head = el("h3", {}, el("button", { type: "button", class: "head", "aria-expanded": String(open), "data-key": `facet ${facet.key}`, on: { click: flip } },
    el("span", { text: facet.title }), selected.length ? el("span", { class: "badge", text: selected.length, "aria-label": `${selected.length} selected` }) : null));
  return el("div", { class: "facet" }, head, open ? facetBody(facet, found.countsOf(facet), state, selected) : null);
}
function facetBody(facet, counts, state, selected) {
  const text = state.get(`in_${facet.key}`) || "";
  const rows = facetValues(facet, counts, selected).filter(([value]) => !text || plainText(titleOf(value)).includes(plainText(text)));
  const all = state.all("all").includes(facet.key) || text;
  const listed = rows.slice(0, all ? MOST : VALUES);
  const most = Math.max(1, ...listed.map(([, times]) => times));
  const box = [];
  if (facet.values.length > VALUES + 2) {
    box.push(el("input", { type: "search", class: "small", "data-key": `in ${facet.key}`, "aria-label": `search in ${facet.title}`, placeholder: `search ${facet.title}`, value: text,
      on: { input: (event) => go({ [`in_${facet.key}`]: event.target.value }, { merge: `in_${facet.key}` }) } }));
  }
  box.push(el("ul", {}, listed.map(([value, times]) => facetValue(facet, value, times, most, state, selected))));
  if (!listed.length) box.push(el("p", { class: "quiet small", text: "no such value" }));
  if (!text && rows.length > VALUES) {
    box.push(el("button", { type: "button", class: "link", "data-key": `all ${facet.key}`, on: { click: () => go({ all: toggled(state.all("all"), facet.key) }, { replace: true }) } },
      all ? "show fewer" : `show all ${rows.length}`, el("span", { class: "hidden", text: ` of ${facet.title}` })));
  }
  if (rows.length > MOST && all) box.push(el("p", { class: "quiet small", text: `${rows.length - MOST} more: type to narrow them down` }));
  if (facet.several && selected.length > 1) {
    const every = state.all("every").includes(facet.key);
    box.push(el("label", { class: "check" }, el("input", { type: "checkbox", "data-key": `every ${facet.key}`, checked: every, on: { change: () => go({ every: toggled(state.all("every"), facet.key), page: null }) } }), "all of these at once"));
  }
  return box;
}
// The values of a facet and their counts, the selected ones first.
function facetValues(facet, counts, selected) {
  const rows = facet.values.map((value, id) => [value, counts[id]]).filter(([value, times]) => times || selected.includes(value));
  for (const value of selected) if (!facet.ids.has(value)) rows.push([value, 0]);
  const rank = { value: (a, b) => (a[0] < b[0] ? 1 : -1), listed: (a, b) => facet.listed?.indexOf(b[0]) - facet.listed?.indexOf(a[0]) }[facet.order] || ((a, b) => b[1] - a[1]);
  const last = (row) => (row[0] === UNKNOWN ? 1 : 0);
  return rows.sort((a, b) => selected.includes(b[0]) - selected.includes(a[0]) || last(a) - last(b) || rank(a, b));
}
function facetValue(facet, value, times, most, state, selected) {
  const change = () => go({ [facet.key]: toggled(state.all(facet.key), value), page: null });
  return el("li", {}, el("label", { class: "value", style: { "--share": `${(100 * times) / most}%` } },
    el("input", { type: "checkbox", checked: selected.includes(value), "data-key": `value ${facet.key} ${value}`, on: { change } }),
    el("span", { class: "name", text: titleOf(value) }), el("span", { class: "number", text: count(times) })));
}

// ------------------------------------------------------------------ table

function results(state, found) {
  const rows = inOrder(found.matches, state);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  const page = Math.min(pages, Math.max(1, Number.parseInt(state.get("page") || "1", 10) || 1));
  if (!rows.length) return [el("p", { class: "empty", text: "Nothing fits. Remove a filter or a word." })];
  const part = rows.slice((page - 1) * PAGE, page * PAGE);
  return [
    el("div", { class: "listbar" }, el("span", { class: "quiet", text: `${count((page - 1) * PAGE + 1)} to ${count((page - 1) * PAGE + part.length)} of ${count(rows.length)}` }),
      el("span", { class: "grow" }), sortSelect(state),
      el("button", { type: "button", class: "plain", "data-key": "csv", text: "CSV", title: "save the list as CSV", on: { click: () => saveCsv(rows) } }),
      el("button", { type: "button", class: "plain", "data-key": "json", text: "JSON", title: "save the list as JSON", on: { click: () => saveJson(rows) } })),
    el("table", { class: "sets" }, el("caption", { class: "hidden", text: "datasets" }), el("thead", {}, tableHead(state)),
      el("tbody", {}, part.map((at) => tableRow(datasets[at], state, found.asks)))),
    pages > 1 ? pager(page, pages) : null,
  ].filter(Boolean);
}
function tableHead(state) {
  const { name, up } = sortOf(state);
  const heads = Object.entries(SORTS).map(([key, sort]) => {
    const current = key === name;
    const next = current ? !up : Boolean(sort.up);
    return el("th", { scope: "col", class: ["images", "year"].includes(key) ? "number" : null, "aria-sort": current ? (up ? "ascending" : "descending") : null },
      el("button", { type: "button", class: "head", "data-key": `sort ${key}`, on: { click: () => go({ sort: key, dir: next ? "up" : "down", page: null }) } },
        sort.title, el("span", { "aria-hidden": "true", text: current ? (up ? " ↑" : " ↓") : "" })));
  });
  return el("tr", {}, el("th", { scope: "col" }, el("span", { class: "hidden", text: "choose" })), heads);
}
// On a narrow screen the table has no heads: the order is chosen here.
function sortSelect(state) {
  const { name, up } = sortOf(state);
  const options = Object.entries(SORTS).flatMap(([key, sort]) => [[`${key} down`, `${sort.title} ↓`], [`${key} up`, `${sort.title} ↑`]]);
  const change = (event) => { const [sort, dir] = event.target.value.split(" "); go({ sort, dir, page: null }); };
  const select = el("select", { "aria-label": "order", "data-key": "order", on: { change } }, options.map(([value, text]) => el("option", { value, text })));
  select.value = `${name} ${up ? "up" : "down"}`;
  return el("span", { class: "narrow" }, select);
}
const chosenNames = (state) => state.all("pick").filter((name) => byName.has(name) && datasets[byName.get(name)].card);
const choose = (name) => go({ pick: toggled(state.all("pick"), name) });

function tableRow(d, state, asks) {
  const tick = d.card
    ? el("input", { type: "checkbox", checked: state.all("pick").includes(d.name), "data-key": `pick ${d.name}`, "aria-label": `choose ${d.title}`, on: { change: () => choose(d.name) } })
    : el("span", { class: "quiet", title: "only a table lists it: it needs a card before it can be chosen", text: "–" });
  const under = [d.card || "no card", d.parent ? `films of ${d.parent}` : "", onDisk?.has(d.name) ? "on disk" : "", d.row_errors ? plural(d.row_errors, "error") + " in the table" : ""];
  const why = reasons(d, asks);
  return el("tr", { class: state.all("pick").includes(d.name) ? "picked" : null },
    el("td", { class: "tick" }, tick),
    el("td", { class: "title" }, route({ view: "dataset", name: d.name }, { class: "strong", "data-key": `open ${d.name}` }, d.title),
      el("div", { class: "quiet small", text: under.filter(Boolean).join(" · ") }), why.length ? el("div", { class: "small" }, "has ", why) : null),
    el("td", { "data-label": "tasks" }, taskTags(d)),
    el("td", { class: "number", "data-label": "images" }, d.images === null && d.collection_images ? el("span", { class: "unknown", title: `a table counts ${count(d.collection_images)} for a collection of which this is a part`, text: "unknown" }) : knownOr(d.images)),
    el("td", { class: "number", "data-label": "year" }, d.year === null ? knownOr(null) : String(d.year)),
    el("td", { "data-label": "access" }, knownOr(d.access)),
    el("td", { "data-label": "licence" }, el("div", { class: "clamp", title: d.licence }, knownOr(d.licence)), el("div", { class: "small" }, "commercial ", permission(d, "commercial"), ", pass on ", permission(d, "redistribution"))));
}
const knownOr = (value) => (value === null || value === undefined ? el("span", { class: "unknown", text: UNKNOWN }) : typeof value === "number" ? count(value) : value);
function permission(d, key) {
  const said = d[key] || UNKNOWN;
  const doubt = d[key] && !isChecked(d, key);
  return el("span", { class: said, text: said + (doubt ? " (unchecked)" : "") });
}
function taskTags(d) {
  const tags = d.tasks.map((task) => {
    const classes = d.classes.filter((each) => each.task === task).length;
    return el("span", { class: "tag", text: titleOf(task) + (classes ? ` (${classes})` : "") });
  });
  return tags.length ? tags : knownOr(null);
}
// Classes by which a search found a dataset.
function reasons(d, asks) {
  const found = new Set();
  for (const { wanted } of asks.words) {
    const wide = conceptHits(wanted);
    for (const each of d.classes) if (each.concept && pathOf(each.concept).some((name) => wide[conceptIds.get(name)])) found.add(each.name);
  }
  const names = [...found];
  return [...names.slice(0, 4).map((name) => el("mark", { text: name })), names.length > 4 ? ` and ${names.length - 4} more` : null].filter(Boolean);
}
function pager(page, pages) {
  const near = [...new Set([1, page - 1, page, page + 1, pages])].filter((number) => number >= 1 && number <= pages);
  const links = near.flatMap((number, at) => [
    at && number - near[at - 1] > 1 ? el("span", { "aria-hidden": "true", text: "…" }) : null,
    route({ page: number === 1 ? null : number }, { class: "page", "data-key": `page ${number}`, "aria-label": `page ${number}`, "aria-current": number === page ? "page" : null }, count(number)),
  ]);
  return el("nav", { class: "pager", "aria-label": "pages" }, links);
}

// ------------------------------------------------------------------ files

const COLUMNS = ["name", "title", "card", "home", "tasks", "annotations", "modalities", "dimensions", "anatomy", "images", "year", "access", "licence", "commercial", "redistribution", "parent"];
// A cell that a spreadsheet would take for a formula gets an apostrophe.
function cell(value) {
  const text = Array.isArray(value) ? value.join("; ") : value === null || value === undefined ? "" : String(value);
  return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replace(/"/g, '""')}"`;
}
const csvOf = (places) => [COLUMNS.join(","), ...places.map((at) => COLUMNS.map((name) => cell(datasets[at][name])).join(","))].join("\r\n") + "\r\n";
const saveCsv = (places) => save("datasets.csv", csvOf(places), "text/csv");
const saveJson = (places) => save("datasets.json", JSON.stringify(places.map((at) => ({ ...datasets[at], ...detailsOf(datasets[at]) })), null, 1), "application/json");
