"use strict";
// Commands that the server runs: how far they are, what they print, what they found. Asked for while they go on.

const JOB_PAUSE = 1000; // milliseconds between two questions about a job
const jobTitles = { check: "check", audit: "audit", doctor: "doctor", phantoms: "phantom copies", report: "report", train: "training" };

// A place that shows one job and follows it to its end; `onEnd` is told once.
function jobBox(job, onEnd = () => {}) {
  const state = el("p", { role: "status" });
  const bar = el("progress", { max: "1", "aria-label": `progress of ${jobTitles[job.kind]}` });
  const stop = el("button", { type: "button", class: "plain", text: "stop", "aria-label": `stop ${jobTitles[job.kind]}`, on: { click: () => api(`/api/jobs/${job.id}/stop`, { method: "POST", body: {} }).catch((error) => toast(error.message)) } });
  const output = el("pre", { tabindex: "0", "aria-label": `output of ${jobTitles[job.kind]}` });
  const printed = el("details", {}, el("summary", { text: "what the command prints" }), output);
  const result = el("div", {});
  const box = el("div", { class: "job", "data-job": job.kind }, state, bar, stop, command(job.command), printed, result);
  const draw = (now) => {
    const { progress, running, code } = now;
    const words = running ? "goes on" : code === 0 ? "done" : code === null ? "has ended" : code === 130 || code === -15 ? "was stopped" : code === 1 ? "done: it found something" : "failed";
    const text = `${jobTitles[now.kind]}: ${words}${running && progress ? `, ${progress.what} ${count(progress.done)} of ${count(progress.total)}` : ""}`;
    if (state.textContent !== text) state.textContent = text;
    bar.hidden = stop.hidden = !running;
    if (progress) bar.value = progress.done / progress.total; else bar.removeAttribute("value");
    if (output.textContent !== now.output) output.textContent = now.output;
    if (!running) {
      result.replaceChildren(...jobResult(now));
      if (code !== 0 && code !== 1) printed.open = true;
    }
  };
  const follow = (now) => {
    draw(now);
    if (!now.running) { onEnd(now); return; }
    setTimeout(() => { if (box.isConnected) api(`/api/jobs/${job.id}`).then(follow).catch((error) => toast(error.message)); }, JOB_PAUSE);
  };
  if (job.output === undefined) api(`/api/jobs/${job.id}`).then(follow).catch((error) => { state.textContent = error.message; });
  else setTimeout(() => follow(job), 0);
  return box;
}

// What a job has found, in words and pictures.
function jobResult(job) {
  const found = job.result || {};
  if (job.kind === "check" && found.dataset) {
    return [el("p", { text: `${plural(found.images, "image")}, ${count(found.patients)} patients; ${severities(found.counts)}` }), issueTable("issues of the check", found.issues, found.issue_count), labelTable(found.labels)];
  }
  if (job.kind === "audit" && found.pairs) {
    return [
      el("p", { text: `${plural(found.images, "image")} compared; ${count(found.excluded)} training images show something that is held out${found.applied ? ": the runs on this data root leave them out" : ""}` }),
      pairTable(found.rows), found.pictures ? pairPicture(job) : null, issueTable("issues of the audit", found.issues, found.issues.length)].filter(Boolean);
  }
  if (job.kind === "doctor" && found.findings) return [findingTable(found.findings)];
  return [];
}
const severities = (counts) => {
  const numbers = Object.entries(counts || {}).map(([name, n]) => (typeof n === "number" ? `${name} ${count(n)}` : `${name}: ${Object.entries(n).map(([kind, times]) => `${kind} ${count(times)}`).join(", ")}`));
  return numbers.join("; ") || "nothing is wrong";
};
const scrolled = (label, table) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}, table` }, table);
function plainTable(label, columns, rows) {
  const cells = (row) => el("tr", {}, row.map((value) => (value instanceof Node ? el("td", {}, value) : el("td", { class: typeof value === "number" ? "number" : null, text: typeof value === "number" ? count(value) : String(value ?? "") }))));
  return scrolled(label, el("table", { class: "rows" }, el("caption", { class: "hidden", text: label }), el("thead", {}, el("tr", {}, columns.map((text) => el("th", { scope: "col", text })))), el("tbody", {}, rows.map(cells))));
}
function issueTable(label, issues, all) {
  if (!issues || !issues.length) return el("p", { class: "quiet", text: "No issues." });
  const rows = issues.map((each) => [each.severity, each.image || each.where, each.found, each.fix]);
  const more = all > issues.length ? el("p", { class: "quiet", text: `${count(all - issues.length)} more in the written report.` }) : null;
  return el("div", {}, plainTable(label, ["severity", "where", "found", "fix"], rows), more);
}
function labelTable(labels) {
  const rows = Object.entries(labels || {}).flatMap(([task, classes]) => Object.entries(classes).map(([name, n]) => [task, name, n.present, n.absent, n.unknown]));
  return rows.length ? plainTable("images of each class", ["task", "class", "present", "absent", "unknown"], rows) : el("span");
}
function pairTable(rows) {
  if (!rows || !rows.length) return el("p", { class: "quiet", text: "No pairs." });
  const side = (row, letter) => `${row[`dataset_${letter}`]} ${row[`image_${letter}`]} (${row[`split_${letter}`]})`;
  return plainTable("pairs", ["match", "score", "one", "other"], rows.map((row) => [row.match, row.score, side(row, "a"), side(row, "b")]));
}
function pairPicture(job) {
  return el("figure", { class: "pairs" }, el("img", { src: `/api/jobs/${job.id}/pairs.png`, alt: "pairs of images that look alike, side by side; the table above names them" }), el("figcaption", { class: "quiet small", text: "the most doubtful pairs, those of training and held-out images first" }));
}
function findingTable(findings) {
  const rows = findings.map((each) => [el("span", { class: each.level === "ok" ? "yes" : "error", text: each.level }), each.topic, each.found]);
  return plainTable("findings of the doctor", ["level", "topic", "found"], rows);
}
