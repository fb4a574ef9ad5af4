// SPDX-License-Identifier: Apache-2.0
// Wires a page with a matrix; the last of its scripts.

dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest(".close")) dialog.close(); });
dialog.addEventListener("close", () => { if (readState().cell) go({ cell: "" }); });
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
