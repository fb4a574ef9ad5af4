// SPDX-License-Identifier: Apache-2.0
// Heat maps: one per machine, a source x destination table of links. A square shows the worst outcome
// over all its cells as a glyph and a count, so that colour only repeats what is written.

const maps = document.querySelector(".maps");

// Return counts[machine][path][severity] over the cells that pass every filter except path and kind.
function countPairs(state) {
  const counts = new Map();
  const chains = new Map();
  for (const n of chosenIndexes({ ...state, path: "", kind: "" })) {
    const machine = MACHINE[n];
    if (!counts.has(machine)) counts.set(machine, new Map());
    if (D.paths[PATH[n]].length !== 2) { addTo(chains, machine, SEVERITY.indexOf(statusOf(n))); continue; }
    addTo(counts.get(machine), D.paths[PATH[n]].join(">"), SEVERITY.indexOf(statusOf(n)));
  }
  return { counts, chains };
}

function addTo(map, key, outcome) {
  if (!map.has(key)) map.set(key, new Array(SEVERITY.length).fill(0));
  map.get(key)[outcome] += 1;
}

const worst = (counts) => SEVERITY[counts.findIndex(Boolean)];
const describe = (counts) =>
  SEVERITY.map((name, n) => (counts[n] ? `${number.format(counts[n])} ${labelOf(name)}` : "")).filter(Boolean).join(", ");

// Versions head the columns, because they are short; ids do where two builds of a map share a version.
function columnTitle(build, builds) {
  const version = (b) => D.versions[D.builds[b]] || D.builds[b];
  return builds.some((b) => b !== build && version(b) === version(build)) ? D.builds[build] : version(build);
}

// Builds that cells of a machine lead between, by islands: no cell leads from one island to another.
function islands(pairs) {
  const next = new Map();
  const root = (b) => (next.get(b) === b ? b : root(next.get(b)));
  for (const [a, b] of [...pairs.keys()].map((path) => path.split(">").map(Number))) {
    for (const end of [a, b]) if (!next.has(end)) next.set(end, end);
    next.set(root(a), root(b));
  }
  const found = new Map();
  for (const b of [...next.keys()].sort((x, y) => x - y)) found.set(root(b), [...(found.get(root(b)) || []), b]);
  return [...found.values()];
}

function showMaps(state) {
  const { counts, chains } = countPairs(state);
  const machines = [...counts.keys()].sort((a, b) => a - b);
  maps.replaceChildren(...machines.map((m) => map(m, counts.get(m), chains.get(m), state)));
}

function map(machine, pairs, chains, state) {
  const name = D.machines[machine];
  const tables = islands(pairs).map((builds) => el("div", { class: "scroll" }, table(name, builds, pairs, state)));
  return el("div", { class: "map" }, el("h3", null, name), el("div", { class: "islands" }, ...tables), chainLink(name, chains));
}

function table(name, builds, pairs, state) {
  const [sources, destinations] = [0, 1].map((end) => {
    const there = new Set([...pairs.keys()].map((path) => Number(path.split(">")[end])));
    return builds.filter((b) => there.has(b));
  });
  const head = el("tr", null, el("th", { scope: "col" }, "from \\ to"),
    ...destinations.map((b) => el("th", { scope: "col", title: D.builds[b] }, columnTitle(b, destinations))));
  const rows = sources.map((source) => el("tr", null, rowTitle(source),
    ...destinations.map((destination) => square(name, source, destination, pairs, state))));
  const node = el("table", null, el("caption", { hidden: "" }, `${name}: source by destination`), el("thead", null, head), el("tbody", null, ...rows));
  rove(node);
  return node;
}

function rowTitle(build) {
  const id = D.builds[build], version = D.versions[id];
  return el("th", { scope: "row" }, id, version && version !== id ? el("span", null, version) : "");
}

function chainLink(machine, counts) {
  if (!counts) return "";
  const odd = describe(counts.map((count, n) => (["ok", "blocked", "skipped"].includes(SEVERITY[n]) ? 0 : count)));
  const total = counts.reduce((sum, count) => sum + count, 0);
  const text = `${plural(total, "chain")}${odd ? `: ${odd}` : ", nothing unexpected"}`;
  return el("p", null, el("a", { href: link({ machine, kind: "chains", path: "" }), title: describe(counts) }, text));
}

function square(machine, source, destination, pairs, state) {
  const counts = pairs.get(`${source}>${destination}`);
  if (!counts) return el("td", null, el("span", { class: "empty" }, "·"));
  const path = `${D.builds[source]}>${D.builds[destination]}`, outcome = worst(counts);
  const count = counts[SEVERITY.indexOf(outcome)], text = number.format(count);
  const few = ["regression", "wrong-failure", "incomplete"].includes(outcome) && count * 10 < counts.reduce((a, b) => a + b) ? " few" : "";
  const label = `${machine}, ${D.builds[source]} to ${D.builds[destination]}: ${describe(counts)}`;
  const here = state.path === path && state.machine === machine ? " here" : "";
  const shown = outcome === "ok" ? text : `${D.glyphs[outcome]} ${text}`;
  return el("td", null, el("a", { href: link({ machine, path, kind: "" }), class: `o-${outcome}${few}${here}`, title: label, "aria-label": label, tabindex: "-1" }, shown));
}

// One stop of the tab key per map; arrow keys move inside it.
function rove(table) {
  const first = table.querySelector("td a");
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return;
    const target = nextSquare(table, cell, step);
    if (!target) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  });
}

function nextSquare(table, cell, [down, right]) {
  let y = cell.parentElement.rowIndex + down, x = cell.cellIndex + right;
  while (table.rows[y] && table.rows[y].cells[x]) {
    const target = table.rows[y].cells[x].querySelector("a");
    if (target) return target;
    y += down; x += right;
  }
  return null;
}

maps.addEventListener("click", (event) => {
  if (event.target.closest("td a, p a")) requestAnimationFrame(() => document.getElementById("cells").focus());
});
