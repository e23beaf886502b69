/** The worker that runs models, as the page sees it: questions to it, and their answers. */

/** @typedef {import("./engine.js").Entry} Entry */
/** @typedef {import("./worker.js").Step} Step */
/** @typedef {{resolve: (answer: any) => void, reject: (error: Error) => void}} Waiting */

export class Models {
  constructor() {
    /** @type {Worker | null} */
    this.worker = null;
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    this.asked = 0;
    this.loaded = ""; // which model, and where it computes
    this.threads = 1;
  }

  /**
   * Loads a model, unless it is there.
   * @param {Entry} entry
   * @param {boolean} gpu
   * @returns {Promise<void>}
   */
  async load(entry, gpu) {
    const wanted = `${entry.name} ${gpu}`;
    if (this.worker && wanted === this.loaded) return;
    this.loaded = wanted; // what comes next waits its turn in the worker
    this.threads = (await this.ask("load", { entry, gpu })).threads;
  }

  /**
   * Begins a stream.
   * @param {number | null} context latent frames that attention looks back on; all, if null
   * @returns {Promise<void>}
   */
  start(context) {
    return this.ask("start", { context });
  }

  /**
   * @param {import("./pixels.js").Picture[]} frames
   * @param {number} count frames of the step
   * @returns {Promise<Step>}
   */
  step(frames, count) {
    return this.ask("step", { frames, count });
  }

  /**
   * @param {string} what
   * @param {object} request
   * @returns {Promise<any>}
   */
  ask(what, request) {
    const worker = (this.worker ??= this.begin());
    const id = this.asked++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      worker.postMessage({ id, what, ...request });
    });
  }

  begin() {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.onmessage = (/** @type {MessageEvent} */ { data: { id, answer, error } }) => {
      if (error !== undefined) return this.fail(error);
      this.waiting.get(id)?.resolve(answer);
      this.waiting.delete(id);
    };
    worker.onerror = (/** @type {ErrorEvent} */ event) => this.fail(event.message ?? "worker.js");
    return worker;
  }

  /**
   * Ends a worker in which something failed, memory perhaps: it would fail again. The next question begins another.
   * @param {string} reason
   */
  fail(reason) {
    this.worker?.terminate();
    this.worker = null;
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    for (const { reject } of waiting) reject(new Error(reason));
  }
}
