// SPDX-License-Identifier: Apache-2.0
// The sheet of one cell, and evidence wherever it is asked for; both are built when they are opened.

const dialog = document.querySelector("dialog");
const shellQuote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);
const globEscape = (text) => text.replace(/[*?[]/g, "[$&]");

function command(text) {
  return el("div", { class: "command" }, el("code", null, text), el("button", { type: "button", class: "copy" }, "copy"));
}

function showDetail(state) {
  const n = state.cell ? cellNumber(state.cell) : undefined;
  if (n === undefined) { if (dialog.open) dialog.close(); return; }
  dialog.replaceChildren(sheet(n));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function sheet(n) {
  const outcome = statusOf(n), cause = causeOf(n), id = cellId(n), run = D.runDir ? shellQuote(D.runDir) : "RUN";
  const close = el("button", { type: "button", class: "close" }, "close");
  const title = el("div", null, el("h2", { id: "detail-title" }, D.profiles[PROFILE[n]]),
    el("p", { class: "muted" }, `${D.machines[MACHINE[n]]}, mode ${D.modes[MODE[n]]}, guest ${D.guests[GUEST[n]]}, ${(MILLIS[n] / 1000).toFixed(2)} s`));
  return el("div", { class: "sheet" }, el("header", null, title, close), route(n),
    el("p", null, mark(outcome), el("b", null, labelOf(outcome)), verdictText(n)),
    ...texts(n), ...(cause ? causeNodes(cause) : []), ...args(n), ...neighbours(n),
    el("h3", null, "Repeat"), command(`${D.repeat} ${shellQuote(`cell=${globEscape(id)}`)}`),
    el("p", { class: "label" }, "or look at what is stored"), command(`migmatrix show ${run} ${shellQuote(id)}`),
    el("h3", null, "Evidence"), ...evidence(n));
}

function verdictText(n) {
  const stage = STAGE[n] ? `, in hop ${HOP[n]}, stage ${D.stages[STAGE[n] - 1]}` : "";
  return ` (verdict ${D.verdicts[VERDICT[n]]}${stage})`;
}

function texts(n) {
  const parts = [optional(D.reasons, REASON[n]), ISSUE[n] ? `known issue ${optional(D.issues, ISSUE[n])}` : "", noteText(n)];
  return parts.filter(Boolean).map((text) => el("p", null, text));
}

function causeNodes([kind, device, field, message]) {
  const heading = el("h3", null, kind, el("span", { class: "device" }, device), el("span", { class: "field" }, field));
  return [heading, message ? el("p", { class: "message" }, message) : ""];
}

function args(n) {
  const given = D.args[D.profiles[PROFILE[n]]];
  return given && given.length ? [el("h3", null, "Profile"), el("pre", null, given.map(shellQuote).join(" "))] : [];
}

function route(n) {
  const node = el("div", { class: "route" }), failed = HOP[n];
  pathNames[PATH[n]].forEach((name, place) => {
    if (place) node.append(el("span", { class: place === failed ? "leg broke" : "leg" }, place === failed ? "—✕→" : "→"));
    const stop = place && place === failed ? "stop broke" : "stop";
    node.append(el("span", { class: stop }, name, D.versions[name] && D.versions[name] !== name ? el("small", null, D.versions[name]) : ""));
  });
  return node;
}

// For a chain its steps and the direct migration; for any cell the same on other machines.
function neighbours(n) {
  const names = pathNames[PATH[n]], same = (machine, path) => cellNumber([machine, D.profiles[PROFILE[n]], path, D.modes[MODE[n]], D.guests[GUEST[n]]].join("/"));
  const chip = (text, other) => el("a", { href: link({ cell: cellId(other) }) }, mark(statusOf(other)), text);
  const chips = (entries) => el("div", { class: "chips" }, ...entries.filter(([, m]) => m !== undefined && m !== n).map(([text, m]) => chip(text, m)));
  const here = D.machines[MACHINE[n]], pairs = names.slice(1).map((to, k) => `${names[k]}>${to}`);
  const alone = names.length > 2 ? [...new Set([...pairs, `${names[0]}>${names.at(-1)}`])] : [];
  const nodes = [[`The steps alone, and the direct way`, chips(alone.map((path) => [path.replace(">", " → "), same(here, path)]))],
    ["The same on other machines", chips(D.machines.map((machine) => [machine, same(machine, pathText[PATH[n]])]))]];
  return nodes.filter(([, node]) => node.childElementCount).flatMap(([title, node]) => [el("h3", null, title), node]);
}

// --- evidence

function evidence(n) {
  const hops = D.evidence[n];
  if (!hops) return [noEvidence(n)];
  const broken = hops.findIndex((hop) => hop.infrastructure || hop.stages.some((stage) => stage[2]));
  const order = broken < 0 ? hops.map((_, k) => k) : [broken, ...hops.map((_, k) => k).filter((k) => k !== broken)];
  return order.map((k) => hopNode(hops[k], k, k === broken));
}

function noEvidence(n) {
  const similar = SIGNATURE[n] ? Object.keys(D.evidence).map(Number).find((k) => SIGNATURE[k] === SIGNATURE[n]) : undefined;
  const node = el("p", { class: "muted" }, "This page carries the evidence of few cells of each problem; migmatrix show prints it for any cell.");
  if (similar !== undefined) node.append(" The same problem, with evidence: ", el("a", { href: link({ cell: cellId(similar) }) }, cellId(similar)));
  return node;
}

function hopNode(hop, place, broke) {
  const who = hop.emulators.map((e) => `${e.build} ${e.version}`).join(", ");
  const title = `${place + 1}. ${who || "no emulator was started"}`;
  const inside = [steps(hop), hop.infrastructure ? el("pre", null, hop.infrastructure) : "",
    ...hop.emulators.flatMap(emulatorNodes), streamNode(hop), el("p", { class: "muted" }, "hop ", el("code", null, hop.key))];
  if (broke) return el("div", { class: "hop broke" }, el("h4", null, title), ...inside);
  return el("details", { class: "hop" }, el("summary", null, title), ...inside);
}

function steps(hop) {
  const text = ([stage, seconds, problem, detail, role]) =>
    `${stage} ${seconds.toFixed(2)} s${problem ? `: ${[role, problem].filter(Boolean).join(" ")}${detail ? `, ${detail}` : ""}` : ""}`;
  return el("ul", { class: "steps" }, ...hop.stages.map((stage) =>
    el("li", { class: stage[2] ? "broke" : null }, stage[2] ? "✕ " : "✓ ", text(stage))));
}

function emulatorNodes(emulator) {
  const exit = emulator.exit === null ? "was told to quit" : emulator.exit < 0 ? `killed by signal ${-emulator.exit}` : `exit status ${emulator.exit}`;
  const nodes = [el("p", { class: "label" }, `${emulator.role}, ${exit}`), el("pre", null, emulator.argv.map(shellQuote).join(" "))];
  if (emulator.stderr) nodes.push(el("p", { class: "label" }, "standard error"), el("pre", null, emulator.stderr));
  if (emulator.qmp.length) nodes.push(el("p", { class: "label" }, `last QMP messages${emulator.qmpLeftOut ? ` (${emulator.qmpLeftOut} earlier left out)` : ""}`), el("pre", null, qmpText(emulator.qmp)));
  return nodes;
}

const qmpText = (messages) =>
  messages.map(([at, direction, text]) => `${at.toFixed(3).padStart(8)} ${direction === ">" ? "→" : "←"} ${text}`).join("\n");

function streamNode(hop) {
  if (!hop.stream) return "";
  return el("p", { class: "muted" }, `stream ${number.format(hop.stream[1])} bytes, SHA-256 `, el("code", null, hop.stream[0].slice(0, 16)));
}

// --- wiring

for (const node of document.querySelectorAll("details.evidence")) {
  node.addEventListener("toggle", () => {
    const n = cellNumber(node.dataset.cell);
    if (node.open && n !== undefined && !node.querySelector(".hop, .muted")) {
      node.append(...evidence(n), el("a", { href: link({ cell: node.dataset.cell }) }, "open this cell"));
    }
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest(".close")) dialog.close(); });
dialog.addEventListener("close", () => { if (readState().cell) go({ cell: "" }); });
document.addEventListener("click", (event) => { if (event.target.closest(".copy")) copyText(event.target.closest(".copy")); });
more.addEventListener("click", showMore);
if ("IntersectionObserver" in window) new IntersectionObserver((seen) => { if (seen[0].isIntersecting && !more.hidden) showMore(); }).observe(more);

function openTarget() {
  const target = location.hash.includes("=") ? null : document.getElementById(location.hash.slice(1));
  const details = target && target.querySelector("details.evidence");
  if (details) details.open = true;
}

// A link to a list scrolls to it; a link to a cell opens over the page as it is.
function onHash() {
  update();
  openTarget();
  const state = readState();
  if (!state.cell && KEYS.some((key) => state[key])) document.getElementById(state.path || state.signature || state.problem || state.note || state.chain ? "cells" : "explore").scrollIntoView();
}

addEventListener("hashchange", onHash);
addEventListener("popstate", () => { if (!location.hash) update(); });
fillFilters();
onHash();
performance.mark("ready");
