// SPDX-License-Identifier: Apache-2.0
// The cells of one night, `?night=N`, by default the last, in the form that explore.js reads (html_data.py).

const NAMES = await load("names").catch(notLoaded);
const wanted = new URLSearchParams(location.search).get("night");
const NIGHT = NAMES.nights.find((night) => String(night.number) === wanted) || NAMES.nights.at(-1);
const [everyCell, CODES] = await Promise.all([load("cells"), load(`night-${NIGHT.number}`)]).catch(notLoaded)
  .then(([columns, codes]) => [columns.map(unpack), unpack(codes)]);
const [VERDICT_OF, OUTCOME_OF, HOP_OF, SIGNATURE_OF, ISSUE_OF, FLAGS_OF, REUSED_OF, STATUS_OF] = [0, 1, 2, 3, 4, 5, 6, 7];
const PLACES = []; // of the cells of this night among all cells
CODES.forEach((code, place) => { if (code) PLACES.push(place); });

function nightData() {
  const state = (field) => PLACES.map((place) => NAMES.states[CODES[place] - 1][field]);
  const none = PLACES.map(() => 0), signature = state(SIGNATURE_OF);
  const names = everyCell.map((column) => PLACES.map((place) => column[place]));
  const cells = [...names, state(VERDICT_OF), state(OUTCOME_OF), state(HOP_OF), none, signature, signature, none, state(ISSUE_OF), state(FLAGS_OF), none, none];
  const versions = Object.assign(Object.create(null), Object.fromEntries(
    NIGHT.contents.map((row) => NAMES.contents[row]).filter(([kind]) => kind === "build").map(([, id, version]) => [id, version])));
  return { ...NAMES, cells, versions, reasons: [], notes: [], args: {}, evidence: {}, runDir: "", finished: NIGHT.time,
    problems: NAMES.signatures.map((_, n) => [n + 1]) };
}

const D = nightData();
const which = document.querySelector(".which");
which.value = String(NIGHT.number);
which.addEventListener("change", () => { location.search = `?night=${which.value}`; });
loaded();
