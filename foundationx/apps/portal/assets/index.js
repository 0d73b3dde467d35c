"use strict";
// What is searched and counted: words, facets, and totals that never count a film twice.
// Unknown is never "no": a filter keeps what is unknown unless it is told otherwise.

// The page is kept small: datasets come without the facts that are as in `usual`, classes as lists of numbers of `words`
// without the usual values at their ends, and the details, which only some views show, in a part of their own.
const USUAL = [null, null, null, null, "exact", "presence"];
function asClass(values) {
  const given = (at) => (at >= values.length ? USUAL[at] : at === 3 ? values[at] : FACTS.words[values[at]]);
  return { task: given(0), name: given(1), concept: given(2), positives: given(3), relation: given(4), polarity: given(5) };
}
const datasets = FACTS.datasets.map((given) => ({ ...FACTS.usual, ...given, classes: (given.classes || []).map(asClass) }));
FACTS.datasets = datasets;
let details = null;
// Of a dataset: evidence, notes, citation, files by task, and what the rows of tables say.
function detailsOf(d) {
  details ||= JSON.parse(byId("details").textContent);
  return details[byName.get(d.name)];
}
const byName = new Map(datasets.map((d, at) => [d.name, at]));
const conceptNames = Object.keys(FACTS.concepts);
const conceptIds = new Map(conceptNames.map((name, id) => [name, id]));
const pathOf = (name) => (conceptIds.has(name) ? FACTS.concepts[name].path : [name]);
const titleOf = (name) => (conceptIds.has(name) ? FACTS.concepts[name].title : String(name).replace(/_/g, " "));
const isChecked = (d, key) => !d.unverified.includes("licence") && !d.unverified.includes(`licence.${key}`);
const conceptsOf = (d) => [...new Set([...d.classes.map((each) => each.concept).filter(Boolean), ...d.diseases])];

// ------------------------------------------------------------------ facets

const SIZES = [["under 1,000", 0], ["1,000 to 9,999", 1000], ["10,000 to 99,999", 10000], ["100,000 and more", 100000]];
const sizeOf = (images) => SIZES.filter(([, least]) => images >= least).at(-1)[0];
const one = (value) => (value === null || value === undefined ? [] : [value]);
let onDisk = null; // names of the datasets on this machine's disk; null: nobody has looked
const FACETS = [
  { key: "task", title: "task", read: (d) => d.tasks, several: true },
  { key: "modality", title: "modality", read: (d) => d.modalities, several: true },
  { key: "annotation", title: "annotation", read: (d) => d.annotations, several: true },
  { key: "access", title: "access", read: (d) => one(d.access) },
  { key: "commercial", title: "commercial use", read: (d) => one(d.commercial) },
  { key: "redistribution", title: "redistribution", read: (d) => one(d.redistribution) },
  { key: "licence", title: "licence", read: (d) => one(d.licence) },
  { key: "organisation", title: "organisation", read: (d) => d.organisations, several: true },
  { key: "year", title: "year", read: (d) => one(d.year).map(String), order: "value" },
  { key: "size", title: "images", read: (d) => one(d.images).map(sizeOf), order: "listed", listed: SIZES.map(([name]) => name) },
  { key: "anatomy", title: "anatomy", read: (d) => [...new Set(d.anatomy.flatMap(pathOf))], several: true },
  { key: "concept", title: "concept", read: (d) => [...new Set(conceptsOf(d).flatMap(pathOf))], several: true },
  { key: "reader", title: "reader", read: (d) => d.readers },
  { key: "dimension", title: "dimension", read: (d) => d.dimensions },
  { key: "source", title: "described by", read: (d) => [...(d.card ? ["a card"] : []), ...(d.rows ? ["a public table"] : [])] },
];
const DISK = { key: "disk", title: "on my disk", read: (d) => (onDisk ? [onDisk.has(d.name) ? "here" : "not here"] : []) };
const LEAST = [
  { key: "min_images", title: "at least this many images", read: (d) => d.images },
  { key: "min_year", title: "released in or after", read: (d) => d.year },
];

// A facet with its values as numbers, made when first needed: those of dataset i are items[starts[i]] to
// items[starts[i + 1]]; 0 is "unknown".
function encoded(facet) {
  if (facet.items) return facet;
  const ids = new Map([[UNKNOWN, 0]]);
  const items = [], starts = new Int32Array(datasets.length + 1);
  datasets.forEach((d, at) => {
    const values = facet.read(d);
    for (const value of values.length ? values : [UNKNOWN]) {
      if (!ids.has(value)) ids.set(value, ids.size);
      items.push(ids.get(value));
    }
    starts[at + 1] = items.length;
  });
  return Object.assign(facet, { ids, values: [...ids.keys()], items: Int32Array.from(items), starts });
}
// Says which datasets are on the disk of the machine; the facet appears with the answer.
function setOnDisk(names) {
  onDisk = new Set(names);
  if (!FACETS.includes(DISK)) FACETS.splice(3, 0, DISK);
  delete DISK.items;
  answers.clear();
}

// ------------------------------------------------------------------ words

const SPELLINGS = [[/[\u0300-\u036f]/g, ""], [/[ao]e/g, "e"], [/licence/g, "license"], [/isation/g, "ization"], [/labelled/g, "labeled"], [/our\b/g, "or"]];
const plainText = (text) => SPELLINGS.reduce((rest, [from, to]) => rest.replace(from, to), String(text).toLowerCase().normalize("NFKD"));
const tokensOf = (text) => plainText(text).split(/[^\p{L}\p{N}.+]+/u).map((token) => token.replace(/^\.+|\.+$/g, "")).filter(Boolean);
const line = (texts) => texts.filter(Boolean).map((text) => ` ${tokensOf(text).join(" ")} `).join("|");

const conceptLines = conceptNames.map((name) => line([FACTS.concepts[name].title, ...FACTS.concepts[name].synonyms, name]));
const lines = new Array(datasets.length); // the text of each dataset, without its concepts
const known = new Map(); // every token, and the number of datasets or concepts that have it
let indexed = 0;

function hostWords(d) {
  const host = /^https?:\/\/(?:www\.)?([^/]+)/i.exec(d.home || "");
  return host ? [host[1], host[1].replace(/\./g, " ")] : [];
}
function indexUpTo(end) {
  for (; indexed < end; indexed++) {
    const d = datasets[indexed];
    const joined = /-/.test(d.title) ? d.title.replace(/-/g, "") : ""; // ChestX-ray14 is found as chestxray14
    lines[indexed] = line([
      d.name, d.title, joined, d.description, d.challenge, d.licence, d.spdx, d.access, d.modality_detail, ...hostWords(d), ...d.organisations, ...d.tasks,
      ...d.annotations, ...d.modalities, ...d.dimensions, d.year, ...d.classes.map((each) => each.name), ...[...d.diseases, ...d.anatomy].filter((name) => !conceptIds.has(name)),
    ]);
    for (const token of new Set(lines[indexed].split(/[ |]+/))) known.set(token, (known.get(token) || 0) + 1);
  }
}
for (const each of conceptLines) for (const token of new Set(each.split(/[ |]+/))) known.set(token, (known.get(token) || 0) + 1);
// The index is made in pauses after the first view, or at once where a search needs it.
function indexInPauses() {
  if (indexed >= datasets.length) return;
  indexUpTo(Math.min(datasets.length, indexed + 300));
  setTimeout(indexInPauses, 0);
}

// The asked words: a quoted phrase or a word with signs in it (CC-BY-4.0) is looked for as a whole.
function asked(text) {
  const parts = String(text || "").match(/"[^"]*"?|[^\s"]+/g) || [];
  return parts.map((part) => ({ part: part.replace(/"/g, ""), wanted: tokensOf(part).join(" ") })).filter((each) => each.wanted);
}
// A word is found at the beginning of a word; one of two letters or fewer only as a whole (PA is not opacity).
const needle = (wanted) => (wanted.length <= 2 ? ` ${wanted} ` : ` ${wanted}`);
const conceptsHit = new Map(); // word -> which concepts have it
function conceptHits(wanted) {
  if (conceptsHit.size > 200) conceptsHit.clear();
  if (!conceptsHit.has(wanted)) conceptsHit.set(wanted, conceptLines.map((each) => each.includes(needle(wanted))));
  return conceptsHit.get(wanted);
}

let idsOf = null; // of each dataset, its concepts and anatomy with all broader ones, as numbers
function conceptLists() {
  idsOf ||= datasets.map((d) => [...new Set([...conceptsOf(d), ...d.anatomy].flatMap(pathOf))].map((name) => conceptIds.get(name)).filter((id) => id !== undefined));
  return idsOf;
}
const foundBy = new Map(); // word -> which datasets have it
function hits(wanted) {
  if (!foundBy.has(wanted)) {
    indexUpTo(datasets.length);
    const sign = needle(wanted), wide = conceptHits(wanted), any = wide.includes(true), lists = conceptLists();
    const found = new Uint8Array(datasets.length);
    for (let at = 0; at < found.length; at++) found[at] = lines[at].includes(sign) || (any && lists[at].some((id) => wide[id])) ? 1 : 0;
    if (foundBy.size > 50) foundBy.clear();
    foundBy.set(wanted, found);
  }
  return foundBy.get(wanted);
}

// Number of single-letter changes (one of them may swap neighbours) from one word to another, or `limit + 1` if more.
function distance(one, other, limit) {
  if (Math.abs(one.length - other.length) > limit) return limit + 1;
  let before = [], last = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      next[j] = Math.min(last[j] + 1, next[j - 1] + 1, last[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    if (Math.min(...next) > limit) return limit + 1;
    [before, last] = [last, next];
  }
  return last[other.length];
}
// Known words near one that nothing has: [word, number of datasets], the nearest first.
function near(wanted, most = 4) {
  indexUpTo(datasets.length);
  const limit = wanted.length <= 4 ? 1 : 2;
  const close = [];
  for (const [token, times] of known) {
    const far = token.length > 2 ? distance(wanted, token, limit) : limit + 1;
    if (far <= limit) close.push([token, far, times]);
  }
  close.sort((a, b) => a[1] - b[1] || b[2] - a[2] || (a[0] < b[0] ? -1 : 1));
  const counted = close.slice(0, 3 * most).map(([token]) => [token, hits(token).reduce((sum, hit) => sum + hit, 0)]);
  return counted.filter(([, times]) => times).slice(0, most);
}

// ------------------------------------------------------------------ answers

const answers = new Map(); // the address's filters -> the answer
function question(state) {
  const selected = new Map();
  for (const facet of [...FACETS, ...(FACETS.includes(DISK) ? [] : [DISK])]) if (state.all(facet.key).length) selected.set(facet.key, state.all(facet.key));
  const least = LEAST.map(({ key }) => [key, Number.parseInt(state.get(key) ?? "", 10)]).filter(([, number]) => Number.isFinite(number));
  return { words: asked(state.get("q")), selected, least: new Map(least), every: state.all("every"), keep: state.get("unknown") !== "drop" };
}
// The datasets that the address asks for, as numbers, and how many each value of a facet would leave.
function answer(state) {
  const asks = question(state);
  const key = JSON.stringify([asks.words, [...asks.selected], [...asks.least], asks.every, asks.keep]);
  if (!answers.has(key)) {
    if (answers.size > 20) answers.clear();
    answers.set(key, compute(asks));
  }
  return answers.get(key);
}
function compute(asks) {
  const size = datasets.length;
  const open = new Uint8Array(size).fill(1); // passes the words and the least numbers
  for (const { wanted } of asks.words) { const found = hits(wanted); for (let at = 0; at < size; at++) open[at] &= found[at]; }
  for (const { key, read } of LEAST) {
    if (!asks.least.has(key)) continue;
    for (let at = 0; at < size; at++) { const value = read(datasets[at]); if (value === null ? !asks.keep : value < asks.least.get(key)) open[at] = 0; }
  }
  const failed = new Uint8Array(size), failedAt = new Int8Array(size); // number of facets that a dataset fails, and the last
  FACETS.forEach((facet, number) => {
    const values = asks.selected.get(facet.key);
    if (!values) return;
    encoded(facet);
    const wanted = new Uint8Array(facet.values.length);
    for (const value of values) if (facet.ids.has(value)) wanted[facet.ids.get(value)] = 1;
    const needed = facet.several && asks.every.includes(facet.key) ? values.length : 1;
    if (asks.keep) wanted[0] = 1;
    for (let at = 0; at < size; at++) {
      let met = 0;
      const first = facet.starts[at];
      for (let item = first; item < facet.starts[at + 1]; item++) met += wanted[facet.items[item]];
      if (facet.items[first] === 0 ? !met : met < needed) { failed[at]++; failedAt[at] = number; }
    }
  });
  const matches = [];
  for (let at = 0; at < size; at++) if (open[at] && !failed[at]) matches.push(at);
  const counts = new Map();
  const countsOf = (facet) => {
    if (!counts.has(facet.key)) counts.set(facet.key, valueCounts(encoded(facet), FACETS.indexOf(facet), open, failed, failedAt));
    return counts.get(facet.key);
  };
  return { asks, matches, countsOf };
}
// How many datasets each value would leave, were the facet's own selection lifted.
function valueCounts(facet, number, open, failed, failedAt) {
  const counts = new Uint32Array(facet.values.length);
  for (let at = 0; at < open.length; at++) {
    if (!open[at] || failed[at] > 1 || (failed[at] === 1 && failedAt[at] !== number)) continue;
    for (let item = facet.starts[at]; item < facet.starts[at + 1]; item++) counts[facet.items[item]]++;
  }
  return counts;
}
// Words of the search that nothing in the portal has.
const unheard = (asks) => asks.words.filter(({ wanted }) => !hits(wanted).includes(1));

// ------------------------------------------------------------------ order

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const SORTS = {
  title: { title: "dataset", read: (d) => d.title, up: true },
  classes: { title: "tasks (classes)", read: (d) => d.classes.length || null },
  images: { title: "images", read: (d) => d.images },
  year: { title: "year", read: (d) => d.year },
  access: { title: "access", read: (d) => d.access, up: true },
  licence: { title: "licence", read: (d) => d.licence, up: true },
};
const orders = new Map();
// All datasets in an order; those without the fact come last in both directions.
function ordered(name, up) {
  const key = `${name} ${up}`;
  if (!orders.has(key)) {
    const values = datasets.map(SORTS[name].read);
    const compare = (a, b) => (typeof values[a] === "string" ? collator.compare(values[a], values[b]) : values[a] - values[b]);
    const has = (at) => values[at] !== null && values[at] !== undefined;
    const all = datasets.map((_, at) => at);
    const sorted = all.filter(has).sort((a, b) => (up ? compare(a, b) : compare(b, a)) || a - b);
    orders.set(key, [...sorted, ...all.filter((at) => !has(at))]);
  }
  return orders.get(key);
}
function sortOf(state) {
  const name = Object.hasOwn(SORTS, state.get("sort") || "") ? state.get("sort") : "images";
  return { name, up: state.get("dir") ? state.get("dir") === "up" : Boolean(SORTS[name].up) };
}
function inOrder(matches, state) {
  const { name, up } = sortOf(state);
  const wanted = new Uint8Array(datasets.length);
  for (const at of matches) wanted[at] = 1;
  return ordered(name, up).filter((at) => wanted[at]);
}

// ------------------------------------------------------------------ totals

// Images of some datasets, each film once: from the largest down, a dataset adds its images only if it shares films or
// patients with none that was added before. So the sum is never too high.
function total(places) {
  const asked = new Uint8Array(datasets.length), counted = new Uint8Array(datasets.length);
  for (const at of places) asked[at] = 1;
  let images = 0, unknown = 0, shared = 0;
  for (const at of ordered("images", false)) {
    if (!asked[at]) continue;
    if (datasets[at].images === null) { unknown++; continue; }
    if (relatives(at).some((other) => counted[other])) { shared++; continue; }
    counted[at] = 1;
    images += datasets[at].images;
  }
  return { images, unknown, shared };
}
const relativesOf = []; // of each dataset asked for before, the numbers of those that share films or patients with it
const relatives = (at) => (relativesOf[at] ||= datasets[at].shares.map(({ name }) => byName.get(name)).filter((other) => other !== undefined));
function totalInWords({ images, unknown, shared }) {
  const rest = [
    shared ? `${plural(shared, "dataset")} with films or patients of a larger one ${shared === 1 ? "is" : "are"} not added` : "",
    unknown ? `${count(unknown)} of unknown size` : "",
  ].filter(Boolean);
  return `${plural(images, "image")}${rest.length ? ` (${rest.join("; ")})` : ""}`;
}
