// SPDX-License-Identifier: Apache-2.0
// What changed between two nights, as harness/history/changes.py has it: builds, profiles, harness, patterns, kernel, engine.

const WHERE = ["harness", "patterns", "host kernel", "engine"];

function changesBetween(names, before, after, path, profile) {
  const rows = (night) => new Map(night.contents.map((n) => [`${names.contents[n][0]} ${names.contents[n][1]}`, n]));
  const [old, now] = [rows(before), rows(after)], found = [];
  for (const key of path ? keysOf(path, profile) : new Set([...old.keys(), ...now.keys()])) {
    const [was, is] = [old.get(key), now.get(key)];
    if (equal(names, was, is) || (key.startsWith("arguments") && !(old.has(key.slice(13)) && now.has(key.slice(13))))) continue;
    found.push(`${key}: ${contentText(names, was)} -> ${contentText(names, is)}`);
  }
  const [from, to] = [before, after].map((night) => names.environments[night.environment]);
  WHERE.forEach((what, n) => { if (from[n] !== to[n]) found.push(`${what}: ${from[n] || "not there"} -> ${to[n] || "not there"}`); });
  return found;
}

// What a cell rests on.
const keysOf = (path, profile) => [...new Set(path)].flatMap((build) => [`build ${build}`, `arguments of build ${build}`]).concat(`profile ${profile}`);

// A package may be called otherwise and hold the same.
function equal(names, a, b) {
  if (a === b || a === undefined || b === undefined) return a === b;
  return names.contents[a][2] === names.contents[b][2] && names.contents[a][4] === names.contents[b][4];
}

function contentText(names, row) {
  if (row === undefined) return "not there";
  const [kind, , version, package_, digest] = names.contents[row];
  return kind === "build" ? `${`${version} ${package_}`.trimEnd()} (${digest})` : digest || "not there";
}
