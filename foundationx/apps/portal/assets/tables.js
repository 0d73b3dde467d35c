"use strict";
// The rows of public tables beside the cards that describe the same datasets, with the errors of the rows marked.

const ROWS = 60; // rows on a page

views.tables = {
  title: "Tables",
  whole: true,
  order: 4,
  render(root, state) {
    const head = [el("h1", { text: "Public tables" })];
    if (!FACTS.tables.length) {
      root.replaceChildren(...head, el("section", { class: "panel" }, el("p", { text: "The page was made without a public table. That of Project Imaging-X (CSV or JSON) is added by" }),
        el("pre", { tabindex: "0", text: "foundationx portal --table TABLE.csv" })));
      return;
    }
    const found = answer(state), only = state.get("rows") || "all";
    const rows = inOrder(found.matches, state).flatMap((at) => detailsOf(datasets[at]).table_rows.map((row) => ({ d: datasets[at], row }))).filter(({ d, row }) => only === "all" || (only === "errors" ? row.errors.length : only === "gaps" ? row.gaps.length : d.card));
    const pages = Math.max(1, Math.ceil(rows.length / ROWS)), page = Math.min(pages, Math.max(1, Number.parseInt(state.get("page") || "1", 10) || 1));
    const part = rows.slice((page - 1) * ROWS, page * ROWS);
    const chips = el("div");
    drawChips(chips, state, found);
    const wrong = rows.filter(({ row }) => row.errors.length).length, matched = rows.filter(({ d }) => d.card).length;
    root.replaceChildren(...head, el("p", { class: "quiet", role: "status", text: `${FACTS.tables.join(", ")}: ${plural(rows.length, "row")} of the datasets found, ${count(matched)} beside a card, ${count(wrong)} with a marked error: a difference from a checked card, or from itself.` }),
      chips, kindSelect(only),
      el("section", { class: "panel" }, part.length ? wide("rows of the tables", rowsTable(part)) : el("p", { class: "empty", text: "No row fits." }), pages > 1 ? pager(page, pages) : null));
  },
};
function kindSelect(only) {
  const kinds = [["all", "all rows"], ["errors", "rows with an error"], ["gaps", "rows that leave out a task, modality, anatomy or count"], ["cards", "rows beside a card"]];
  const select = el("select", { "data-key": "rows", on: { change: (event) => go({ rows: event.target.value === "all" ? null : event.target.value, page: null }) } }, kinds.map(([value, text]) => el("option", { value, text })));
  select.value = only;
  return el("p", {}, el("label", {}, "show ", select));
}
function rowsTable(part) {
  const heads = ["row", "dataset", "tasks", "images", "year", "licence", "anatomy", "about", "beside it"];
  return el("table", { class: "published" }, el("caption", { class: "hidden", text: "rows of public tables" }), el("thead", {}, el("tr", {}, heads.map((text) => el("th", { scope: "col", class: text === "images" ? "number" : null, text })))),
    el("tbody", {}, part.map(({ d, row }) => publishedRow(d, row))));
}
function publishedRow(d, { where, says, errors, gaps, cards }) {
  const wrong = (name) => (errors.some(({ field }) => field === name) ? "wrong" : null);
  const cell = (name, text, more) => el("td", { "data-label": { released: "year", diseases: "about" }[name] || name, class: [wrong(name), more].filter(Boolean).join(" ") || null }, wrong(name) ? el("span", { class: "error" }, "✗ ", text ?? UNKNOWN) : knownOr(text));
  const list = (name) => (says[name] ? says[name].map(titleOf).join(", ") : null);
  const beside = [
    d.card ? route({ view: "dataset", name: d.name, page: null }, { "data-key": `row ${where[0]} ${d.name}` }, d.title) : route({ view: "dataset", name: d.name, page: null }, { class: "quiet", "data-key": `row ${where[0]} ${d.name}` }, "no card"),
    cards.length > 1 ? el("div", { class: "quiet small", text: `one row for ${cards.length} cards: its counts are of the whole` }) : null,
    errors.length ? el("ul", { class: "small" }, errors.map(({ text }) => el("li", { class: "error", text }))) : null,
    gaps.length ? el("div", { class: "quiet small", text: `left out: ${gaps.map(titleOf).join(", ")}` }) : null,
  ];
  return el("tr", {}, el("td", { "data-label": "row", class: "small quiet", text: where.map((text) => text.replace(/^.* row /, "")).join(", ") }), el("th", { scope: "row", text: says.title || d.title }), cell("tasks", list("tasks")), cell("images", says.images === undefined ? null : count(says.images), "number"),
    cell("released", says.released), cell("licence", says.licence), cell("anatomy", list("anatomy")), cell("diseases", list("diseases")), el("td", {}, beside));
}
