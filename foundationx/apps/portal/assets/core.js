"use strict";
// State in the address, views, elements, focus, messages, and questions to the server.
// Text from data only ever becomes text: `el` sets textContent and never HTML.

const FACTS = JSON.parse(document.getElementById("facts").textContent);
// name -> {title, order, render(root, state), heading?(state), whole?}: those without `order` have no tab, those that are
// `whole` wait for the end of the page, where the details of the datasets stand
const views = {};
const UNKNOWN = "unknown";
const byId = (id) => document.getElementById(id);
const count = (number) => (number === null || number === undefined ? "unknown" : number.toLocaleString("en"));
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

// ------------------------------------------------------------------ elements

const SVG = "http://www.w3.org/2000/svg";
const SAFE_LINK = /^(https?:|mailto:|blob:|[?#/])/i;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (name === "text") node.textContent = value;
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else if (name === "href" && !SAFE_LINK.test(value)) continue;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
// A link to an address outside the page, or its text where it is no web address.
const outward = (address) => (/^https?:\/\//i.test(address) ? el("a", { href: address, rel: "noopener noreferrer", text: address }) : el("span", { text: address }));

// ------------------------------------------------------------------ state in the address

class State {
  constructor(search) { this.values = new URLSearchParams(search); }
  get(name) { return this.values.get(name); }
  all(name) { return this.values.getAll(name); }
  get view() { return Object.hasOwn(views, this.get("view") || "") ? this.get("view") : "find"; }
}
let state = new State(location.search);
let lastMerged = null;

// The address with some values changed: null or [] takes a value out, a list repeats it.
function href(changes) {
  const values = new URLSearchParams(state.values);
  for (const [name, value] of Object.entries(changes)) {
    values.delete(name);
    if (value !== null && value !== undefined && value !== "") for (const each of [value].flat()) values.append(name, each);
  }
  const text = values.toString();
  return text ? `?${text}` : "?";
}
// Goes to the address with some values changed. Changes of one `merge` that follow each other are one step back.
function go(changes, { merge = null, replace = false } = {}) {
  const address = href(changes);
  const keep = replace || (merge !== null && merge === lastMerged);
  lastMerged = merge;
  history[keep ? "replaceState" : "pushState"](null, "", address);
  show();
}
const route = (changes, attributes, ...children) => el("a", { "data-route": true, href: href(changes), ...attributes }, ...children);
const toggled = (values, value) => (values.includes(value) ? values.filter((each) => each !== value) : [...values, value]);

document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest("a[data-route]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  lastMerged = null;
  history.pushState(null, "", link.getAttribute("href"));
  show();
});
window.addEventListener("popstate", () => { lastMerged = null; show(); });

// ------------------------------------------------------------------ showing a view

let shown = null; // the view, and what it is about, that the page shows
const afterShow = []; // functions of the state, run after every view

// Elements with a `data-key` keep the focus when a view draws them anew.
function focused() {
  const active = document.activeElement;
  const key = active && active.closest("[data-key]") === active ? active.getAttribute("data-key") : null;
  return { active, key, from: key && active.selectionStart, to: key && active.selectionEnd };
}
function refocus(before) {
  if (!before.key || before.active.isConnected) return;
  const node = document.querySelector(`[data-key="${CSS.escape(before.key)}"]`);
  if (!node) { byId("main").focus({ preventScroll: true }); return; }
  node.focus({ preventScroll: true });
  if (before.from !== null && before.from !== undefined && node.setSelectionRange) node.setSelectionRange(before.from, before.to);
}

function show() {
  const before = focused();
  state = new State(location.search);
  const name = state.view;
  const view = views[name];
  const subject = `${name} ${state.get("name") || ""} ${state.get("run") || ""}`;
  const root = byId("main");
  const moved = shown !== null && shown !== subject;
  if (shown !== subject) root.replaceChildren();
  root.dataset.view = name;
  if (view.whole && document.readyState === "loading") { root.replaceChildren(el("p", { class: "quiet", text: "loading …" })); return; }
  view.render(root, state);
  const heading = view.heading ? view.heading(state) : view.title;
  document.title = `${heading} - foundationx portal`;
  drawTabs(name);
  for (const act of afterShow) act(state);
  if (moved) { window.scrollTo(0, 0); focusHeading(root); }
  else refocus(before);
  shown = subject;
}
function focusHeading(root) {
  const heading = root.querySelector("h1");
  if (heading) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
}
function drawTabs(current) {
  const tabs = Object.entries(views).filter(([, view]) => view.order !== undefined).sort((a, b) => a[1].order - b[1].order);
  byId("tabs").replaceChildren(...tabs.map(([name, view]) =>
    route({ view: name === "find" ? null : name, name: null, run: null, page: null }, { "data-key": `tab ${name}`, "aria-current": name === current ? "page" : null }, view.title)));
}

// ------------------------------------------------------------------ messages, files, server

let toastTimer = 0;
function toast(text) {
  byId("toast").textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { byId("toast").textContent = ""; }, 6000);
}
function save(name, text, kind = "text/plain") {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  toast(`saved: ${name}`);
}
async function copy(text, what) {
  try { await navigator.clipboard.writeText(text); toast(`${what} copied`); }
  catch { toast("the browser does not allow copying here: select the text instead"); }
}
// The answer of the server, parsed. Its error becomes the message of the exception, in parts in `error`.
async function api(path, { method = "GET", body = null } = {}) {
  const headers = body === null ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(path, { method, headers, body: body === null ? null : JSON.stringify(body), credentials: "same-origin" });
  const values = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(values.detail || values.error?.found || `the server answered ${answer.status}`), { error: values.error || null, status: answer.status });
  return values;
}
// What a view shows that needs the server, in a page without one.
function needsServer(root, title) {
  root.replaceChildren(el("h1", { text: title }), el("section", { class: "panel" },
    el("p", { text: "This page is a file. What runs on your machine needs the portal's server, which you start with" }),
    el("pre", { tabindex: "0", text: "foundationx portal --data-root data" })));
}

// ------------------------------------------------------------------ light and dark

function stored(value) {
  try { if (value !== undefined) localStorage.setItem("foundationx-theme", value); return localStorage.getItem("foundationx-theme"); }
  catch { return null; }
}
function drawTheme() {
  const chosen = stored();
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "light" : "dark";
  byId("theme").setAttribute("aria-label", dark ? "switch to light colours" : "switch to dark colours");
}
byId("theme").addEventListener("click", () => { stored(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); drawTheme(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTheme);
drawTheme();
document.addEventListener("DOMContentLoaded", () => { if (views[state.view].whole) show(); });
// The last line of the page's script calls it, when every view is there.
function start() { show(); }
