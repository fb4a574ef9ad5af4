// SPDX-License-Identifier: Apache-2.0
// The sheet of one cell, built when it is opened. What follows what is known of every cell is the page's: `beyond(n)`.

const dialog = document.querySelector("dialog");

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
    el("p", { class: "muted" }, `${D.machines[MACHINE[n]]}, mode ${D.modes[MODE[n]]}, guest ${D.guests[GUEST[n]]}${MILLIS[n] ? `, ${timeText(n)}` : ""}`));
  return el("div", { class: "sheet" }, el("header", null, title, close), route(n),
    el("p", null, mark(outcome), el("b", null, labelOf(outcome)), verdictText(n)),
    ...texts(n), ...(cause ? causeNodes(cause) : []), ...args(n), ...neighbours(n),
    el("h3", null, "Repeat"), command(`${D.repeat} ${shellQuote(`cell=${globEscape(id)}`)}`),
    el("p", { class: "label" }, "or look at what is stored"), command(`migmatrix show ${run} ${shellQuote(id)}`),
    ...beyond(n));
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
