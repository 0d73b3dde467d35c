"use strict";
// The chosen datasets: a bar at the bottom with what to know of them, and files made of them.

const chosen = () => chosenNames(state).map((name) => datasets[byName.get(name)]);
const related = (one, other) => one.shares.find(({ name }) => name === other.name);

// What to know before the chosen datasets are used together.
function warnings(sets) {
  const said = [];
  sets.forEach((d, at) => {
    for (const other of sets.slice(at + 1)) {
      const tie = related(d, other);
      if (tie) said.push(`${d.title} and ${other.title} show the same ${tie.what}: patients stay in one split where both name them alike; films are counted once.`);
      if (d.held_out_by.includes(other.name)) said.push(`Nothing of ${d.title} is trained on beside ${other.title}, whose official test or validation side has all of it.`);
      if (other.held_out_by.includes(d.name)) said.push(`Nothing of ${other.title} is trained on beside ${d.title}, whose official test or validation side has all of it.`);
    }
    if (d.commercial === "no") said.push(`${d.title}: no commercial use.`);
    if (!d.commercial) said.push(`${d.title}: it is unknown whether commercial use is allowed.`);
    if (d.access && d.access !== "open") said.push(`${d.title}: access is ${d.access}.`);
  });
  return said;
}

const recipe = (sets = chosen()) => `# foundationx data fuse recipe.yaml --out fused\nname: chosen\ncards:\n  allow:\n${sets.map((d) => `    - ${d.card}`).join("\n")}\n`;
const config = (sets = chosen()) => "# a part of a configuration: the datasets; a recipe and `foundationx data fuse` make the whole\n" +
  `datasets = [\n${sets.map((d) => `    dict(card="${d.card}", tasks=[${d.tasks.map((task) => `"${task}"`).join(", ")}]),`).join("\n")}\n]\n`;

function drawBasket(state) {
  const sets = chosen();
  const bar = byId("basket");
  bar.hidden = !sets.length;
  document.body.classList.toggle("with-basket", sets.length > 0);
  if (!sets.length) { bar.replaceChildren(); return; }
  const before = focused();
  const said = warnings(sets);
  const open = state.get("notes") === "open";
  const button = (key, text, act) => el("button", { type: "button", class: "plain", "data-key": `chosen ${key}`, on: { click: act } }, text);
  bar.replaceChildren(
    el("div", { class: "bar" },
      el("strong", { text: `${count(sets.length)} chosen` }),
      el("span", { class: "quiet grow", text: `at least ${totalInWords(total(sets.map((d) => byName.get(d.name))))}` }),
      route({ view: "compare", name: null, run: null }, { class: "button", "data-key": "chosen compare" }, "compare"),
      button("recipe", "recipe", () => save("recipe.yaml", recipe())),
      button("config", "configuration", () => save("datasets.py", config())),
      button("csv", "CSV", () => saveCsv(sets.map((d) => byName.get(d.name)))),
      button("clear", "clear", () => go({ pick: null })),
      said.length ? el("button", { type: "button", class: "link", "data-key": "chosen notes", "aria-expanded": String(open), on: { click: () => go({ notes: open ? null : "open" }, { replace: true }) } }, plural(said.length, "note")) : null),
    ...(open && said.length ? [el("ul", { class: "notes", tabindex: "0", "aria-label": "notes on the chosen datasets" }, said.map((text) => el("li", { text })))] : []));
  refocus(before);
}
afterShow.push(drawBasket);
