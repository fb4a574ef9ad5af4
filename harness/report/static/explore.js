// SPDX-License-Identifier: Apache-2.0
// Filters and the list of cells. The state of the page is its URL fragment (#machine=...&path=A>B&cell=...): every view
// can be linked to, and the back button works. `D` is what the page before this script made of its data, in the form of
// html_data.py; the heads of the list name its columns, to whose `CELLS` a page may add.

const column = (n) => D.cells[n] || [];
const [MACHINE, PROFILE, PATH, MODE, GUEST, VERDICT, OUTCOME, HOP, STAGE, CAUSE, SIGNATURE, REASON, ISSUE, FLAGS, MILLIS, NOTE] =
  Array.from({ length: 16 }, (_, n) => column(n));
const TOTAL = MACHINE.length;
const PAGE = 200;
const UNEXPECTED = new Set(["regression", "wrong-failure"]);
const KEYS = ["machine", "profile", "build", "kind", "mode", "guest", "verdict", "outcome", "path", "signature", "problem", "fails", "note", "chain", "text", "sort"];
const SEVERITY = Object.keys(D.glyphs);
const ITSELF = 1 << D.flags.indexOf("itself");
const labelOf = (status) => D.labels[status] || status;

const pathNames = D.paths.map((path) => path.map((b) => D.builds[b]));
const pathText = pathNames.map((names) => names.join(">"));
// What a cell is shown as: its outcome, but a cell that was blocked as expected did not pass, and what a build shows
// with itself too is no break between builds.
const statusOf = (n) => {
  const outcome = D.outcomes[OUTCOME[n]];
  if (UNEXPECTED.has(outcome) && FLAGS[n] & ITSELF) return "own";
  return outcome === "ok" && D.verdicts[VERDICT[n]] === "blocked" ? "blocked" : outcome;
};
const cellId = (n) =>
  [D.machines[MACHINE[n]], D.profiles[PROFILE[n]], pathText[PATH[n]], D.modes[MODE[n]], D.guests[GUEST[n]]].join("/");
const causeOf = (n) => (CAUSE[n] ? D.causes[CAUSE[n] - 1] : null);
const optional = (table, index) => (index ? table[index - 1] : "");
const byId = { index: null };

function mark(outcome) {
  return el("span", { class: `mark o-${outcome}`, "aria-hidden": "true" }, D.glyphs[outcome]);
}

function cellNumber(id) {
  if (!byId.index) {
    byId.index = new Map();
    for (let n = 0; n < TOTAL; n++) byId.index.set(cellId(n), n);
  }
  return byId.index.get(id);
}

// --- state

function readState() {
  const state = {};
  const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1).replaceAll("+", "%2B") : "");
  for (const key of [...KEYS, "cell"]) state[key] = given.get(key) || "";
  return state;
}

function fragment(state) {
  const parts = [...KEYS, "cell"].filter((key) => state[key]).map((key) => `${key}=${encodeURIComponent(state[key])}`);
  return `#${parts.join("&")}`;
}

const link = (change) => fragment({ ...readState(), cell: "", ...change });

function go(change) {
  const target = link(change);
  if (target === "#") history.pushState(null, "", location.pathname + location.search);
  else history.pushState(null, "", target);
  update();
}

// --- filters

function chosenIndexes(state) {
  const at = (table, value) => (value ? table.indexOf(value) : -1);
  const machine = at(D.machines, state.machine), profile = at(D.profiles, state.profile);
  const mode = at(D.modes, state.mode), guest = at(D.guests, state.guest);
  const verdict = at(D.verdicts, state.verdict), outcome = at(D.outcomes, state.outcome);
  const signature = state.signature ? D.signatures.indexOf(state.signature) + 1 || -2 : -1;
  const kind = state.chain ? 1 << D.flags.indexOf(state.chain) : 0;
  const problem = state.problem ? D.problems.find(([first]) => D.signatures[first - 1] === state.problem) || [] : null;
  const paths = allowedPaths(state), words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const unknown = (value, index) => value && index < 0;
  if (unknown(state.machine, machine) || unknown(state.profile, profile) || unknown(state.mode, mode) || unknown(state.guest, guest) || unknown(state.outcome, outcome)) return [];
  const found = [];
  for (let n = 0; n < TOTAL; n++) {
    if (machine >= 0 && MACHINE[n] !== machine) continue;
    if (profile >= 0 && PROFILE[n] !== profile) continue;
    if (mode >= 0 && MODE[n] !== mode) continue;
    if (guest >= 0 && GUEST[n] !== guest) continue;
    if (verdict >= 0 && VERDICT[n] !== verdict) continue;
    if (outcome >= 0 && OUTCOME[n] !== outcome) continue;
    if (signature !== -1 && SIGNATURE[n] !== signature) continue;
    if (kind && !(FLAGS[n] & kind)) continue;
    if (problem && !(problem.includes(SIGNATURE[n]) && UNEXPECTED.has(D.outcomes[OUTCOME[n]]))) continue;
    if (state.fails && !((D.verdicts[VERDICT[n]] === "fail" || UNEXPECTED.has(D.outcomes[OUTCOME[n]])) && Boolean(FLAGS[n] & ITSELF) === (state.fails === "itself"))) continue;
    if (state.note && !(NOTE[n] && D.notes[NOTE[n] - 1].includes(state.note))) continue;
    if (!paths[PATH[n]]) continue;
    if (words.length && !hasWords(n, words)) continue;
    found.push(n);
  }
  return found;
}

function allowedPaths(state) {
  const build = D.builds.indexOf(state.build);
  return D.paths.map((path, n) =>
    (!state.path || pathText[n] === state.path) && (!state.build || path.includes(build)) &&
    (!state.kind || (state.kind === "pairs") === (path.length === 2)));
}

function hasWords(n, words) {
  const cause = causeOf(n);
  const parts = [cellId(n), cause ? cause.join(" ") : "", optional(D.signatures, SIGNATURE[n]),
    optional(D.reasons, REASON[n]), optional(D.issues, ISSUE[n]), noteText(n)];
  const text = parts.join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

const OPTIONS = { between: "between builds", itself: "with itself too" };
const form = document.querySelector(".filters");

function fillFilters() {
  const used = (values, table) => [...new Set(values)].sort((a, b) => a - b).map((n) => table[n]);
  const choices = {
    machine: D.machines, profile: D.profiles, build: D.builds, kind: ["pairs", "chains"], mode: D.modes, guest: D.guests,
    fails: FLAGS.some((flags) => flags & ITSELF) ? ["between", "itself"] : [],
    verdict: used(VERDICT, D.verdicts), outcome: used(OUTCOME, D.outcomes),
  };
  for (const [name, values] of Object.entries(choices)) {
    form.elements[name].parentElement.hidden = ["mode", "guest", "fails"].includes(name) && values.length < 2;
    form.elements[name].append(el("option", { value: "" }, "all"), ...values.map((v) => el("option", { value: v }, OPTIONS[v] || v)));
  }
  form.addEventListener("change", (event) => event.target.name !== "text" && go({ [event.target.name]: event.target.value }));
  form.elements.text.addEventListener("input", () => {
    history.replaceState(null, "", link({ text: form.elements.text.value }) || "#");
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => go(Object.fromEntries(KEYS.map((key) => [key, ""]))));
}

function showFilters(state) {
  for (const field of form.elements) {
    if (!field.name || !(field.name in state)) continue;
    if (field.value !== state[field.name]) field.value = state[field.name];
    field.classList.toggle("set", Boolean(state[field.name]));
  }
  const words = [];
  if (state.path) words.push("path ", pathNode(state.path.split(">")));
  if (state.signature) words.push(words.length ? ", " : "", "signature ", el("code", null, state.signature));
  if (state.problem) words.push(words.length ? ", " : "", "problem ", el("code", null, state.problem));
  if (state.note) words.push(words.length ? ", " : "", "note ", el("code", null, state.note));
  if (state.chain) words.push(words.length ? ", " : "", `chains that are ${state.chain}`);
  form.querySelector(".active").replaceChildren(...(words.length ? ["also only: ", ...words] : []));
}

// --- list of cells

const list = { cells: [], shown: 0 };
const body = document.querySelector(".cells tbody");
const more = document.querySelector(".more");

// By what each column is sorted; the first two orders are ties of the others.
const SORTS = {
  outcome: (n) => SEVERITY.indexOf(statusOf(n)), machine: (n) => MACHINE[n], profile: (n) => D.profiles[PROFILE[n]],
  path: (n) => pathText[PATH[n]], mode: modeText, why: whyText, time: (n) => MILLIS[n],
};

function sorted(cells, by, down) {
  const keys = new Map(cells.map((n) => [n, SORTS[by](n)]));
  const compare = typeof keys.get(cells[0]) === "string" ? natural : (a, b) => a - b;
  return [...cells].sort((a, b) => (down ? -1 : 1) * compare(keys.get(a), keys.get(b)) || a - b);
}

function showList(cells, sort) {
  const by = sort.replace("-", "") in SORTS ? sort.replace("-", "") : "outcome", down = sort.startsWith("-");
  list.cells = sorted(cells, by, down);
  list.shown = 0;
  body.replaceChildren();
  for (const head of document.querySelectorAll(".cells th")) {
    head.setAttribute("aria-sort", head.dataset.column === by ? (down ? "descending" : "ascending") : "none");
  }
  document.querySelector(".found").textContent = `${number.format(cells.length)} of ${plural(TOTAL, "cell")}`;
  showMore();
}

document.querySelector(".cells thead").addEventListener("click", (event) => {
  const head = event.target.closest("th");
  if (head && head.dataset.column in SORTS) go({ sort: head.getAttribute("aria-sort") === "ascending" ? `-${head.dataset.column}` : head.dataset.column });
});

// The cells that are listed as objects under the names of results.jsonl, as far as the page knows them.
function cellObject(n) {
  const cause = causeOf(n);
  return {
    cell: cellId(n), machine: D.machines[MACHINE[n]], profile: D.profiles[PROFILE[n]], path: pathNames[PATH[n]], mode: D.modes[MODE[n]], guest: D.guests[GUEST[n]],
    verdict: D.verdicts[VERDICT[n]], outcome: D.outcomes[OUTCOME[n]], hop: HOP[n] || null, stage: STAGE[n] ? D.stages[STAGE[n] - 1] : null,
    cause: cause && Object.fromEntries(["kind", "device", "field", "message"].map((name, k) => [name, cause[k]])),
    signature: optional(D.signatures, SIGNATURE[n]) || null, seconds: MILLIS[n] / 1000, reason: optional(D.reasons, REASON[n]), known_issue: optional(D.issues, ISSUE[n]) || null,
    notes: NOTE[n] ? D.notes[NOTE[n] - 1] : [],
  };
}

document.querySelector(".save").addEventListener("click", () => {
  const text = JSON.stringify({ matrix: document.title, finished: D.finished, builds: D.versions, cells: list.cells.map(cellObject) });
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("a", { href: url, download: "cells.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
});

function showMore() {
  const next = list.cells.slice(list.shown, list.shown + PAGE);
  list.shown += next.length;
  body.append(...next.map(row));
  more.hidden = list.shown >= list.cells.length;
  more.textContent = more.hidden ? "show more" : `show more (${number.format(list.cells.length - list.shown)} left)`;
}

const CELLS = {
  outcome: (n) => el("td", null, mark(statusOf(n)), labelOf(statusOf(n))),
  machine: (n) => el("td", null, D.machines[MACHINE[n]]),
  profile: (n) => el("td", null, el("a", { href: link({ cell: cellId(n) }) }, D.profiles[PROFILE[n]])),
  path: (n) => el("td", null, pathNode(pathNames[PATH[n]])),
  mode: (n) => el("td", null, modeText(n)),
  why: whyNode,
  time: (n) => el("td", { class: "number" }, timeText(n)),
};
const heads = [...document.querySelectorAll(".cells th")].map((head) => head.dataset.column);
const row = (n) => el("tr", null, ...heads.map((name) => CELLS[name](n)));
const timeText = (n) => (MILLIS[n] ? `${(MILLIS[n] / 1000).toFixed(2)} s` : "");

function modeText(n) {
  const guest = D.guests[GUEST[n]];
  return guest === "paused" ? D.modes[MODE[n]] : `${D.modes[MODE[n]]}, ${guest}`;
}

const whereText = (n) => (STAGE[n] ? `hop ${HOP[n]} ${D.stages[STAGE[n] - 1]} ` : "");
const causeText = (n) => (CAUSE[n] ? causeOf(n).slice(0, 3).filter(Boolean).join(" ") : "");
const noteText = (n) => (NOTE[n] ? `note: ${D.notes[NOTE[n] - 1].join("; ")}` : "");
function whyText(n) { return [causeText(n), optional(D.reasons, REASON[n]), noteText(n)].filter(Boolean).join(" "); }

function whyNode(n) {
  const text = causeText(n);
  return el("td", { class: "why" }, whereText(n), text ? el("b", null, text) : "", text ? " " : "", optional(D.reasons, REASON[n]), noteText(n));
}

function update() {
  const state = readState();
  showFilters(state);
  showList(chosenIndexes(state), state.sort);
  showMaps(state);
  showDetail(state);
}
