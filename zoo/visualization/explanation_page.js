/** The page of an explanation: which attention, layer and head the viewer shows. */

import { Alignment, byId, fillSelect } from "./viewer.js";

const data = JSON.parse(byId("data").textContent);
const LEVELS = 255; // a weight is stored as a byte
const decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
for (const kind of Object.values(data.kinds)) {
  kind.weights = decode(kind.weights);
  kind.rollouts = decode(kind.rollouts);
}

const alignment = new Alignment(
  { source: byId("source"), target: byId("target"), said: byId("said"), map: byId("map") },
  (word) => { chosen = word; },
);
let chosen = "";

const choose = (...names) => names.map((name) => ({ value: name, text: name }));
const numbered = (count) => choose(...Array.from({ length: count }, (_, place) => String(place + 1)));
const wordsOf = (labels) => labels.map((text) => ({ text, spaced: true, symbol: false }));

/** The maps that are shown as their mean: of bytes in the order layer, head, row, column. */
function chosenMaps(view, layer, head) {
  const layers = layer === "all" ? [...Array(view.layers).keys()] : [Number(layer) - 1];
  if (head === "rollout") return { bytes: view.rollouts, maps: layers.slice(-1) };
  const heads = head === "mean" ? [...Array(view.heads).keys()] : [Number(head) - 1];
  return { bytes: view.weights, maps: layers.flatMap((l) => heads.map((h) => l * view.heads + h)) };
}

function weightsOf(view, layer, head) {
  const { bytes, maps } = chosenMaps(view, layer, head);
  const width = view.columns.length;
  const cells = view.rows.length * width;
  return view.rows.map((_, row) =>
    view.columns.map((_, column) => {
      const place = row * width + column;
      return maps.reduce((sum, map) => sum + bytes[map * cells + place], 0) / maps.length / LEVELS;
    }),
  );
}

function drawWeights() {
  const kind = byId("kind").value;
  const view = data.kinds[kind];
  const weights = weightsOf(view, byId("layer").value, byId("head").value);
  const copied = kind === "cross" ? data.copied : null;
  alignment.show(wordsOf(view.rows), wordsOf(view.columns), weights, copied, chosen);
}

function drawKind() {
  const view = data.kinds[byId("kind").value];
  chosen = "";
  fillSelect(byId("layer"), [...choose("all"), ...numbered(view.layers)], byId("layer").value);
  fillSelect(byId("head"), [...choose("mean"), ...numbered(view.heads), ...choose("rollout")], byId("head").value);
  ["source", "target"].forEach((side, place) => {
    byId(`${side}-title`).textContent = view.titles[place];
    byId(side).dir = view.rightToLeft[place] ? "rtl" : "ltr";
  });
  drawWeights();
}

const kinds = Object.entries(data.kinds).map(([value, { name: text }]) => ({ value, text }));
fillSelect(byId("kind"), kinds, kinds[0].value);
byId("choices").hidden = kinds.length * data.kinds[kinds[0].value].layers * data.kinds[kinds[0].value].heads === 1;
byId("kind").addEventListener("change", drawKind);
byId("layer").addEventListener("change", drawWeights);
byId("head").addEventListener("change", drawWeights);
drawKind();
