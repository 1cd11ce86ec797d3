/** Asking a TensorFlow Serving over REST, the official one or the local one. */

/** What a server answered in place of a result, or why it could not be asked. */
export class ServerError extends Error {
  /**
   * @param {string} message the server's words
   * @param {number} status of HTTP; 0 if there was no answer
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// The text before a number that JSON has no word for, but TensorFlow Serving writes.
const STRINGS_AND_NUMBERS = /"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g;

/** Reads a reply; numbers that are none become null. */
export function parseReply(text) {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(text.replace(STRINGS_AND_NUMBERS, (part) => (part[0] === '"' ? part : "null")));
  }
}

/** One server. */
export class Server {
  /**
   * @param {URL} base the address that `v1/models` is below; its path ends with a slash
   * @param {boolean} elsewhere whether it is not the one that the page comes from
   */
  constructor(base, elsewhere = false) {
    this.base = base;
    this.elsewhere = elsewhere;
  }

  /**
   * The server that a page asks: the one it comes from, or that of `?server=`.
   *
   * @param {string} address of the page
   */
  static ofPage(address) {
    const page = new URL(address);
    const given = page.searchParams.get("server");
    if (given === null) return new Server(new URL(".", page.origin + page.pathname));
    if (!/^https?:\/\/[^/]/i.test(given) || !URL.canParse(given)) {
      throw new ServerError(`?server= is http://host:port or https://host:port. Received: ${given}`, 0);
    }
    const base = new URL(given);
    base.hash = base.search = "";
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    return new Server(base, true);
  }

  /**
   * The models, as they are listed beside the page; `null` where they are not.
   *
   * @returns {Promise<?{name: string, versions: number[], labels: Object<string, number>}[]>}
   */
  async models() {
    try {
      return (await this.#ask("models.json")).models ?? null;
    } catch (error) {
      if (error instanceof ServerError) return null;
      throw error;
    }
  }

  /** The versions of a model and their states, the highest first. */
  async versions(model, signal) {
    return (await this.#ask(modelPath(model), { signal })).model_version_status ?? [];
  }

  /** The signatures of a version, as TensorFlow describes them. */
  async signatures(model, version, label, signal) {
    const reply = await this.#ask(`${modelPath(model, version, label)}/metadata`, { signal });
    return reply.metadata?.signature_def?.signature_def ?? {};
  }

  /**
   * Runs a signature on one row.
   *
   * @param {{model: string, version: string, label: string, signature: string}} target
   * @param {Object<string, any>} inputs a batch of one row for each input
   * @returns {Promise<Object<string, any>|any>} the outputs by name; a single one without its name
   */
  async predict({ model, version, label, signature }, inputs, signal) {
    const body = JSON.stringify({ signature_name: signature, inputs });
    const headers = { "Content-Type": "application/json" };
    const options = { method: "POST", body, headers, signal };
    return (await this.#ask(`${modelPath(model, version, label)}:predict`, options)).outputs;
  }

  async #ask(path, options = {}) {
    let reply, text;
    try {
      reply = await fetch(new URL(path, this.base), { credentials: "omit", ...options });
      text = await reply.text();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(this.#unreachable(error), 0);
    }
    let document;
    try {
      document = parseReply(text);
    } catch {
      const said = reply.ok ? "This is no answer of TensorFlow Serving" : reply.statusText;
      throw new ServerError(`${said}: ${text.slice(0, 200)}`, reply.status);
    }
    if (!reply.ok) throw new ServerError(document.error ?? text, reply.status);
    return document;
  }

  #unreachable(error) {
    const advice = this.elsewhere
      ? " From another address than this page's it has to allow that: " +
        "--rest_api_enable_cors_support (and a page of the local server asks nobody else)."
      : " Is it still running?";
    return `${this.base.origin} does not answer: ${error.message}.${advice}`;
  }
}

function modelPath(model, version, label) {
  const path = `v1/models/${encodeURIComponent(model)}`;
  if (version) return `${path}/versions/${encodeURIComponent(version)}`;
  return label ? `${path}/labels/${encodeURIComponent(label)}` : path;
}
