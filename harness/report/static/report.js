// SPDX-License-Identifier: Apache-2.0
"use strict";
// The state of the page is its URL fragment (#machine=...&path=A>B&cell=...): every view can be linked to,
// and the back button works. Data form: html_data.py. Text reaches the page through textContent only.

const D = JSON.parse(document.getElementById("data").textContent);
const column = (n) => D.cells[n] || [];
const [MACHINE, PROFILE, PATH, MODE, GUEST, VERDICT, OUTCOME, HOP, STAGE, CAUSE, SIGNATURE, REASON, ISSUE, FLAGS, MILLIS] =
  Array.from({ length: 15 }, (_, n) => column(n));
const TOTAL = MACHINE.length;
const PAGE = 200;
const UNEXPECTED = new Set(["regression", "wrong-failure"]);
const KEYS = ["machine", "profile", "build", "kind", "verdict", "outcome", "path", "signature", "problem", "fails", "chain", "text"];
const SEVERITY = Object.keys(D.glyphs);
const ITSELF = 1 << D.flags.indexOf("itself");
const labelOf = (status) => D.labels[status] || status;
const number = new Intl.NumberFormat("en");

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
const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;
const byId = { index: null };

function cellNumber(id) {
  if (!byId.index) {
    byId.index = new Map();
    for (let n = 0; n < TOTAL; n++) byId.index.set(cellId(n), n);
  }
  return byId.index.get(id);
}

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) if (value !== null) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

function mark(outcome) {
  return el("span", { class: `mark o-${outcome}`, "aria-hidden": "true" }, D.glyphs[outcome]);
}

function pathNode(names) {
  const node = el("span", { class: "path" });
  names.forEach((name, n) => node.append(n ? el("span", { class: "arrow", "aria-label": "to" }, "→") : "", name));
  return node;
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
  const verdict = at(D.verdicts, state.verdict), outcome = at(D.outcomes, state.outcome);
  const signature = state.signature ? D.signatures.indexOf(state.signature) + 1 || -2 : -1;
  const kind = state.chain ? 1 << D.flags.indexOf(state.chain) : 0;
  const problem = state.problem ? D.problems.find(([first]) => D.signatures[first - 1] === state.problem) || [] : null;
  const paths = allowedPaths(state), words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const unknown = (value, index) => value && index < 0;
  if (unknown(state.machine, machine) || unknown(state.profile, profile) || unknown(state.outcome, outcome)) return [];
  const found = [];
  for (let n = 0; n < TOTAL; n++) {
    if (machine >= 0 && MACHINE[n] !== machine) continue;
    if (profile >= 0 && PROFILE[n] !== profile) continue;
    if (verdict >= 0 && VERDICT[n] !== verdict) continue;
    if (outcome >= 0 && OUTCOME[n] !== outcome) continue;
    if (signature !== -1 && SIGNATURE[n] !== signature) continue;
    if (kind && !(FLAGS[n] & kind)) continue;
    if (problem && !(problem.includes(SIGNATURE[n]) && UNEXPECTED.has(D.outcomes[OUTCOME[n]]))) continue;
    if (state.fails && !((D.verdicts[VERDICT[n]] === "fail" || UNEXPECTED.has(D.outcomes[OUTCOME[n]])) && Boolean(FLAGS[n] & ITSELF) === (state.fails === "itself"))) continue;
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
    optional(D.reasons, REASON[n]), optional(D.issues, ISSUE[n])];
  const text = parts.join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

const form = document.querySelector(".filters");

function fillFilters() {
  const used = (values, table) => [...new Set(values)].sort((a, b) => a - b).map((n) => table[n]);
  const choices = {
    machine: D.machines, profile: D.profiles, build: D.builds, kind: ["pairs", "chains"],
    verdict: used(VERDICT, D.verdicts), outcome: used(OUTCOME, D.outcomes),
  };
  for (const [name, values] of Object.entries(choices)) {
    form.elements[name].append(el("option", { value: "" }, "all"), ...values.map((v) => el("option", { value: v }, v)));
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
    if (!field.name) continue;
    if (field.value !== state[field.name]) field.value = state[field.name];
    field.classList.toggle("set", Boolean(state[field.name]));
  }
  const words = [];
  if (state.path) words.push("path ", pathNode(state.path.split(">")));
  if (state.signature) words.push(words.length ? ", " : "", "signature ", el("code", null, state.signature));
  if (state.problem) words.push(words.length ? ", " : "", "problem ", el("code", null, state.problem));
  if (state.fails) words.push(words.length ? ", " : "", state.fails === "itself" ? "what a build has with itself too" : "breaks between builds");
  if (state.chain) words.push(words.length ? ", " : "", `chains that are ${state.chain}`);
  form.querySelector(".active").replaceChildren(...(words.length ? ["also only: ", ...words] : []));
}

// --- list of cells

const list = { cells: [], shown: 0 };
const body = document.querySelector(".cells tbody");
const more = document.querySelector(".more");

function showList(cells) {
  const order = new Map(SEVERITY.map((name, n) => [name, n]));
  const rank = new Map(cells.map((n) => [n, order.get(statusOf(n))]));
  list.cells = [...cells].sort((a, b) => rank.get(a) - rank.get(b) || a - b);
  list.shown = 0;
  body.replaceChildren();
  document.querySelector(".found").textContent = `${number.format(cells.length)} of ${plural(TOTAL, "cell")}`;
  showMore();
}

function showMore() {
  const next = list.cells.slice(list.shown, list.shown + PAGE);
  list.shown += next.length;
  body.append(...next.map(row));
  more.hidden = list.shown >= list.cells.length;
  more.textContent = more.hidden ? "show more" : `show more (${number.format(list.cells.length - list.shown)} left)`;
}

function row(n) {
  const outcome = statusOf(n);
  const detail = el("a", { href: link({ cell: cellId(n) }) }, D.profiles[PROFILE[n]]);
  return el("tr", null, el("td", null, mark(outcome), labelOf(outcome)), el("td", null, D.machines[MACHINE[n]]), el("td", null, detail),
    el("td", null, pathNode(pathNames[PATH[n]])), el("td", null, modeText(n)), whyNode(n),
    el("td", { class: "number" }, MILLIS[n] ? `${(MILLIS[n] / 1000).toFixed(2)} s` : ""));
}

function modeText(n) {
  const guest = D.guests[GUEST[n]];
  return guest === "paused" ? D.modes[MODE[n]] : `${D.modes[MODE[n]]}, ${guest}`;
}

function whyNode(n) {
  const cause = causeOf(n);
  const text = cause ? [cause[0], cause[1], cause[2]].filter(Boolean).join(" ") : "";
  const where = STAGE[n] ? `hop ${HOP[n]} ${D.stages[STAGE[n] - 1]} ` : "";
  return el("td", { class: "why" }, where, text ? el("b", null, text) : "", text ? " " : "", optional(D.reasons, REASON[n]));
}

function update() {
  const state = readState();
  showFilters(state);
  showList(chosenIndexes(state));
  showMaps(state);
  showDetail(state);
}

function copyText(button) {
  const code = button.parentElement.querySelector("code");
  const select = () => getSelection().selectAllChildren(code);
  if (!navigator.clipboard) return select();
  navigator.clipboard.writeText(code.textContent).then(() => { button.textContent = "copied"; }, select);
}
