/** What comes back: an answer with its attention, an error, or nothing yet. */

import { drawAnswer } from "./answer.js";
import { chooseWeights, readAttention } from "./attention.js";
import { Alignment, byId, element, fillSelect } from "./viewer.js";
import { joinShares, joinTokens, joinWeights } from "./words.js";

const numbered = (list) =>
  list.map((_, place) => ({ value: String(place + 1), text: String(place + 1) }));

/** The part of the page below the question and beside it. */
export class View {
  /**
   * @param {function(): import("./state.js").State} state what is chosen now
   * @param {function(Object): void} chose is told of changes of the state
   */
  constructor(state, chose) {
    this.state = state;
    this.attention = null;
    this.alignment = new Alignment(
      { source: byId("source"), target: byId("target"), said: byId("said"), map: byId("map") },
      (word) => chose({ word }),
    );
    const listen = (id, changesOf) =>
      byId(id).addEventListener("change", ({ target }) => {
        chose(changesOf(target));
        this.#drawAttention();
      });
    listen("layer", ({ value }) => ({ layer: value, head: "" }));
    listen("head", ({ value }) => ({ head: value }));
    listen("pieces", ({ checked }) => ({ pieces: checked ? "1" : "", word: "" }));
  }

  /** Shows that what stands there was said to another question. */
  markOld() {
    for (const id of ["answer", "attention"]) byId(id).classList.add("old");
  }

  /**
   * Shows the outputs for one row.
   *
   * @param {Map<string, any>} row by name
   */
  showAnswer(row) {
    this.showNothing("");
    this.attention = readAttention(row);
    byId("answer").replaceChildren(...drawAnswer(row, Boolean(this.attention)));
    byId("attention").hidden = !this.attention;
    if (this.attention) this.#drawAttention();
  }

  #drawAttention() {
    const { heads, own, source, target, copied } = this.attention;
    const { layer, head, pieces, word } = this.state();
    for (const choice of document.querySelectorAll(".of-heads")) choice.hidden = !heads;
    const whole = { value: "", text: own ? "alignment" : "mean" };
    const chosenLayer = fillSelect(byId("layer"), [whole, ...numbered(heads ?? [])], layer);
    const ofLayer = numbered(heads?.[Number(chosenLayer) - 1] ?? []);
    const chosenHead = fillSelect(byId("head"), [{ value: "", text: "mean" }, ...ofLayer], head);
    byId("pieces").checked = Boolean(pieces);
    const targets = joinTokens(target, !pieces);
    const sources = joinTokens(source, !pieces);
    const weights = chooseWeights(this.attention, chosenLayer, chosenHead);
    const ofWords = joinWeights(weights, targets, sources);
    this.alignment.show(targets, sources, ofWords, copied && joinShares(copied, targets), word);
  }

  /** Shows no answer, and says why. */
  showNothing(why) {
    byId("error").hidden = true;
    byId("error").replaceChildren();
    byId("answer").replaceChildren();
    byId("attention").hidden = true;
    for (const id of ["answer", "attention"]) byId(id).classList.remove("old");
    this.say(why);
  }

  /** Says in a few words what goes on. */
  say(text) {
    byId("status").textContent = text;
  }

  /** Shows what went wrong, in the words of who found it. */
  showError({ message, status }) {
    this.showNothing("");
    const title = status ? [element("strong", {}, `The server says (${status}):`)] : [];
    byId("error").append(...title, element("p", { dir: "auto" }, message));
    byId("error").hidden = false;
  }
}
