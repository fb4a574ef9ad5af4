// SPDX-License-Identifier: Apache-2.0
// The nights of a cell: a strip in the list, and on its sheet every change with what changed beside it.

const STRIP = 30;
const FIRST = []; // place of the first cell of each machine, whose cells stand together
everyCell[0].forEach((machine, place) => { FIRST[machine] ??= place; });
const statusAt = (code) => (code ? NAMES.states[code - 1][STATUS_OF] : "");

async function nightsOf(n) {
  const strips = await load(`strips-${MACHINE[n]}`).catch(notLoaded);
  return unpack(strips[PLACES[n] - FIRST[MACHINE[n]]]);
}

// Runs of equal statuses: [status, how many nights].
function runs(codes) {
  const found = [];
  for (const status of codes.map(statusAt)) {
    if (found.length && found.at(-1)[0] === status) found.at(-1)[1] += 1;
    else found.push([status, 1]);
  }
  return found;
}

const runText = ([status, nights]) => `${plural(nights, "night")} ${status ? labelOf(status) : "not in the matrix"}`;

function strip(codes) {
  const text = runs(codes).slice(-6).map(runText).join(", then ");
  return el("span", { class: "strip", role: "img", "aria-label": text, title: text }, ...codes.map((code) => el("i", { class: slotClass(statusAt(code)) })));
}

CELLS.nights = (n) => {
  const cell = el("td", { class: "nights-of" });
  nightsOf(n).then((codes) => cell.append(strip(codes.slice(-STRIP))));
  return cell;
};

// --- the sheet

function beyond(n) {
  const node = el("div", { class: "story" });
  nightsOf(n).then((codes) => node.append(strip(codes), ...story(n, codes)));
  return [el("h3", null, "Nights"), node];
}

// What a cell did, newest first; beside each change what changed from the night before it.
function story(n, codes) {
  const changes = codes.map((code, at) => at).filter((at) => at === 0 || told(codes[at]) !== told(codes[at - 1]));
  const rows = changes.reverse().map((at) => el("tr", null, el("td", { class: "short" }, nightLink(n, at)), el("td", null, ...statusNodes(codes[at])),
    el("td", null, signatureNode(codes[at])), el("td", null, ...causesOf(n, at))));
  const head = el("tr", null, ...["since", "status", "signature", "what changed since the night before"].map((name) => el("th", { scope: "col" }, name)));
  return [el("div", { class: "wide-table" }, el("table", null, el("thead", null, head), el("tbody", null, ...rows)))];
}

// What makes two nights of a cell differ; whether a verdict was reused does not.
const told = (code) => (code ? NAMES.states[code - 1].filter((_, field) => field !== REUSED_OF).join() : "");

function nightLink(n, at) {
  const night = NAMES.nights[at];
  return el("a", { href: `?night=${night.number}#cell=${encodeURIComponent(cellId(n))}` }, whenText(night));
}

const statusNodes = (code) => (code ? [mark(statusAt(code)), labelOf(statusAt(code)), verdictOf(code)] : ["not in the matrix"]);

function verdictOf(code) {
  const verdict = NAMES.verdicts[NAMES.states[code - 1][VERDICT_OF]];
  return verdict === statusAt(code) ? "" : ` (${verdict})`;
}

function signatureNode(code) {
  const signature = code ? optional(NAMES.signatures, NAMES.states[code - 1][SIGNATURE_OF]) : "";
  const page = NAMES.problemPages.find(([name]) => name === signature);
  return page ? el("a", { href: page[1] }, signature) : signature;
}

function causesOf(n, at) {
  if (at === 0) return ["the first night of this site"];
  const found = changesBetween(NAMES, NAMES.nights[at - 1], NAMES.nights[at], pathNames[PATH[n]], D.profiles[PROFILE[n]]);
  return found.length ? found.flatMap((text) => [el("code", null, text), el("br")]).slice(0, -1) : ["nothing that is recorded"];
}
