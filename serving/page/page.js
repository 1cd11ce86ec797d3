/** The page: what is chosen and typed is asked of the server, and its answer is shown. */

import { firstRow } from "./answer.js";
import { Choices } from "./choices.js";
import { byId, element } from "./viewer.js";
import { drawFields, rowOf } from "./fields.js";
import { Server, ServerError } from "./server.js";
import { readState, writeState } from "./state.js";
import { View } from "./view.js";

const PAUSE = 300; // milliseconds without a key after which a text is asked

/** What goes on between the fields, the server and the view. */
class Page {
  /** @param {Server} server */
  constructor(server) {
    this.server = server;
    this.state = readState(location.hash);
    this.asking = null; // stops the request under way
    this.askAgain = false; // something was typed since it was sent
    this.view = new View(
      () => this.state,
      (changes) => this.#change(changes),
    );
    this.choices = new Choices(
      server,
      () => this.state,
      (changes, other) => this.#choose(changes, other),
    );
    this.#listen();
  }

  #listen() {
    for (const event of ["input", "compositionend"]) {
      byId("fields").addEventListener(event, (typed) => this.#typed(typed));
    }
    byId("question").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    byId("question").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#ask();
    });
    byId("copy").addEventListener("click", () => {
      this.#writeAddress();
      copyAddress();
    });
    addEventListener("hashchange", () => {
      this.state = readState(location.hash);
      this.#open();
    });
  }

  /** Lists the models, and opens the one of the address. */
  async start() {
    byId("server").textContent = this.server.base.href.replace(/\/$/, "");
    // TensorFlow Serving has no list; where the page comes from, one may lie beside it.
    if (!this.server.elsewhere) await this.choices.readModels();
    await this.#open();
  }

  /** Takes changes into the state, and the state into the address. */
  #change(changes) {
    Object.assign(this.state, changes);
    this.#writeAddress();
  }

  #writeAddress() {
    try {
      history.replaceState(null, "", location.pathname + location.search + writeState(this.state));
    } catch {
      // Of a key held down come more addresses than some browsers take in that time, and of a long
      // text one that is too long. Asking does without; it is written again with the next change.
    }
  }

  #choose(changes, other) {
    this.#change(changes);
    return other ? this.#open() : this.#begin();
  }

  /** Opens the chosen model, and asks what is typed. */
  async #open() {
    this.#stopAsking();
    this.state.model = this.choices.drawModels();
    const { model } = this.state;
    this.choices.clear();
    this.#drawFields();
    byId("more").open ||= this.choices.models?.length !== 1;
    if (!model) {
      const none = "The server has no models yet.";
      this.view.showNothing(this.choices.models ? none : "Type the name of a model.");
      return;
    }
    this.view.showNothing(`Reading about ${model} \u2026`);
    try {
      await this.choices.open();
    } catch (error) {
      this.#showError(error);
      return;
    }
    await this.#begin();
  }

  /** Draws the fields of the chosen signature, and asks what is typed. */
  #begin() {
    this.#drawFields();
    this.view.showNothing("");
    return this.#ask();
  }

  #drawFields() {
    const fields = this.choices.signature?.fields ?? [];
    const examples = this.choices.examples.filter((row) => fields.some(({ name }) => name in row));
    if (fields.length && examples.length && !this.state.inputs.size) this.#take(examples.at(-1));
    byId("fields").replaceChildren(...drawFields(fields, this.state.inputs));
    byId("examples").hidden = !examples.length;
    byId("examples").replaceChildren(...examples.map((row) => this.#exampleButton(row)));
    byId("ask").disabled = !this.choices.signature;
  }

  /** Takes the texts of an example for what was typed. */
  #take(row) {
    for (const [name, text] of Object.entries(row)) this.state.inputs.set(name, text);
  }

  #exampleButton(row) {
    const button = element("button", { type: "button", dir: "auto" }, Object.values(row).join(" "));
    button.addEventListener("click", () => {
      this.#take(row);
      this.#change({ word: "" });
      this.#begin();
    });
    return button;
  }

  #typed({ target, isComposing }) {
    this.state.inputs.set(target.name, target.value);
    this.#change({ word: "" });
    if (isComposing) return; // Chinese is typed in letters first, which nobody wants answered
    this.view.markOld();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#askSoon(), PAUSE);
  }

  /** Asks, or asks again after the request under way: of typing a server never gets two. */
  #askSoon() {
    if (this.asking) this.askAgain = true;
    else this.#ask();
  }

  #stopAsking() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = null;
    this.askAgain = false;
  }

  /** Asks what is typed now, in place of what is under way. */
  async #ask() {
    this.#stopAsking();
    if (!this.choices.signature) return;
    const asking = (this.asking = new AbortController());
    try {
      const { fields } = this.choices.signature;
      const row = rowOf(fields, this.#values(fields));
      if (row) await this.#askFor(this.choices.signatureFor(row), row, asking.signal);
      else this.view.showNothing("Type a text: the answer comes by itself.");
    } catch (error) {
      this.#showError(error);
    }
    if (this.asking !== asking) return;
    this.asking = null;
    if (this.askAgain) this.#ask();
  }

  async #askFor(signature, row, signal) {
    const { model, version, label } = this.state;
    this.view.say("Asking \u2026");
    const start = performance.now();
    const target = { model, version, label, signature: signature.name };
    const outputs = firstRow(await this.server.predict(target, row, signal), signature.outputs);
    const whole = outputs.get("truncated") === true && this.choices.document;
    if (whole && whole !== signature) return this.#askFor(whole, row, signal);
    const time = Math.round(performance.now() - start);
    this.view.showAnswer(outputs);
    const which = version ? `, version ${version},` : label && `, ${label},`;
    this.view.say(`${model}${which} answered in ${time} ms`);
    if (this.askAgain) this.view.markOld();
  }

  /** What stands in the fields, with the values of those in which nobody typed. */
  #values(fields) {
    const boxes = [...byId("fields").querySelectorAll("input, textarea")];
    return new Map(fields.map(({ name }, place) => [name, boxes[place].value]));
  }

  #showError(error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof ServerError || error instanceof SyntaxError)) throw error;
    this.view.showError(error);
  }
}

async function copyAddress() {
  const said = byId("copied");
  try {
    await navigator.clipboard.writeText(location.href);
    said.textContent = "Copied";
  } catch {
    said.textContent = "Copy it from the address bar"; // no permission, or no secure address
  }
  setTimeout(() => (said.textContent = ""), 2000);
}

try {
  await new Page(Server.ofPage(location.href)).start();
} catch (error) {
  if (!(error instanceof ServerError)) throw error;
  byId("error").textContent = error.message;
  byId("error").hidden = false;
}
