/* Tokens of raw frames, and what they become, by the page's own code: node tokens.mjs MODELS NAME WIDTHxHEIGHT < rgba > out

MODELS is the folder with index.json. Writes the tokens of all steps (int32 or float32), then the copies (RGBA). */
import { readFileSync, writeSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { Model, Stream } from "../src/engine.js";
import { toPicture, toTensor } from "../src/pixels.js";

const [folder, name, size] = process.argv.slice(2);
const [width, height] = size.split("x").map(Number);
const entry = JSON.parse(readFileSync(`${folder}/index.json`, "utf8")).find((found) => found.name === name);
const model = await Model.load(ort, entry, async (file) => new Uint8Array(readFileSync(`${folder}/${name}/${file}`)));
const [encoder, decoder] = [new Stream(model, "encoder"), new Stream(model, "decoder")];
const bytes = readFileSync(0);
const area = 4 * width * height;
const frames = Array.from({ length: bytes.length / area }, (_, t) => ({
  width,
  height,
  data: new Uint8ClampedArray(bytes.subarray(t * area, (t + 1) * area)),
}));
const [tokens, copies] = [[], []];
for (let done = 0; done < frames.length; ) {
  const count = entry.kind === "image" || done === 0 ? 1 : entry.temporal;
  const { data, dims } = toTensor(frames.slice(done, done + count), entry.spatial, count);
  const found = await encoder.step(new ort.Tensor("float32", data, dims));
  const copy = await decoder.step(found);
  tokens.push(found.data);
  for (let t = 0; t < Math.min(count, frames.length - done); t++)
    copies.push(toPicture(copy.data, copy.dims, t, width, height).data);
  done += count;
}
for (const part of [...tokens, ...copies]) {
  const out = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  for (let at = 0; at < out.length; ) at += writeSync(1, out, at);
}
