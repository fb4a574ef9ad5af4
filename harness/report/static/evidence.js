// SPDX-License-Identifier: Apache-2.0
// Evidence of cells, which a report carries for some of them; drawn when it is opened.

function beyond(n) {
  return [el("h3", null, "Evidence"), ...evidence(n)];
}

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

for (const node of document.querySelectorAll("details.evidence")) {
  node.addEventListener("toggle", () => {
    const n = cellNumber(node.dataset.cell);
    if (node.open && n !== undefined && !node.querySelector(".hop, .muted")) {
      node.append(...evidence(n), el("a", { href: link({ cell: node.dataset.cell }) }, "open this cell"));
    }
  });
}
