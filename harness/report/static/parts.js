// SPDX-License-Identifier: Apache-2.0
"use strict";
// What every page is made of. Text reaches a page through textContent only.

const number = new Intl.NumberFormat("en");
const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;
const natural = new Intl.Collator("en", { numeric: true }).compare;
const shellQuote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);
const globEscape = (text) => text.replace(/[*?[]/g, "[$&]");

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) if (value !== null) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

function pathNode(names) {
  const node = el("span", { class: "path" });
  names.forEach((name, n) => node.append(n ? el("span", { class: "arrow", "aria-label": "to" }, "→") : "", name));
  return node;
}

function command(text) {
  return el("div", { class: "command" }, el("code", null, text), el("button", { type: "button", class: "copy" }, "copy"));
}

function copyText(button) {
  const code = button.parentElement.querySelector("code");
  const select = () => getSelection().selectAllChildren(code);
  if (!navigator.clipboard) return select();
  navigator.clipboard.writeText(code.textContent).then(() => { button.textContent = "copied"; }, select);
}

document.addEventListener("click", (event) => { if (event.target.closest(".copy")) copyText(event.target.closest(".copy")); });
