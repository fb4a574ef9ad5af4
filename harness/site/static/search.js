// SPDX-License-Identifier: Apache-2.0
// Finds problems, builds, machines, profiles and cells that have all words of `?q=`, in any order.

const MOST = 100;
const query = new URLSearchParams(location.search).get("q") || "";
const words = query.toLowerCase().split(/\s+/).filter(Boolean);
const names = await load("names").catch(notLoaded);
const columns = (await load("cells").catch(notLoaded)).map(unpack);
const result = document.querySelector(".result");
searchField.value = query;

const matches = (text) => words.every((word) => text.toLowerCase().includes(word));
const filter = (key, value) => `matrix.html#${key}=${encodeURIComponent(value)}`;
const states = new Map(names.problemPages.map(([signature, page, state]) => [signature, [page, state]]));

const paths = names.paths.map((path) => path.map((b) => names.builds[b]).join(">"));
const idOf = (place) => [names.machines[columns[0][place]], names.profiles[columns[1][place]], paths[columns[2][place]], names.modes[columns[3][place]], names.guests[columns[4][place]]].join("/");

function cells() {
  const found = [];
  for (let place = 0; place < columns[0].length; place++) {
    const id = idOf(place);
    if (matches(id)) found.push([id, filter("cell", id)]);
  }
  return found;
}

function problems() {
  return names.signatures.map((signature, n) => [signature, names.causes[n].join(" ")])
    .filter(([signature, cause]) => states.has(signature) && matches(`${signature} ${cause}`))
    .map(([signature, cause]) => [`${signature}: ${states.get(signature)[1]}`, states.get(signature)[0], cause]);
}

const named = (list, link) => list.filter(matches).map((name) => [name, link(name)]);
const buildPage = new Map(names.buildPages);
const groups = words.length ? [
  ["Problems", problems()],
  ["Builds", named(names.buildPages.map(([id]) => id), (id) => buildPage.get(id))],
  ["Machines", named(names.machines, (name) => filter("machine", name))],
  ["Profiles", named(names.profiles, (name) => filter("profile", name))],
  ["Cells", cells()],
] : [];

function section([title, found]) {
  const rows = found.slice(0, MOST).map(([text, link, more]) => el("li", null, el("a", { href: link }, text), more ? el("span", { class: "muted" }, ` ${more.slice(0, 200)}`) : ""));
  if (found.length > MOST) rows.push(el("li", { class: "muted" }, `and ${number.format(found.length - MOST)} more: `, title === "Cells" ? el("a", { href: filter("text", query) }, "all in the matrix") : ""));
  return el("section", null, el("h2", null, title, el("span", { class: "muted" }, number.format(found.length))), el("ul", { class: "plain" }, ...rows));
}

const there = groups.filter(([, found]) => found.length);
result.replaceChildren(...(there.length ? there.map(section) : [el("p", null, words.length ? `Nothing has all of: ${query}` : "Name a device, a build, a machine or a message.")]));
performance.mark("ready");
