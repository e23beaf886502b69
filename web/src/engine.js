/** Exported models at work: streams of frames to tokens and of tokens to frames, one step at a time. */

/** @typedef {import("onnxruntime-web").Tensor} Tensor */
/** @typedef {import("onnxruntime-web").InferenceSession} Session */
/** @typedef {{name: string, frames: number | null}} StatePart one tensor that a stream remembers */
/**
 * A model as the build lists it.
 * @typedef {object} Entry
 * @property {string} name
 * @property {"image" | "video"} kind
 * @property {boolean} discrete
 * @property {number} spatial pixels to a token, in each direction
 * @property {number} temporal frames to a token
 * @property {number} channels values of a latent
 * @property {number[]} levels of FSQ
 * @property {number} bytes to load
 * @property {string[]} graphs names of the files, without ".onnx"
 * @property {Record<string, StatePart[]>} state of each half
 */
/** @typedef {(path: string) => Promise<Uint8Array>} Fetch */

const EVERYTHING = 2n ** 31n - 1n; // the attention context that looks back on the whole stream

/** The encoder or the decoder of a model, from the start of a stream on. */
export class Stream {
  /**
   * @param {Model} model
   * @param {"encoder" | "decoder"} half
   * @param {number | null} context how many latent frames attention looks back on; all, if null
   */
  constructor(model, half, context = null) {
    this.model = model;
    this.half = half;
    this.context = context;
    /** @type {Record<string, Tensor> | null} */
    this.past = null;
  }

  /**
   * Frames (1, 3, T, H, W) in [-1, 1] to tokens, or tokens to frames. T is 1 in the first step of a video model, then a
   * multiple of its temporal factor.
   * @param {Tensor} data
   * @returns {Promise<Tensor>}
   */
  async step(data) {
    const { ort, sessions, entry } = this.model;
    const image = entry.kind === "image";
    const session = sessions[image ? this.half : `${this.half}_${this.past ? "next" : "first"}`];
    /** @type {Record<string, Tensor>} */
    const feed = { [this.half === "encoder" ? "frames" : "tokens"]: data };
    if (this.past) {
      const context = this.context === null ? EVERYTHING : BigInt(this.context);
      Object.assign(feed, this.past, { attention_context: new ort.Tensor("int64", BigInt64Array.of(context), []) });
    }
    const results = await session.run(feed);
    if (!image) {
      this.past = {};
      for (const part of entry.state[this.half]) {
        const value = results[`present.${part.name}`];
        this.past[`past.${part.name}`] =
          part.frames === null && this.context !== null ? last(ort, value, this.context - 1) : value;
      }
    }
    return results[session.outputNames[0]];
  }
}

/**
 * The last frames of (1, frames, height, width, channels), at most `count`.
 * @param {typeof import("onnxruntime-web")} ort
 * @param {Tensor} value
 * @param {number} count
 */
function last(ort, value, count) {
  const [batch, frames, ...rest] = value.dims;
  if (frames <= count) return value;
  const size = rest.reduce((a, b) => a * b, 1);
  const data = /** @type {Float32Array} */ (value.data).slice((frames - count) * size);
  return new ort.Tensor("float32", data, [batch, count, ...rest]);
}

/** A model, loaded. */
export class Model {
  /**
   * @param {typeof import("onnxruntime-web")} ort
   * @param {Entry} entry
   * @param {Record<string, Session>} sessions
   */
  constructor(ort, entry, sessions) {
    this.ort = ort;
    this.entry = entry;
    this.sessions = sessions;
  }

  /**
   * @param {typeof import("onnxruntime-web")} ort
   * @param {Entry} entry
   * @param {Fetch} get gives a file of the model's folder
   * @param {string[]} providers of ONNX Runtime
   */
  static async load(ort, entry, get, providers = ["wasm"]) {
    const weights = await get("weights.bin"); // of all graphs; each says which parts are its own
    /** @type {Record<string, Session>} */
    const sessions = {};
    for (const name of entry.graphs) {
      sessions[name] = await ort.InferenceSession.create(await get(`${name}.onnx`), {
        executionProviders: providers,
        externalData: [{ path: "weights.bin", data: weights }],
      });
    }
    return new Model(ort, entry, sessions);
  }

  async release() {
    for (const session of Object.values(this.sessions)) await session.release();
  }
}
