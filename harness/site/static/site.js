// SPDX-License-Identifier: Apache-2.0
// Every page: the slash key searches, and a night that is overdue is told as loudly as a red one.

const ROOT = document.body.dataset.root;
const searchField = document.querySelector(".search input");

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  event.preventDefault();
  searchField.focus();
});

// The pages are made once and read later: how late the next night is depends on when they are read.
function tellOverdue(node) {
  const every = Number(node.dataset.every) * 1000, late = Date.now() - Date.parse(node.dataset.time);
  if (!every || late <= 1.5 * every) return;
  node.textContent = `No night came since this one: ${plural(Math.round(late / every) - 1, "night")} missed. What follows is old.`;
  node.hidden = false;
  const answer = document.querySelector("h1");
  answer.className = "no-answer";
  answer.textContent = `No answer tonight (then: ${answer.textContent.toLowerCase()})`;
}

for (const node of document.querySelectorAll(".overdue")) tellOverdue(node);
performance.mark("shown");
