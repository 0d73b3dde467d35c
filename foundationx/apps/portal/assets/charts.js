"use strict";
// Charts of the datasets found. A bar is a button: it filters by its value, and the charts follow. Each has a table of its numbers.

const BARS = 12; // bars of a chart

views.charts = {
  title: "Charts",
  order: 3,
  render(root, state) {
    const found = answer(state);
    const chips = el("div");
    drawChips(chips, state, found);
    root.replaceChildren(el("h1", { text: "Charts" }), el("p", { class: "quiet", role: "status", text: summary(found) }), chips,
      el("p", { class: "quiet small", text: "A bar filters by what it stands for; the same bar again lifts the filter. Images of a bar count each film once." }),
      el("div", { class: "figures" }, CHARTS.map((chart) => figure(chart, found, state)).filter(Boolean)));
  },
};

// What is drawn: `measure` of the datasets with a value.
const CHARTS = [
  { title: "Images by task", facet: "task", unit: "images" },
  { title: "Images by modality", facet: "modality", unit: "images" },
  { title: "Datasets by licence", facet: "licence", unit: "datasets" },
  { title: "Datasets by access", facet: "access", unit: "datasets" },
  { title: "Images by annotation", facet: "annotation", unit: "images" },
  { title: "Datasets by year", facet: "year", unit: "datasets", byValue: true },
  { title: "Class balance: images with a concept", facet: "concept", unit: "images with it", balance: true },
  { title: "Datasets by organisation", facet: "organisation", unit: "datasets" },
];

function figure(chart, found, state) {
  const facet = encoded(FACETS.find(({ key }) => key === chart.facet));
  const rows = chart.balance ? balanceRows(found) : facetRows(facet, found, chart.unit);
  if (!rows.length) return null;
  const ordered = rows.sort((a, b) => (chart.byValue ? (a.value < b.value ? -1 : 1) : b.n - a.n || collator.compare(titleOf(a.value), titleOf(b.value))));
  const kept = chart.byValue ? ordered.slice(-BARS) : ordered.slice(0, BARS);
  const note = [chart.balance ? "Published counts of the classes that are the concept, added over datasets that share no films." : "", rows.length > kept.length ? `${rows.length - kept.length} more are in the table.` : ""].filter(Boolean).join(" ");
  return el("section", { class: "panel" }, el("h2", { text: chart.title }), bars(chart, facet, kept, state), note ? el("p", { class: "quiet small", text: note }) : null,
    el("details", {}, el("summary", {}, "as a table", el("span", { class: "hidden", text: `: ${chart.title}` })), numbers(chart, ordered)));
}
function facetRows(facet, found, unit) {
  const by = new Map();
  for (const at of found.matches) {
    for (let item = facet.starts[at]; item < facet.starts[at + 1]; item++) {
      const value = facet.values[facet.items[item]];
      if (!by.has(value)) by.set(value, []);
      by.get(value).push(at);
    }
  }
  return [...by].map(([value, places]) => ({ value, n: unit === "images" ? total(places).images : places.length })).filter(({ n }) => n);
}
// Published numbers of images with each concept: of each dataset the largest of its classes, each film once.
function balanceRows(found) {
  const by = new Map();
  for (const at of found.matches) {
    const own = new Map();
    for (const each of datasets[at].classes) {
      if (each.concept && each.positives !== null && each.relation === "exact" && each.polarity === "presence") own.set(each.concept, Math.max(own.get(each.concept) || 0, each.positives));
    }
    for (const [concept, n] of own) by.set(concept, [...(by.get(concept) || []), [n, datasets[at]]]);
  }
  return [...by].map(([value, counts]) => ({ value, n: once(counts) })).filter(({ n }) => n);
}
function once(counts) {
  const seen = new Set();
  let sum = 0;
  for (const [n, d] of counts.sort((a, b) => b[0] - a[0])) {
    if (d.shares.some(({ name }) => seen.has(name))) continue;
    seen.add(d.name);
    sum += n;
  }
  return sum;
}

const ROW = 26; // height of a bar, in pixels at the usual width
const NARROW = matchMedia("(max-width: 700px)");
NARROW.addEventListener("change", () => show());
// Width of a chart, of the room for its labels, and letters of a label.
const room = () => (NARROW.matches ? { width: 340, label: 128, letters: 17 } : { width: 540, label: 200, letters: 25 });
const clip = (text, letters) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);
function bars(chart, facet, rows, state) {
  const { width, label, letters } = room();
  const most = Math.max(...rows.map(({ n }) => n)), selected = state.all(facet.key), longest = width - label - 74;
  const drawn = rows.map(({ value, n }, at) => {
    const on = selected.includes(value), flip = () => go({ [facet.key]: toggled(selected, value), page: null });
    const press = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); flip(); } };
    const length = Math.max(2, (longest * n) / most);
    const said = `${titleOf(value)}: ${count(n)} ${chart.unit}`;
    return svg("g", { role: "button", tabindex: "0", class: `bar${on ? " on" : ""}`, "aria-pressed": String(on), "aria-label": said, "data-key": `bar ${facet.key} ${value}`, transform: `translate(0 ${at * ROW})`, on: { click: flip, keydown: press } },
      svg("title", { text: said }), svg("rect", { class: "hit", width, height: ROW - 2, rx: 4 }), svg("text", { x: label - 8, y: 17, "text-anchor": "end", text: clip(titleOf(value), letters) }),
      svg("rect", { class: "length", x: label, y: 4, height: ROW - 10, width: length, rx: 3 }), svg("text", { class: "n", x: label + length + 6, y: 17, text: count(n) }));
  });
  return svg("svg", { viewBox: `0 0 ${width} ${rows.length * ROW}`, role: "group", "aria-label": `${chart.title}, ${rows.length} bars`, class: "bars" }, drawn);
}
function numbers(chart, rows) {
  return el("table", {}, el("caption", { class: "hidden", text: chart.title }), el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "value" }), el("th", { scope: "col", class: "number", text: chart.unit }))),
    el("tbody", {}, rows.map(({ value, n }) => el("tr", {}, el("th", { scope: "row", text: titleOf(value) }), el("td", { class: "number", text: count(n) })))));
}
