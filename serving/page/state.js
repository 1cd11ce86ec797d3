/** What is chosen and typed. It stands in the fragment of the address: a link shows it again. */

const INPUT = "in.";
const CHOICES = ["model", "version", "label", "signature", "layer", "head", "pieces", "word"];

/**
 * @typedef {Object} State
 * @property {string} model name of the model
 * @property {string} version number of a version, or "" for the newest or the labelled one
 * @property {string} label label of a version, or ""
 * @property {string} signature name of a signature, or "" for the one that shows most
 * @property {string} layer number of a layer from 1, or "" for the model's own alignment
 * @property {string} head number of a head from 1, or "" for the mean of all
 * @property {string} pieces "1" if tokens are shown as they are
 * @property {string} word what is pointed at: "t3" is the fourth word that was written
 * @property {Map<string, string>} inputs what was typed, by name of the input
 */

/**
 * Reads a state.
 *
 * @param {string} fragment such as `#model=en-de&in.text=a+house`
 * @returns {State}
 */
export function readState(fragment) {
  const state = { inputs: new Map() };
  for (const name of CHOICES) state[name] = "";
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    if (name.startsWith(INPUT)) state.inputs.set(name.slice(INPUT.length), value);
    else if (CHOICES.includes(name)) state[name] = value;
  }
  return state;
}

/**
 * The fragment that `readState` reads; what is empty is left out.
 *
 * @param {State} state
 */
export function writeState(state) {
  const fields = new URLSearchParams();
  for (const name of CHOICES) if (state[name]) fields.set(name, state[name]);
  for (const [name, value] of state.inputs) if (value) fields.set(INPUT + name, value);
  const text = fields.toString();
  return text && `#${text}`;
}
