/** The outputs of a signature, each shown as what it is. */

import { element } from "./viewer.js";

// Below this no hypothesis was found: a model with fewer of them than beams fills up the rest.
const NO_HYPOTHESIS = -1e6;
const CUT = "A part of the text was not read, or the answer is as long as it may be.";
const MISSING = "Not in the answer:";
const OF_ATTENTION = new Set(["source_tokens", "target_tokens", "attention", "p_gen"]);

/**
 * The outputs of the one row that was sent, by name.
 *
 * @param {Object<string, any>|any[]} outputs a single output stands without its name
 * @param {string[]} names of the outputs of the signature
 * @returns {Map<string, any>}
 */
export function firstRow(outputs, names) {
  const single = names.length === 1;
  const columns = single ? [[names[0], outputs]] : Object.entries(outputs ?? {});
  return new Map(
    columns.map(([name, column]) => [name, Array.isArray(column) ? column[0] : column]),
  );
}

/** A number with as many digits as people read. */
function number(value) {
  if (typeof value !== "number") return "\u2013";
  return value.toLocaleString("en", { maximumFractionDigits: 3, useGrouping: false });
}

/** A text in whatever language and direction it is. */
function textOf(text) {
  if (text === "") return element("p", { className: "soft" }, "(nothing was written)");
  return element("p", { className: "result", dir: "auto" }, String(text));
}

const pair = (name, value) =>
  element("p", { className: "pair" }, element("span", { className: "soft" }, name), " ", value);

/** The addresses, placeholders and markup of a text that were not carried over, if any. */
function missingOf(spans) {
  if (!spans) return [];
  const shown = spans.split("\n").map((span) => element("bdi", { className: "value" }, span));
  return [element("p", { className: "cut" }, MISSING, ...shown.flatMap((span) => [" ", span]))];
}

/**
 * Draws an answer.
 *
 * @param {Map<string, any>} row the outputs by name
 * @param {boolean} withAttention whether the attention is shown elsewhere
 * @returns {Node[]}
 */
export function drawAnswer(row, withAttention) {
  const rest = new Map(row);
  const nodes = [];
  const take = (name) => {
    const value = rest.get(name);
    rest.delete(name);
    return value;
  };
  if (take("truncated") === true) nodes.push(element("p", { className: "cut" }, CUT));
  if (Array.isArray(rest.get("text"))) {
    nodes.push(alternatives(take("text"), take("score"), take("missing")));
  } else if (typeof rest.get("text") === "string") {
    nodes.push(textOf(take("text")), ...missingOf(take("missing")));
  }
  for (const [name, value] of rest) {
    if (withAttention && (OF_ATTENTION.has(name) || Array.isArray(value?.[0]))) continue;
    const shown = typeof value === "number" ? number(value) : valueOf(value);
    nodes.push(pair(name, shown));
  }
  return nodes;
}

/** A value of some output that this page knows nothing about. */
function valueOf(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return element("bdi", { className: "value" }, text);
}

/** The n best texts, the best first, each with a bar of its share of the best one's chance. */
function alternatives(texts, scores = [], missing = []) {
  const found = texts
    .map((text, place) => ({ text, score: scores?.[place], spans: missing?.[place] }))
    .filter(({ score }) => typeof score !== "number" || score > NO_HYPOTHESIS);
  const best = Math.max(...found.map(({ score }) => score ?? 0));
  const items = found.map(({ text, score, spans }) => {
    const parts = [textOf(text), ...missingOf(spans), pair("score", number(score))];
    const item = element("li", {}, ...parts);
    if (typeof score === "number") item.style.setProperty("--share", Math.exp(score - best));
    return item;
  });
  return element("ol", { className: "alternatives" }, ...items);
}
