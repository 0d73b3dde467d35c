"use strict";
// Runs on this disk: the list, compared; and one run while it trains and afterwards. Asked for every few seconds.

const RUN_PAUSE = 2500; // milliseconds between two questions while something trains
const IDLE_PAUSE = 10000; // and while nothing does
const MOST_COMPARED = 8;
const STATES = { starting: "starting", running: "training", finished: "finished", stopped: "stopped", failed: "failed" };
const runLink = (name, text = name) => route({ view: "run", run: name, name: null }, { "data-key": `run ${name}` }, text);
const percent = (step, all) => (all ? `${Math.floor((100 * step) / all)} %` : "");
const fixed3 = (value) => (value === null || value === undefined ? "not defined" : value.toFixed(3));
const timeLeft = (seconds) => {
  if (seconds === null || seconds === undefined) return "not known yet";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
};

// Asks again and again while its place is shown; `draw` gets the answer and returns whether something goes on.
function follow(place, path, draw) {
  const ask = () => api(path).then((found) => {
    if (!place.isConnected) return;
    const before = focused();
    const goesOn = draw(found);
    refocus(before);
    setTimeout(() => { if (place.isConnected) ask(); }, goesOn ? RUN_PAUSE : IDLE_PAUSE);
  }).catch((error) => {
    if (!place.isConnected) return;
    byId("run-status").replaceChildren(el("span", { class: "error", text: error.message === "Failed to fetch" ? "the portal does not answer; training goes on without it" : error.message }));
    setTimeout(() => { if (place.isConnected) ask(); }, IDLE_PAUSE);
  });
  ask();
}
// Puts children into a place only if they differ, so that nothing moves under a reader.
function renew(place, key, children) {
  if (place.drawnFrom === key) return;
  place.drawnFrom = key;
  place.replaceChildren(...children);
}
const sayStatus = (text) => { if (byId("run-status").textContent !== text) byId("run-status").textContent = text; };

// ------------------------------------------------------------------ all runs

views.runs = {
  title: "Runs",
  order: 7,
  render(root, state) {
    if (!FACTS.server) { needsServer(root, "Runs"); return; }
    if (root.querySelector("#runs-list")) { if (root.runs) drawRuns(root.runs); return; }
    root.replaceChildren(el("h1", { text: "Runs" }), el("p", { class: "quiet", role: "status", id: "run-status", text: "looking for runs …" }), el("div", { id: "runs-list" }), el("div", { id: "runs-compared" }));
    follow(byId("runs-list"), "/api/runs", (runs) => {
      root.runs = runs;
      drawRuns(runs);
      return runs.some((run) => run.state === "running" || run.state === "starting");
    });
  },
};

function drawRuns(runs) {
  const training = runs.filter((run) => run.state === "running" || run.state === "starting").length;
  sayStatus(runs.length ? `${plural(runs.length, "run")} in the work directories, ${training ? `${count(training)} training now` : "none training now"}.` : "No run yet: fuse datasets and launch one, or start `foundationx train` with a folder in the work directories.");
  renew(byId("runs-list"), JSON.stringify(runs) + state.all("with").join(), runs.length ? [el("section", { class: "panel", "aria-label": "all runs" }, runsTable(runs))] : []);
  const picked = state.all("with");
  const compared = runs.filter((run) => run.headlines.length && (!picked.length || picked.includes(run.name))).slice(0, MOST_COMPARED);
  renew(byId("runs-compared"), JSON.stringify(compared), compared.length ? [el("section", { class: "panel", "aria-labelledby": "compared" }, el("h2", { id: "compared", text: "Compared" }), comparedTable(compared))] : []);
}
function runsTable(runs) {
  const row = (run) => [
    el("span", {}, el("label", { class: "check" }, el("input", { type: "checkbox", "data-key": `with ${run.name}`, checked: state.all("with").includes(run.name), on: { change: () => go({ with: toggled(state.all("with"), run.name) }, { replace: true }) } }), el("span", { class: "hidden", text: `compare ${run.name}` }))),
    runLink(run.name), STATES[run.state], `${count(run.step)} of ${run.total_steps ? count(run.total_steps) : UNKNOWN} ${percent(run.step, run.total_steps)}`, (run.started || "").replace("T", " "),
    run.report ? el("a", { href: reportAddress(run.name), target: "_blank", rel: "noopener", text: "report", "aria-label": `report of ${run.name}` }) : "",
  ];
  return plainTable("runs", ["compare", "run", "state", "steps", "started", "report"], runs.map(row));
}
const reportAddress = (name) => `/api/run/report?run=${encodeURIComponent(name)}`;
// A row a head, a column a run; a value that is no better than looking at no image says so.
function comparedTable(runs) {
  const key = (line) => `${line.head} ${line.metric} ${line.split}`;
  const lines = new Map();
  for (const run of runs) for (const line of run.headlines) if (!lines.has(key(line))) lines.set(key(line), line);
  const of = (run, line) => run.headlines.find((each) => key(each) === key(line));
  const rows = [...lines.values()].map((line) => {
    const trivial = runs.map((run) => of(run, line)).find((each) => each && each.trivial !== null);
    return [line.head, `${line.metric}, ${line.split}`, trivial ? fixed3(trivial.trivial) : UNKNOWN, ...runs.map((run) => metricCell(of(run, line)))];
  });
  return plainTable("headline metrics by head and run", ["head", "metric", "trivial", ...runs.map((run) => run.name)], rows);
}
function metricCell(line) {
  if (!line) return "";
  return el("span", { class: line.is_low ? "error" : null, text: `${fixed3(line.value)}${line.is_low ? " (no better than trivial)" : ""}`, title: line.model });
}

// ------------------------------------------------------------------ one run

views.run = {
  title: "Run",
  heading: (state) => state.get("run") || "Run",
  render(root, state) {
    if (!FACTS.server) { needsServer(root, "Run"); return; }
    const name = state.get("run") || "";
    if (root.querySelector("#run-page") && root.querySelector("#run-page").dataset.run === name) return;
    const place = (id) => el("div", { id });
    root.replaceChildren(
      route({ view: "runs", run: null }, { class: "back", "data-key": "back to runs" }, "← all runs"),
      el("h1", { text: name }),
      el("div", { id: "run-page", "data-run": name }, el("p", { role: "status", id: "run-status", text: "looking …" }), place("run-progress"), place("run-buttons"), place("run-faults"),
        place("run-now"), place("run-metrics"), place("run-curves"), place("run-incidents"), place("run-pictures"), place("run-output"), place("run-facts")));
    let bands = null, planned = null; // lock phases of the plan, and the length of the plan that they belong to
    follow(byId("run-page"), `/api/run?run=${encodeURIComponent(name)}`, (run) => {
      if (run.total_steps && run.total_steps !== planned) {
        planned = run.total_steps;
        api(`/api/run/bands?run=${encodeURIComponent(name)}`).then((found) => {
          bands = found;
          if (byId("run-curves")) renew(byId("run-curves"), `planned ${planned}`, curvePart(run, bands));
        }).catch((error) => toast(error.message));
      }
      drawRun(run, bands);
      return run.state === "running" || run.state === "starting";
    });
  },
};

const runPanel = (title, ...content) => el("section", { class: "panel", "aria-label": title }, el("h2", { text: title }), ...content.filter(Boolean));
function drawRun(run, bands) {
  const code = run.state === "failed" && run.code !== null ? ` with exit code ${run.code}: the end of its output says why` : "";
  sayStatus(`${STATES[run.state]}${code}${run.state === "starting" ? ": the program is loading and reads the annotations" : ""}`);
  const bar = el("progress", { max: String(run.total_steps || 1), "aria-label": "steps done" });
  if (run.total_steps) bar.value = run.step;
  renew(byId("run-progress"), `${run.step}/${run.total_steps}`, [bar, el("p", { class: "quiet", text: `${count(run.step)} of ${run.total_steps ? plural(run.total_steps, "step") : "an unknown number of steps"} ${percent(run.step, run.total_steps)}` })]);
  renew(byId("run-buttons"), `${run.state} ${run.report} ${run.command}`, runButtons(run));
  renew(byId("run-faults"), JSON.stringify(run.faults), Object.entries(run.faults).map(([file, text]) => el("p", { class: "error", text: `${file}: ${text}` })));
  renew(byId("run-now"), JSON.stringify([run.now, run.state]), nowPart(run));
  renew(byId("run-metrics"), JSON.stringify(run.headlines), run.headlines.length ? [runPanel("Headline metrics", headlineTable(run.headlines))] : []);
  renew(byId("run-curves"), `${JSON.stringify(run.curves)}${bands !== null}`, curvePart(run, bands));
  renew(byId("run-incidents"), JSON.stringify(run.incidents), run.incidents.length ? [runPanel(`Incidents: ${count(run.incident_count)}`, plainTable("incidents", ["step", "kind", "head", "what"], run.incidents.map((each) => [each.step, each.kind, each.dataset ? `${each.dataset}/${each.task}` : "", each.message])))] : []);
  renew(byId("run-pictures"), `${run.name} ${run.headlines.length > 0}`, run.headlines.length ? [picturesPanel(run)] : []);
  renew(byId("run-output"), run.output + run.command, run.command ? [runPanel("Command", command(run.command), el("pre", { tabindex: "0", class: "tail", "aria-label": "end of the command's output", text: run.output || "nothing printed yet" }))] : []);
  renew(byId("run-facts"), JSON.stringify(run.facts), factsPart(run));
  for (const tail of document.querySelectorAll("pre.tail")) if (document.activeElement !== tail) tail.scrollTop = tail.scrollHeight;
}
function runButtons(run) {
  const act = (path, done) => () => api(path, { method: "POST", body: { name: run.name } }).then((answer) => done(answer)).catch((error) => toast(error.message));
  const button = (key, text, path, done, disabled = false) => el("button", { type: "button", class: "plain", "data-key": `run ${key}`, text, disabled, on: { click: act(path, done) } });
  const goesOn = run.state === "running" || run.state === "starting";
  const reportPlace = el("span", {});
  return [el("p", { class: "chips" },
    goesOn ? button("stop", "stop", "/api/runs/stop", () => toast("asked to save and stop")) : null,
    !goesOn && run.command && run.state !== "finished" ? button("resume", "go on", "/api/runs/launch", () => toast("goes on")) : null,
    run.report ? el("a", { class: "button", href: reportAddress(run.name), target: "_blank", rel: "noopener", "data-key": "run report", text: "open the report" }) : null,
    !goesOn ? button("write report", "write the report anew", "/api/runs/report", (job) => reportPlace.replaceChildren(jobBox(job))) : null), reportPlace];
}
function nowPart(run) {
  const now = run.now;
  if (!now.head) return [];
  const lines = [["trains", `${now.head}, ${now.phase || "phase unknown"}`], ["visit", `${count(now.visit)} of ${now.visits ? count(now.visits) : UNKNOWN}`], ["images per second", count(now.images_per_second)],
    ["waits for data", now.data_wait === null || now.data_wait === undefined ? UNKNOWN : `${Math.round(100 * now.data_wait)} % of the time`],
    ["time left", `${run.state === "running" ? timeLeft(now.seconds_left) : "nothing trains"}${run.state === "running" ? "; evaluation comes on top" : ""}`]];
  return [runPanel(run.state === "running" ? "Now" : "At the end", el("dl", {}, lines.map(([name, text]) => [el("dt", { text: name }), el("dd", { text })])))];
}
function headlineTable(lines) {
  return plainTable("headline metrics", ["head", "metric", "split", "model", "value", "trivial"], lines.map((line) => [line.head, line.metric, line.split, line.model, metricCell(line), line.trivial === null ? UNKNOWN : fixed3(line.trivial)]));
}
function factsPart(run) {
  const parameters = run.facts.parameters ? Object.values(run.facts.parameters).reduce((sum, n) => sum + n, 0) : null;
  const lines = [["started", run.started], ["finished", run.finished], ["foundationx", run.facts.version], ["device", run.facts.device], ["parameters", parameters === null ? null : count(parameters)]].filter(([, value]) => value);
  return lines.length ? [runPanel("Facts", el("dl", {}, lines.map(([name, text]) => [el("dt", { text: name }), el("dd", { text: String(text) })])))] : [];
}

// ------------------------------------------------------------------ curves

const CHART = { width: 360, height: 150, left: 46, bottom: 22, top: 8, right: 8 };
function curvePart(run, bands) {
  const heads = Object.entries(run.curves);
  if (!heads.length) return [];
  const locked = bands !== null && heads.some(([head]) => (bands[head] || []).length);
  return [runPanel("Task loss of each head", bands === null ? null : locked ? el("p", { class: "quiet small" }, el("span", { class: "band-key", "aria-hidden": "true" }), "shaded: lock phases, in which only the head is trained; elsewhere everything is (release)") : el("p", { class: "quiet small", text: "The plan has no lock phases: everything is trained at every step (release)." }),
    el("div", { class: "charts" }, heads.map(([head, points]) => el("figure", { class: "chart" }, el("figcaption", { text: head }), lossChart(head, points, (bands || {})[head] || [], run.total_steps || points.at(-1)[0])))))];
}
// The loss of one head over the steps of the run, as a line with the lock phases shaded behind it.
function lossChart(head, points, bands, last) {
  const { width, height, left, bottom, top, right } = CHART;
  const most = Math.max(...points.map(([, loss]) => loss), 1e-9), x = (step) => left + ((width - left - right) * step) / Math.max(1, last), y = (loss) => top + (height - top - bottom) * (1 - Math.max(0, loss) / most);
  const text = (at, words, anchor = "end") => svg("text", { x: at[0], y: at[1], "text-anchor": anchor }, words);
  const first = points[0], end = points.at(-1);
  const spans = bands.filter(([from]) => from <= last).slice(0, 2000);
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `task loss of ${head}: ${first[1].toPrecision(3)} at step ${first[0]}, ${end[1].toPrecision(3)} at step ${end[0]}, now in ${end[2] || "an unknown phase"}` },
    spans.map(([from, to]) => svg("rect", { class: "band", x: x(from), y: top, width: Math.max(0.5, x(to) - x(from)), height: height - top - bottom })),
    svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }),
    text([left - 5, top + 8], most.toPrecision(3)), text([left - 5, height - bottom], "0"), text([left, height - 6], "step 0", "start"), text([width - right, height - 6], count(last)),
    points.length > 1 ? svg("polyline", { class: "loss", points: points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ") }) : null,
    svg("circle", { class: end[2] === "lock" ? "end lock" : "end", cx: x(end[0]), cy: y(end[1]), r: 3 }));
}

// ------------------------------------------------------------------ pictures

function picturesPanel(run) {
  const place = el("div", {});
  const open = () => api(`/api/run/overlays?run=${encodeURIComponent(run.name)}`).then((heads) => place.replaceChildren(...heads.map((each) => headPictures(run.name, each)))).catch((error) => toast(error.message));
  return runPanel("Pictures", el("p", { class: "quiet", text: "Evaluated images with what is true (solid) and what was predicted (dashed)." }),
    el("p", {}, el("button", { type: "button", class: "plain", "data-key": "run pictures", text: "show pictures", on: { click: open } })), place);
}
function headPictures(run, { head, model, images }) {
  const words = (image) => image.findings.map((each) => `${each.name}: ${each.true === null ? "unknown" : each.true ? "present" : "absent"}, ${each.words}`).join("; ");
  const picture = (image, at) => el("figure", {}, el("img", { loading: "lazy", alt: `${image.name}. ${words(image)}`, src: `/api/run/overlay.png?run=${encodeURIComponent(run)}&head=${encodeURIComponent(head)}&index=${at}` }), el("figcaption", { class: "small" }, image.name, el("br"), el("span", { class: "quiet", text: words(image) })));
  return el("div", {}, el("h3", { text: `${head}, ${model}` }), el("div", { class: "films" }, images.map(picture)));
}
