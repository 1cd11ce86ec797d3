/** Which model, version and signature: what the server has, and what is chosen of it. */

import { byId, element, fillSelect } from "./viewer.js";
import { describeSignature, readSignatures } from "./fields.js";
import { ServerError } from "./server.js";

const NEWEST = { value: "", text: "newest" };
const VERSION = "version:";
const LABEL = "label:";

/** The three choices above the question. */
export class Choices {
  /**
   * @param {import("./server.js").Server} server
   * @param {function(): import("./state.js").State} state what is chosen now
   * @param {function(Object, boolean): void} chose is told of changes of the state, and whether
   *   another model or version is to be opened
   */
  constructor(server, state, chose) {
    this.server = server;
    this.state = state;
    this.models = null;
    this.signatures = [];
    this.reading = null; // stops what is being read about a model
    const listen = (id, handle) =>
      byId(id).addEventListener("change", ({ target }) => handle(target.value.trim()));
    const anew = { version: "", label: "", signature: "", layer: "", head: "", word: "" };
    listen("model-place", (model) => chose({ ...anew, model }, true));
    listen("version", (value) => {
      const part = (kind) => (value.startsWith(kind) ? value.slice(kind.length) : "");
      chose({ version: part(VERSION), label: part(LABEL), word: "" }, true);
    });
    listen("signature", (signature) => chose({ signature, word: "" }, false));
  }

  /** The signature that is chosen, if there is one. */
  get signature() {
    return this.signatures.find(({ name }) => name === byId("signature").value);
  }

  /** The signature for whole texts, if the model has one and no other was chosen. */
  get document() {
    return !this.state().signature && this.signatures.find(({ name }) => name === "document");
  }

  /** The signature that a row is sent to: a text of several lines is a document. */
  signatureFor(row) {
    const lines = String(row.text ?? "").trim().includes("\n");
    return (lines && this.document) || this.signature;
  }

  /** Asks the server which models it has; one that does not say is told a name. */
  async readModels() {
    this.models = await this.server.models();
  }

  /** Rows to ask the chosen model, which the server takes from its warm-up requests. */
  get examples() {
    const { model } = this.state();
    return this.models?.find(({ name }) => name === model)?.examples ?? [];
  }

  /** Draws the choice of a model: from a list, or by name. Returns the name. */
  drawModels() {
    const { model } = this.state();
    if (!this.models) {
      const options = { id: "model", value: model, placeholder: "name", spellcheck: false };
      const box = element("input", { type: "text", autocapitalize: "none", ...options });
      byId("model-place").replaceChildren(box);
      return model;
    }
    const select = element("select", { id: "model" });
    byId("model-place").replaceChildren(select);
    const names = this.models.map(({ name }) => name);
    if (model && !names.includes(model)) names.unshift(model); // to be told what is wrong with it
    const options = names.map((name) => ({ value: name, text: name }));
    return fillSelect(select, options, model);
  }

  /** Empties the choices that depend on the model, and ends what is being read for them. */
  clear() {
    this.reading?.abort();
    fillSelect(byId("version"), [NEWEST], "");
    this.#drawSignatures({});
  }

  /**
   * Reads the versions and signatures of the chosen model.
   *
   * @throws {ServerError} why there are none
   */
  async open() {
    this.clear();
    const { model, version, label } = this.state();
    const { signal } = (this.reading = new AbortController());
    const states = await this.server.versions(model, signal);
    this.#drawVersions(states);
    try {
      this.#drawSignatures(await this.server.signatures(model, version, label, signal));
    } catch (error) {
      throw withReasons(error, states);
    }
  }

  #drawVersions(states) {
    const { model, version, label } = this.state();
    const numbers = states
      .filter(({ state }) => state === "AVAILABLE")
      .map((status) => status.version);
    const labelled = this.models?.find(({ name }) => name === model)?.labels ?? {};
    const labels = Object.keys(labelled);
    if (version && !numbers.includes(version)) numbers.push(version);
    if (label && !labels.includes(label)) labels.push(label);
    const options = [
      NEWEST,
      ...labels.map((name) => {
        const number = name in labelled ? ` (${labelled[name]})` : "";
        return { value: LABEL + name, text: name + number };
      }),
      ...numbers.map((number) => ({ value: VERSION + number, text: number })),
    ];
    const chosen = version ? VERSION + version : label && LABEL + label;
    fillSelect(byId("version"), options, chosen);
  }

  #drawSignatures(described) {
    this.signatures = readSignatures(described);
    const options = this.signatures.map((signature) => {
      return { value: signature.name, text: describeSignature(signature) };
    });
    const none = { value: "", text: "\u2013" };
    fillSelect(byId("signature"), options.length ? options : [none], this.state().signature);
  }
}

/** The same error with the reasons why versions of the model could not be loaded. */
function withReasons(error, states) {
  const reasons = states
    .filter(({ status }) => status?.error_message)
    .map(({ version, status }) => `Version ${version}: ${status.error_message}`);
  if (!(error instanceof ServerError) || !reasons.length) return error;
  return new ServerError([error.message, ...reasons].join("\n"), error.status);
}
