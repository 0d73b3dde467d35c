"use strict";
// Fusion: a recipe of what is chosen and filtered, what it selects and why, its files, and what is done with them.

const FUSE_PAUSE = 300; // milliseconds after the last change before the server is asked
const FUSE_FIELDS = { as: "chosen", base: "", side: "224", cycles: "10", order: "fixed", policy: "warn", options: "" };
let fuseTimer = 0, fuseAsked = "", machineFacts = null;

views.fuse = {
  title: "Fuse",
  order: 6,
  render(root, state) {
    if (!FACTS.server) { needsServer(root, "Fuse"); return; }
    if (!root.querySelector("#fuse-form")) {
      fuseAsked = "";
      root.replaceChildren(...fuseFrame(state));
      askMachine();
    }
    drawFuseForm(state);
    drawFuseSource(state);
    askPreview(state);
    drawWritten(state);
  },
};

function fuseFrame(state) {
  const field = (key, label, node, hint) => el("label", { class: "least" }, label, Object.assign(node, { id: `fuse-${key}` }), hint ? el("span", { class: "quiet small", id: `fuse-${key}-hint`, text: hint }) : null);
  const typed = (key, attributes) => el("input", { "data-key": `fuse ${key}`, autocomplete: "off", on: { input: (event) => go({ [key]: event.target.value }, { merge: key, replace: true }) }, ...attributes });
  const select = (key, options) => el("select", { "data-key": `fuse ${key}`, on: { change: (event) => go({ [key]: event.target.value }, { replace: true }) } }, options.map(([value, text]) => el("option", { value, text: text || value })));
  return [
    el("h1", { text: "Fuse" }),
    el("p", { class: "quiet", text: "The chosen datasets, under the list's filters, become one configuration to train on. Nothing is downloaded and no image is read." }),
    el("div", { class: "two fusing" },
      el("section", { class: "panel", id: "fuse-form", "aria-label": "recipe" }, el("h2", { text: "Recipe" }),
        el("div", { id: "fuse-source" }),
        field("as", "name", typed("as", { type: "text", maxlength: "64", spellcheck: "false" }), "letters, digits and underscores; also the name of the run"),
        field("base", "network", select("base", [["", "…"]]), "…"),
        field("side", "side of an image in pixels", typed("side", { type: "number", min: "32", max: "4096", step: "32" })),
        field("cycles", "cycles", typed("cycles", { type: "number", min: "1", max: "1000000" })),
        field("order", "order of the datasets", select("order", [["fixed"], ["shuffled"], ["temperature"], ["capped"]])),
        field("policy", "facts that nobody has recorded", select("policy", [["warn", "keep and say so"], ["keep", "keep"], ["drop", "drop the dataset"]])),
        el("details", { id: "fuse-more" }, el("summary", { text: "other keys of the configuration" }),
          field("options", "JSON, such as {\"runtime\": {\"batch_size\": 4}}", el("textarea", { rows: "6", spellcheck: "false", "data-key": "fuse options", on: { input: (event) => go({ options: event.target.value }, { merge: "options", replace: true }) } })))),
      el("section", { class: "panel", "aria-label": "what the recipe selects" }, el("h2", { text: "What it selects" }), el("p", { role: "status", id: "fuse-status" }), el("div", { id: "fuse-preview" }), el("div", { id: "fuse-copies" }),
        el("p", {}, el("button", { type: "button", class: "button", id: "fuse-write", "data-key": "fuse write", text: "write the fusion", on: { click: writeFusion } })))),
    el("div", { id: "fuse-written" }),
    el("div", { id: "fuse-earlier" }),
  ];
}
function askMachine() {
  const draw = () => {
    const select = byId("fuse-base");
    if (!select) return;
    select.replaceChildren(...machineFacts.presets.map((name) => el("option", { value: name, text: `${name.replace("_base_/", "")}${name === machineFacts.base ? " (proposed)" : ""}` })));
    byId("fuse-base-hint").textContent = `proposed for this machine: ${machineFacts.base.replace("_base_/", "")}, because ${machineFacts.why}`;
    show();
  };
  if (machineFacts) draw(); else api("/api/machine").then((facts) => { machineFacts = facts; draw(); }).catch((error) => toast(error.message));
  api("/api/fusions").then((all) => {
    const place = byId("fuse-earlier");
    if (!place || !all.length) return;
    place.replaceChildren(el("section", { class: "panel", "aria-label": "written before" }, el("h2", { text: "Written before" }),
      el("ul", {}, all.map((each) => el("li", {}, route({ view: "fuse", fusion: each.name }, { "data-key": `fusion ${each.name}` }, each.name), ` ${each.ready ? `trains on ${plural(Object.keys(each.trains).length, "dataset")}` : "has nothing to train on"}`)))));
  }).catch((error) => toast(error.message));
}
const fuseValue = (state, key) => state.get(key) ?? (key === "base" && machineFacts ? machineFacts.base : FUSE_FIELDS[key]);

// Fields follow the address; what somebody is typing stays as it is.
function drawFuseForm(state) {
  for (const key of Object.keys(FUSE_FIELDS)) {
    const node = byId(`fuse-${key}`), value = fuseValue(state, key);
    if (document.activeElement !== node && node.value !== value) node.value = value;
  }
  if (state.get("options")) byId("fuse-more").open = true;
}
function drawFuseSource(state) {
  const before = focused();
  const names = chosenNames(state), conditions = Object.entries(recipeConditions(state));
  const sets = names.map((name) => el("li", {}, datasetLink(name), " ", el("button", { type: "button", class: "link", "data-key": `fuse without ${name}`, "aria-label": `do not fuse ${datasets[byName.get(name)].title}`, text: "remove", on: { click: () => choose(name) } })));
  byId("fuse-source").replaceChildren(
    names.length ? el("ul", {}, sets) : el("p", {}, "No dataset is chosen: the recipe takes every card that fits. ", route({ view: null, fusion: null }, { "data-key": "fuse to find" }, "Choose some")),
    el("p", { class: "quiet small", text: conditions.length ? `Conditions of the list's filters: ${conditions.map(([key, value]) => `${key} ${[value].flat().join(", ")}`).join("; ")}` : "The list is not filtered: the recipe sets no condition." }));
  refocus(before);
}

// ------------------------------------------------------------------ the recipe

// The list's filters as keys of a recipe; those that a recipe has no key for stay with the list.
function recipeConditions(state) {
  const found = {};
  const list = { task: "task_types", modality: "modalities", access: "access", licence: "licence_allowlist", anatomy: "anatomy_whitelist" };
  for (const [facet, key] of Object.entries(list)) {
    const values = state.all(facet).filter((value) => value !== UNKNOWN);
    if (values.length) found[key] = values;
  }
  for (const key of ["commercial", "redistribution"]) if (state.all(key).length === 1 && state.get(key) === "yes") found[key] = "required";
  if (state.all("dimension").length === 1 && state.get("dimension") !== UNKNOWN) found.dimension = state.get("dimension");
  if (Number(state.get("min_images")) > 0) found.min_valid_images = Math.round(Number(state.get("min_images")));
  if (/^\d{4}$/.test(state.get("min_year") || "")) found.release_date_min = state.get("min_year");
  return found;
}
// The recipe of the address. Throws SyntaxError if the other keys are no JSON.
function recipeValues(state) {
  const value = (key) => fuseValue(state, key);
  const names = chosenNames(state).map((name) => datasets[byName.get(name)].card);
  const policy = state.get("policy") || (state.get("unknown") === "drop" ? "drop" : FUSE_FIELDS.policy);
  const values = { name: value("as") };
  if (names.length) values.cards = { allow: names };
  Object.assign(values, recipeConditions(state));
  if (policy !== "warn") values.unknown_policy = policy;
  if (value("order") !== "fixed") values.sampling = { order: value("order") };
  values.run = { base: [value("base"), "_base_/schedule", "_base_/views"], image_size: Number(value("side")), cycles: Number(value("cycles")) };
  if (value("options").trim()) values.run.options = JSON.parse(value("options"));
  return values;
}

function askPreview(state) {
  if (!machineFacts) return;
  let values;
  try { values = recipeValues(state); } catch (error) { fuseAsked = ""; sayFault(`other keys: ${error.message}`); return; }
  const question = JSON.stringify(values);
  if (question === fuseAsked) return;
  fuseAsked = question;
  clearTimeout(fuseTimer);
  fuseTimer = setTimeout(() => {
    api("/api/fuse/preview", { method: "POST", body: { recipe: values } })
      .then((found) => { if (question === fuseAsked && byId("fuse-preview")) drawPreview(found); })
      .catch((error) => { if (question === fuseAsked) sayFault(error.message); });
  }, FUSE_PAUSE);
}
function sayFault(text) {
  if (!byId("fuse-status")) return;
  byId("fuse-status").replaceChildren(el("span", { class: "error", text }));
  byId("fuse-preview").replaceChildren();
  byId("fuse-write").disabled = true;
}
function drawPreview(found) {
  const trains = found.kept.filter((row) => row.trains);
  byId("fuse-status").textContent = `${plural(found.kept.length, "dataset")} kept, ${count(trains.length)} of them to train on; ${count(found.dropped.length)} dropped, ${count(found.not_chosen)} not chosen.`;
  byId("fuse-preview").replaceChildren(...selectionParts(found), ...absentFiles(found));
  byId("fuse-write").disabled = false;
}
function selectionParts(found) {
  const kept = found.kept.map((row) => [row.title, row.trains || el("span", { class: "error", text: `nothing: ${row.obstacle}` }), row.images === null ? UNKNOWN : row.images, row.licence || UNKNOWN, row.not_known || ""]);
  return [
    kept.length ? plainTable("kept datasets", ["kept", "trains", "images", "licence", "not known"], kept) : null,
    found.dropped.length ? plainTable("dropped datasets", ["dropped", "why"], found.dropped.map((row) => [row.title, row.why])) : null,
    found.notes.length ? el("ul", { class: "note" }, found.notes.map((text) => el("li", { text }))) : null,
    el("details", {}, el("summary", { text: "licence report" }), el("pre", { tabindex: "0", text: found.licences })),
    el("details", {}, el("summary", { text: `alignment of classes: ${plural(Object.keys(found.alignment.may_share_a_target).length, "shared target")}` }), ...alignmentParts(found.alignment)),
    el("details", {}, el("summary", { text: "groups by modality, task and anatomy" }), groupTable(found.groups)),
  ].filter(Boolean);
}
function alignmentParts(alignment) {
  const row = (each) => [titleOf(each.concept), each.head, each.class, `${each.relation}${each.polarity === "absence" ? ", absent" : ""}`, each.shares || each.why_not];
  const rows = alignment.concepts.flatMap((each) => each.classes.map(row));
  const parts = [plainTable("classes by concept", ["concept", "head", "class", "relation", "shares the target, or why it does not"], rows)];
  if (alignment.without_concept.length) parts.push(el("p", { class: "quiet small", text: `Without a concept: ${alignment.without_concept.map((each) => `${each.head} ${each.class}`).join(", ")}` }));
  return parts;
}
function groupTable(groups) {
  const names = groups.length ? Object.keys(groups[0]) : [];
  return plainTable("groups", names.map((name) => name.replace(/_/g, " ")), groups.map((group) => names.map((name) => group[name] ?? "")));
}

// Datasets whose files are not there can be tried on generated copies in the same layout.
function absentFiles(found) {
  const absent = found.kept.filter((row) => !row.trains && /missing/.test(row.obstacle || "")).map((row) => row.dataset);
  if (!absent.length) return [];
  const start = () => api("/api/jobs", { method: "POST", body: { kind: "phantoms", cards: absent } })
    .then((job) => byId("fuse-copies").replaceChildren(jobBox(job, () => { fuseAsked = ""; show(); }))) // it stays when the preview is drawn anew
    .catch((error) => toast(error.message));
  return [el("div", { class: "note" },
    el("p", { text: `The files of ${plural(absent.length, "dataset")} are not in the data root. Each dataset's page says how to get them. To try everything before, generated copies in the published layouts can stand in.` }),
    el("button", { type: "button", class: "plain", id: "fuse-phantoms", "data-key": "fuse phantoms", text: "make phantom copies", on: { click: start } }))];
}

// ------------------------------------------------------------------ the written fusion

function writeFusion() {
  byId("fuse-write").disabled = true;
  api("/api/fuse", { method: "POST", body: { recipe: recipeValues(state) } }).then((found) => {
    byId("fuse-write").disabled = false;
    if (found.fault) toast(`${found.fault.where}: ${found.fault.found}`);
    byId("fuse-written").dataset.drawn = "";
    go({ fusion: found.name }, { replace: true });
  }).catch((error) => { byId("fuse-write").disabled = false; toast(error.message); });
}
function drawWritten(state) {
  const place = byId("fuse-written"), name = state.get("fusion") || "";
  if (place.dataset.drawn === name) return;
  place.dataset.drawn = name;
  if (!name) { place.replaceChildren(); return; }
  Promise.all([api(`/api/fusions/${encodeURIComponent(name)}`), api(`/api/jobs?about=${encodeURIComponent(name)}`)])
    .then(([found, jobs]) => { if (place.isConnected && place.dataset.drawn === name) place.replaceChildren(...writtenParts(found, jobs)); })
    .catch((error) => place.replaceChildren(el("section", { class: "panel", "aria-label": "written fusion" }, el("p", { class: "error", text: error.message }))));
}
function writtenParts(found, jobs) {
  const files = found.files.map((file) => el("a", { class: "chip", href: `/api/fusions/${encodeURIComponent(found.name)}/files/${file}`, download: file, text: file }));
  const parts = [
    el("h2", { id: "fuse-done", text: `Written: ${found.name}` }),
    el("p", { class: "chips" }, files),
    el("p", { class: "quiet", text: "The same files are written by" }), command(found.command),
    found.dropped.length ? el("div", {}, el("h3", { text: "Dropped, by audit.csv" }), plainTable("dropped by the written fusion", ["dataset", "why"], found.dropped.map((row) => [row.dataset, row.why]))) : null,
    found.ready ? el("p", { text: `It trains on ${Object.entries(found.trains).map(([name, tasks]) => `${name} (${tasks})`).join(", ")}.` }) : el("p", { class: "error", text: "There is no configuration: nothing of it can be trained. The reasons stand in the table above and in audit.csv." }),
  ];
  const section = el("section", { class: "panel", "aria-labelledby": "fuse-done" }, parts.filter(Boolean));
  return found.ready ? [section, ...nextSteps(found, jobs)] : [section];
}

// Check, audit, doctor, training: each with a button and the newest job of its kind.
function nextSteps(found, jobs) {
  const step = (kind, title, text, body, label, extra = {}) => {
    const place = el("div", {});
    const known = jobs.find((job) => job.kind === kind && (!extra.about || extra.about === job.about));
    if (known) place.append(jobBox(known));
    const start = (more = {}) => api("/api/jobs", { method: "POST", body: { kind, ...body, ...more } }).then((job) => place.replaceChildren(jobBox(job))).catch((error) => toast(error.message));
    const button = (words, more) => el("button", { type: "button", class: "plain", "data-key": `fuse ${kind} ${words}`, text: words, on: { click: () => start(more) } });
    return el("section", { class: "panel", "aria-label": title }, el("h2", { text: title }), el("p", { class: "quiet", text }), el("p", {}, button(label), extra.second ? [" ", button(...extra.second)] : null), place);
  };
  const launch = () => api("/api/runs/launch", { method: "POST", body: { name: found.name } }).then(({ run }) => go({ view: "run", run, pick: null })).catch((error) => toast(error.message));
  return [
    checkStep(Object.keys(found.trains)),
    step("audit", "Audit", "Finds patients and images that are in two splits or two datasets. Nothing changes unless the list is applied to the data root.", { fusion: found.name }, "audit", { second: ["audit and apply", { apply: true }] }),
    step("doctor", "Doctor", "Tries two steps of every phase on this machine and says what the whole run takes.", { fusion: found.name }, "doctor"),
    el("section", { class: "panel", "aria-label": "Train" }, el("h2", { text: "Train" }), el("p", { class: "quiet", text: "Training is a process of its own: it goes on if this page or the portal is closed." }),
      el("p", {}, el("button", { type: "button", class: "button", "data-key": "fuse launch", text: "launch training", on: { click: launch } }))),
  ];
}
function checkStep(cards) {
  const select = el("select", { "aria-label": "dataset to check", "data-key": "fuse check which" }, cards.map((name) => el("option", { value: name, text: name })));
  const place = el("div", {});
  const start = () => api("/api/jobs", { method: "POST", body: { kind: "check", card: select.value } }).then((job) => place.replaceChildren(jobBox(job))).catch((error) => toast(error.message));
  const recall = () => api(`/api/jobs?about=${encodeURIComponent(select.value)}`).then((jobs) => place.replaceChildren(...jobs.filter((job) => job.kind === "check").slice(0, 1).map((job) => jobBox(job)))).catch((error) => toast(error.message));
  select.addEventListener("change", recall);
  recall();
  return el("section", { class: "panel", "aria-label": "Check" }, el("h2", { text: "Check" }), el("p", { class: "quiet", text: "Compares a download with its card: files, counts, classes, images, boxes, masks." }),
    el("p", {}, select, " ", el("button", { type: "button", class: "plain", "data-key": "fuse check", text: "check", on: { click: start } })), place);
}
