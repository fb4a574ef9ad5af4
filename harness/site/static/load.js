// SPDX-License-Identifier: Apache-2.0
// Data comes as scripts that call `put`, because a page that was opened as a file may load those and may not fetch.

const arrived = new Map();

globalThis.put = (name, text) => arrived.set(name, JSON.parse(text));

// A promise of the data of one file, which is loaded once.
const asked = new Map();
function load(name) {
  if (!asked.has(name)) asked.set(name, new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = `${ROOT}data/${name}.js`;
    script.onload = () => (arrived.has(name) ? done(arrived.get(name)) : failed(new Error(`data/${name}.js holds something else`)));
    script.onerror = () => failed(new Error(`data/${name}.js is missing`));
    document.head.append(script);
  }));
  return asked.get(name);
}

// "3*2,5" is 3, 3, 5.
function unpack(text) {
  const numbers = [];
  if (text) for (const run of text.split(",")) {
    const [number, count] = run.split("*");
    for (let n = Number(count || 1); n > 0; n--) numbers.push(Number(number));
  }
  return numbers;
}

const loading = document.querySelector(".loading");
const loaded = () => loading.remove();
function notLoaded(error) {
  loading.textContent = `${error.message}: this copy of the site is not whole.`;
  loading.classList.add("nobody");
  throw error;
}

const whenText = (night) => night.time.slice(0, 16).replace("T", " ");
const slotClass = (status) => (status ? `o-${status.replaceAll(" ", "-")}` : "absent");
