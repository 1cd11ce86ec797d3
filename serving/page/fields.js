/** Signatures and their inputs: which there are, how they are asked for, and what is sent. */

import { element } from "./viewer.js";

/**
 * @typedef {Object} Field
 * @property {string} name of the input
 * @property {"text"|"integer"|"decimal"|"json"} kind what is typed; JSON where it is no single value
 * @property {boolean} batched whether a value is sent in a list of one row
 */

/**
 * @typedef {Object} Signature
 * @property {string} name
 * @property {Field[]} fields
 * @property {string[]} outputs names
 */

// The signature that shows most comes first, and inputs stand as people think of them.
const SIGNATURES = new Map([
  ["explain", "explain \u2013 text and attention"],
  ["document", "document \u2013 whole texts"],
  ["serving_default", "serving_default \u2013 text and score"],
  ["n_best", "n_best \u2013 alternatives with scores"],
  ["score", "score \u2013 how likely a target is"],
]);
const INPUTS = ["history", "context", "question", "text", "length", "target"];
const HINTS = new Map([
  ["history", "what was said before, one turn a line, the oldest first"],
  ["length", "words; 0 for no wish"],
]);
const OF_TEXT = new Set(["text", "score"]);

const rank = (list, name) => (list.includes(name) ? list.indexOf(name) : list.length);
const ordered = (names, list) =>
  [...names].sort((a, b) => rank(list, a) - rank(list, b) || (a < b ? -1 : 1));

function readField(name, { dtype, tensor_shape: shape }) {
  const dimensions = shape?.unknown_rank ? 1 : (shape?.dim?.length ?? 0);
  let kind = "json";
  if (dimensions < 2 && dtype === "DT_STRING") kind = "text";
  else if (dimensions < 2 && /^DT_U?INT/.test(dtype)) kind = "integer";
  else if (dimensions < 2 && /^DT_(FLOAT|DOUBLE|HALF|BFLOAT16)$/.test(dtype)) kind = "decimal";
  return { name, kind, batched: dimensions > 0 };
}

/**
 * The signatures that can be asked, the one that shows most first.
 *
 * @param {Object<string, any>} described by name, as the metadata of a model describes them
 * @returns {Signature[]}
 */
export function readSignatures(described) {
  const names = Object.keys(described).filter((name) => !name.startsWith("__"));
  return ordered(names, [...SIGNATURES.keys()]).map((name) => {
    const { inputs = {}, outputs = {} } = described[name];
    const fields = ordered(Object.keys(inputs), INPUTS).map((key) => readField(key, inputs[key]));
    return { name, fields, outputs: Object.keys(outputs) };
  });
}

/** The name of a signature with what it is for, where its outputs are those that are meant. */
export function describeSignature({ name, outputs }) {
  const known = outputs.some((output) => OF_TEXT.has(output));
  return (known && SIGNATURES.get(name)) || name;
}

/**
 * Draws the inputs of a signature.
 *
 * @param {Field[]} fields
 * @param {Map<string, string>} values what was typed before
 * @returns {HTMLElement[]}
 */
export function drawFields(fields, values) {
  return fields.map(({ name, kind }, place) => {
    const id = `field-${place}`;
    const single = kind === "integer" || kind === "decimal";
    const hint = HINTS.get(name) ?? (kind === "json" ? "values in JSON" : "");
    const value = values.get(name) ?? (single ? "0" : "");
    const box = single
      ? element("input", { type: "number", step: kind === "integer" ? "1" : "any" })
      : element("textarea", { rows: name === "text" || name === "context" ? 4 : 2, dir: "auto" });
    Object.assign(box, { id, name, value, autocomplete: "off", spellcheck: false });
    const label = element("label", { htmlFor: id }, name[0].toUpperCase() + name.slice(1));
    if (hint) label.append(" ", element("span", { className: "soft" }, `(${hint})`));
    return element("p", {}, label, box);
  });
}

/**
 * What is sent for the values that were typed.
 *
 * @param {Field[]} fields
 * @param {Map<string, string>} values
 * @returns {?Object<string, any>} `null` if something is missing
 * @throws {SyntaxError} if a value is not what its field takes
 */
export function rowOf(fields, values) {
  const row = {};
  // What was said before may be nothing; every other text says what is asked.
  const needed = ({ name, kind }) => kind !== "text" || name !== "history" || fields.length === 1;
  for (const field of fields) {
    const typed = values.get(field.name) ?? "";
    if (needed(field) && !typed.trim()) return null;
    const value = field.kind === "text" ? typed : readValue(field, typed);
    row[field.name] = field.batched && field.kind !== "json" ? [value] : value;
  }
  return row;
}

function readValue({ name, kind }, typed) {
  try {
    return kind === "json" ? JSON.parse(typed) : Number(typed);
  } catch (error) {
    throw new SyntaxError(`${name} is to be JSON. ${error.message}`);
  }
}
