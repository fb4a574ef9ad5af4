// SPDX-License-Identifier: Apache-2.0
// Any two nights, by problem: #old=N&new=M. Each night is a file of its own, so that any pair can be asked for.

const MOST = 40; // cells of a problem that are named
const RED = new Set(["regression", "wrong-failure", "own"]);
const BROKEN = new Set([...RED, "known"]);
const SILENT = new Set(["", "not run", "incomplete", "skipped"]);
const SIGNATURE_OF = 3, STATUS_OF = 7; // of a state
const TITLES = { new: "New", changed: "Fails in another way", flaky: "Flaky", still: "Still", fixed: "Fixed", gone: "Gone: failed before, without a verdict now" };

const names = await load("names").catch(notLoaded);
const columns = (await load("cells").catch(notLoaded)).map(unpack);
const form = document.querySelector(".compare"), result = document.querySelector(".result");
const pages = new Map(names.problemPages.map(([signature, page]) => [signature, page]));

function chosen() {
  const given = new URLSearchParams(location.hash.slice(1)), last = names.nights.at(-1), before = names.nights.at(-2) || last;
  const night = (key, otherwise) => names.nights.find((one) => String(one.number) === given.get(key)) || otherwise;
  return [night("old", before), night("new", last)];
}

const status = (code) => (code ? names.states[code - 1][STATUS_OF] : "");
const signature = (code) => (code && names.states[code - 1][SIGNATURE_OF] ? names.signatures[names.states[code - 1][SIGNATURE_OF] - 1] : "");
// What became of a cell, as harness/history/compare.py has it; "" for nothing to tell.
function change(before, now) {
  const [was, is] = [status(before), status(now)], broken = BROKEN.has(was);
  if (is === "flaky") return "flaky";
  if (SILENT.has(is)) return broken ? "gone" : "";
  if (!BROKEN.has(is)) return broken ? "fixed" : "";
  if (!broken) return RED.has(is) ? "new" : "still";
  if (signature(before) !== signature(now)) return "changed";
  return RED.has(is) && was === "known" ? "new" : "still";
}

// found[change][signature] are places of cells.
function differences(before, now) {
  const found = Object.fromEntries(Object.keys(TITLES).map((kind) => [kind, new Map()]));
  for (let place = 0; place < now.length; place++) {
    const kind = change(before[place], now[place]);
    if (!kind) continue;
    const of = signature(["fixed", "gone"].includes(kind) ? before[place] : now[place]);
    found[kind].set(of, [...(found[kind].get(of) || []), place]);
  }
  return found;
}

function cellId(place) {
  const [machine, profile, path, mode, guest] = columns.map((column) => column[place]);
  return [names.machines[machine], names.profiles[profile], names.paths[path].map((b) => names.builds[b]).join(">"), names.modes[mode], names.guests[guest]].join("/");
}

function problem(night, [of, places]) {
  const page = pages.has(of) ? [el("li", null, el("a", { href: pages.get(of) }, "cause, fix and nights of this problem"))] : [];
  const some = places.slice(0, MOST).map((place) => el("li", null, el("a", { href: `matrix.html?night=${night.number}#cell=${encodeURIComponent(cellId(place))}` }, cellId(place))));
  if (places.length > MOST) some.push(el("li", { class: "muted" }, `and ${number.format(places.length - MOST)} more`));
  const title = el("summary", null, el("b", null, number.format(places.length)), ` ${places.length === 1 ? "cell" : "cells"} `, el("code", null, of || "without a signature"));
  return el("details", { class: "difference" }, title, el("ul", { class: "plain" }, ...page, ...some));
}

function section(kind, found, night) {
  const problems = [...found].sort(([a, x], [b, y]) => y.length - x.length || natural(a, b));
  const cells = problems.reduce((sum, [, places]) => sum + places.length, 0);
  const title = el("h3", null, TITLES[kind], el("span", { class: "muted" }, ` ${plural(problems.length, "problem")}, ${plural(cells, "cell")}`));
  return el("div", { class: `kind k-${kind}` }, title, ...problems.map((one) => problem(night, one)));
}

async function show() {
  const [old, now] = chosen();
  form.elements.old.value = String(old.number);
  form.elements.new.value = String(now.number);
  const [before, after] = (await Promise.all([old, now].map((night) => load(`night-${night.number}`))).catch(notLoaded)).map(unpack);
  const found = differences(before, after), kinds = Object.keys(TITLES).filter((kind) => found[kind].size);
  const changed = changesBetween(names, old, now);
  result.replaceChildren(
    el("p", { class: "what" }, kinds.length ? kinds.map((kind) => `${plural(found[kind].size, "problem")} ${kind}`).join(", ") : "Nothing failed on either night."),
    ...kinds.map((kind) => section(kind, found[kind], ["fixed", "gone"].includes(kind) ? old : now)),
    el("h3", null, "What changed"), el("ul", { class: "plain" }, ...(changed.length ? changed.map((text) => el("li", null, el("code", null, text))) : [el("li", null, "nothing that is recorded")])));
  performance.mark("ready");
}

function go(old, now) { location.hash = `#old=${old}&new=${now}`; }
form.addEventListener("change", () => go(form.elements.old.value, form.elements.new.value));
form.addEventListener("submit", (event) => event.preventDefault());
form.querySelector(".swap").addEventListener("click", () => go(form.elements.new.value, form.elements.old.value));
addEventListener("hashchange", () => { show(); document.getElementById("compare").scrollIntoView(); });
await show();
