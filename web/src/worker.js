/** Runs models beside the page, so that it stays responsive: one request after the other. */

import * as cpu from "onnxruntime-web/wasm";
import { Model, Stream } from "./engine.js";
import { bitsPerPixel, squaredError, toPicture, toTensor } from "./pixels.js";
import { indexPictures, latentPictures, principalComponents } from "./views.js";

/** @typedef {import("./pixels.js").Picture} Picture */
/**
 * What one step gave.
 * @typedef {object} Step
 * @property {Picture[]} frames the reconstruction
 * @property {Picture[]} tokens one per latent frame
 * @property {number[]} errors mean squared error of each frame
 * @property {number} count of tokens
 * @property {number} bits of them per pixel of all frames of the step
 * @property {number} codes how many different ones the stream has had so far; 0 for latents
 * @property {number} seconds of computing
 */

cpu.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
// Half of what there is: threads that wait for one another spin, and the page and the camera need their turn.
const threads = Math.min(8, Math.ceil((navigator.hardwareConcurrency || 1) / 2));
cpu.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;

/** @type {Model | null} */
let model = null;
/** @type {{encoder: Stream, decoder: Stream, basis: import("./views.js").Basis | null, codes: Set<number>} | null} */
let stream = null;

/** @param {string} url */
async function bytesOf(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

const requests = {
  /** @param {{entry: import("./engine.js").Entry, gpu: boolean}} request */
  async load({ entry, gpu }) {
    await model?.release();
    model = stream = null;
    let ort = cpu;
    if (gpu) {
      ort = /** @type {typeof cpu} */ (await import("onnxruntime-web/webgpu"));
      ort.env.wasm.wasmPaths = cpu.env.wasm.wasmPaths;
    }
    const get = (/** @type {string} */ file) => bytesOf(`./models/${entry.name}/${file}`);
    model = await Model.load(ort, entry, get, gpu ? ["webgpu", "wasm"] : ["wasm"]);
    return { threads: cpu.env.wasm.numThreads ?? 1 };
  },

  /** @param {{context: number | null}} request */
  async start({ context }) {
    const loaded = /** @type {Model} */ (model);
    const [encoder, decoder] = [new Stream(loaded, "encoder", context), new Stream(loaded, "decoder", context)];
    stream = { encoder, decoder, basis: null, codes: new Set() };
  },

  /**
   * @param {{frames: Picture[], count: number}} request `count` is how many frames the step has; the last is repeated
   * @returns {Promise<Step>}
   */
  async step({ frames, count }) {
    if (!model || !stream) throw new Error("no stream has been started");
    const { ort, entry } = model;
    const begin = performance.now();
    const { data, dims } = toTensor(frames, entry.spatial, count);
    const tokens = await stream.encoder.step(new ort.Tensor("float32", data, dims));
    const decoded = await stream.decoder.step(tokens);
    const seconds = (performance.now() - begin) / 1000;
    const pixels = /** @type {Float32Array} */ (decoded.data);
    const copies = frames.map(({ width, height }, t) => toPicture(pixels, decoded.dims, t, width, height));
    const places = tokens.dims.slice(-3).reduce((a, b) => a * b, 1);
    let pictures;
    if (entry.discrete) {
      const indices = /** @type {Int32Array} */ (tokens.data);
      for (const index of indices) stream.codes.add(index);
      pictures = indexPictures(indices, tokens.dims, entry.levels);
    } else {
      const latents = /** @type {Float32Array} */ (tokens.data);
      stream.basis ??= principalComponents(latents, tokens.dims);
      pictures = latentPictures(latents, tokens.dims, stream.basis);
    }
    return {
      frames: copies,
      tokens: pictures,
      errors: copies.map((copy, t) => squaredError(copy, frames[t])),
      count: places,
      bits: bitsPerPixel(entry, places, frames.length * frames[0].width * frames[0].height),
      codes: stream.codes.size,
      seconds,
    };
  },
};

/** @type {Promise<unknown>} */
let before = Promise.resolve();
self.onmessage = ({ data: { id, what, ...request } }) => {
  before = before.then(async () => {
    try {
      const answer = await requests[/** @type {keyof typeof requests} */ (what)](request);
      self.postMessage({ id, answer });
    } catch (error) {
      self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  });
};
