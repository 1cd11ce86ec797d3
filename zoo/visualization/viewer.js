/**
 * The viewer of attention: words that were read and written, with the weights between them.
 * Pointing at a word shows what it looked at, or who looked at it. No text is ever read as markup.
 */

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 *
 * @param {string} tag
 * @param {Object} properties set on it, such as `className`; names with a dash are attributes
 * @param {...(Node|string)} children a string becomes text
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || !(name in made)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/**
 * Fills a list of choices.
 *
 * @param {HTMLSelectElement} select
 * @param {{value: string, text: string}[]} options
 * @param {string} chosen the value to choose; the first option if there is none of that value
 * @returns {string} the value that is chosen now
 */
export function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(({ value, text }) => element("option", { value }, text)));
  const found = options.some(({ value }) => value === chosen);
  select.value = found ? chosen : (options[0]?.value ?? "");
  select.disabled = options.length < 2;
  return select.value;
}

const INVITATION = "Point at a word, or reach one with Tab and the arrow keys, to see its weights.";
const SHOWN = 0.05; // of smaller shares only the largest is named
const NAMED = 3; // shares said in words
// Written downwards; all other words are turned, to be read from bottom to top.
const WIDE = /^[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+$/;

// Directions of writing do not mix with those of the sentence around a word.
const isolated = (text) => `\u2068${text}\u2069`;
const percent = (share) => `${Math.round(100 * share)}%`;

/** Two rows of words with the weights between them. One stop of the tab key for each row. */
export class Alignment {
  /**
   * @param {{source: HTMLElement, target: HTMLElement, said: HTMLElement, map: HTMLElement}} places
   * @param {function(string): void} chose is told what is pointed at for good: "t3", "s0" or ""
   */
  constructor(places, chose) {
    this.places = places;
    this.chose = chose;
    this.chosen = "";
    places.map.addEventListener("toggle", () => this.#drawMap());
  }

  /**
   * Shows words and weights.
   *
   * @param {import("./words.js").Word[]} targets
   * @param {import("./words.js").Word[]} sources
   * @param {number[][]} weights by target and source word
   * @param {?number[]} copied the share of each target word that was copied
   * @param {string} chosen what is pointed at
   */
  show(targets, sources, weights, copied, chosen) {
    this.words = { t: targets, s: sources };
    this.weights = weights;
    this.copied = copied;
    this.buttons = { t: this.#drawWords("t"), s: this.#drawWords("s") };
    this.places.target.replaceChildren(...this.buttons.t);
    this.places.source.replaceChildren(...this.buttons.s);
    this.#drawMap();
    this.chosen = this.#buttonOf(chosen) ? chosen : "";
    if (this.chosen) this.#makeStop(this.chosen[0], this.#buttonOf(chosen));
    this.#point(this.chosen);
  }

  #buttonOf(name) {
    return this.buttons[name[0]]?.[Number(name.slice(1))];
  }

  #drawWords(side) {
    return this.words[side].map((word, place) => {
      const button = element(
        "button",
        { type: "button", "aria-pressed": "false", tabIndex: place ? -1 : 0 },
        word.text,
      );
      button.classList.toggle("spaced", Boolean(this.words[side][place + 1]?.spaced));
      button.classList.toggle("symbol", word.symbol);
      const name = `${side}${place}`;
      button.addEventListener("pointerenter", () => this.#point(name));
      button.addEventListener("pointerleave", () => this.#point(this.chosen));
      button.addEventListener("focus", () => this.#choose(name));
      button.addEventListener("click", () => button.focus()); // Safari does not by itself
      button.addEventListener("keydown", (event) => this.#move(event, side, place));
      return button;
    });
  }

  #choose(name) {
    this.chosen = name;
    if (name) this.#makeStop(name[0], this.#buttonOf(name));
    this.#point(name);
    this.chose(name);
  }

  /** Makes a word the one that the tab key stops at. */
  #makeStop(side, stop) {
    for (const button of this.buttons[side]) button.tabIndex = button === stop ? 0 : -1;
  }

  #move(event, side, place) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const buttons = this.buttons[side];
    const forth = getComputedStyle(buttons[place].parentElement).direction === "rtl" ? -1 : 1;
    const steps = { ArrowRight: forth, ArrowLeft: -forth, ArrowDown: 1, ArrowUp: -1 };
    let next = place + (steps[event.key] ?? NaN);
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = buttons.length - 1;
    if (event.key === "Escape") this.#choose("");
    if (Number.isNaN(next)) return;
    event.preventDefault();
    buttons[Math.min(Math.max(next, 0), buttons.length - 1)].focus();
  }

  /** Shades what a word looked at, or who looked at it, and says it in words. */
  #point(name) {
    for (const button of [...this.buttons.t, ...this.buttons.s]) {
      button.style.removeProperty("--weight");
      delete button.dataset.percent;
      button.setAttribute("aria-pressed", "false");
    }
    const pointed = this.#buttonOf(name);
    if (!pointed) {
      this.places.said.textContent = INVITATION;
      return;
    }
    pointed.setAttribute("aria-pressed", "true");
    const place = Number(name.slice(1));
    const written = name[0] === "t";
    const others = written ? "s" : "t";
    const shares = written ? this.weights[place] : this.weights.map((row) => row[place]);
    shares.forEach((share, other) => {
      const button = this.buttons[others][other];
      button.style.setProperty("--weight", share.toFixed(3));
      if (share >= SHOWN) button.dataset.percent = percent(share);
    });
    this.places.said.textContent = this.#sentence(name[0], place, shares);
  }

  #sentence(side, place, shares) {
    const others = this.words[side === "t" ? "s" : "t"];
    const best = shares
      .map((share, other) => ({ share, other }))
      .sort((a, b) => b.share - a.share)
      .filter(({ share }, rank) => share >= SHOWN || (rank === 0 && share > 0))
      .slice(0, NAMED)
      .map(({ share, other }) => `${isolated(others[other].text)} ${percent(share)}`);
    const arrow = side === "t" ? "\u2190" : "\u2192";
    const word = isolated(this.words[side][place].text);
    const share = side === "t" && this.copied ? `, copied ${percent(this.copied[place])}` : "";
    return `${word} ${arrow} ${best.join(" \u00b7 ") || "\u2013"}${share}`;
  }

  /** Draws every weight as a number and a shade, once somebody wants to see them. */
  #drawMap() {
    const { map } = this.places;
    const place = map.querySelector(".map");
    if (!map.open || !this.words) return place.replaceChildren();
    const heads = this.words.s.map(({ text }) =>
      element("th", { scope: "col", className: WIDE.test(text) ? "" : "turned" }, element("bdi", {}, text)),
    );
    const rows = this.words.t.map(({ text }, t) => {
      const cells = this.weights[t].map((share) => {
        const cell = element("td", {}, share >= 0.005 ? String(Math.round(100 * share)) : "");
        cell.style.setProperty("--weight", share.toFixed(3));
        return cell;
      });
      const share = this.copied ? [element("small", {}, ` copied ${percent(this.copied[t])}`)] : [];
      const head = element("th", { scope: "row" }, element("bdi", {}, text), ...share);
      return element("tr", {}, head, ...cells);
    });
    return place.replaceChildren(
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, element("td"), ...heads)),
        element("tbody", {}, ...rows),
        ...(this.copied ? [this.#drawCoverage()] : []),
      ),
    );
  }

  /** The attention that each source word got in all; of a model that copies. */
  #drawCoverage() {
    const cells = this.words.s.map((_, s) => {
      const sum = this.weights.reduce((total, row) => total + row[s], 0);
      const cell = element("td", {}, String(Math.round(100 * sum)));
      cell.style.setProperty("--weight", Math.min(sum, 1).toFixed(3));
      return cell;
    });
    return element("tfoot", {}, element("tr", {}, element("th", { scope: "row" }, "coverage"), ...cells));
  }
}
