/* The same as onnx_stream.py in JavaScript; needs `npm install onnxruntime-web` (or onnxruntime-node).

ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 -s 256x256 - | node examples/onnx_stream.mjs out 256x256 > copy.rgb
*/
import { readFileSync, readSync, writeSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-web";

const [folder, size] = process.argv.slice(2);
const [width, height] = size.split("x").map(Number);
const manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, "utf8"));
const graphs = {};
for (const [name, { file }] of Object.entries(manifest.graphs))
  graphs[name] = await InferenceSession.create(readFileSync(`${folder}/${file}`));
const state = {};

async function step(half, name, data) {
  const feed = { [name]: data, ...state[half] };
  if (state[half])
    feed.attention_context = new Tensor("int64", BigInt64Array.of(BigInt(manifest.attention_context_for_all)), []);
  const results = await graphs[state[half] ? `${half}_next` : `${half}_first`].run(feed);
  state[half] = Object.fromEntries(manifest.state[half].map((part) => [`past.${part.name}`, results[`present.${part.name}`]]));
  return Object.values(results)[0];
}

/** As many bytes as there are, up to `length`. */
function read(length) {
  const bytes = new Uint8Array(length);
  let filled = 0;
  for (let got; filled < length && (got = readSync(0, bytes, filled, length - filled)); ) filled += got;
  return bytes.subarray(0, filled);
}

const area = height * width;
for (let count = 1, bytes; (bytes = read(count * area * 3)).length; count = manifest.config.temporal_factor) {
  const there = bytes.length / (area * 3); // at the end less than a group: its last frame is repeated
  const frames = new Float32Array(3 * count * area);
  for (let i = 0; i < frames.length; i++) {
    const [channel, frame, pixel] = [Math.floor(i / (count * area)), Math.floor(i / area) % count, i % area];
    frames[i] = bytes[(Math.min(frame, there - 1) * area + pixel) * 3 + channel] / 127.5 - 1;
  }
  const tokens = await step("encoder", "frames", new Tensor("float32", frames, [1, 3, count, height, width]));
  const copy = await step("decoder", "tokens", tokens);
  const pixels = bytes.map((_, i) => {
    const [frame, pixel, channel] = [Math.floor(i / (area * 3)), Math.floor(i / 3) % area, i % 3];
    return Math.round((Math.min(1, Math.max(-1, copy.data[(channel * count + frame) * area + pixel])) + 1) * 127.5);
  });
  for (let done = 0; done < pixels.length; ) done += writeSync(1, pixels, done);
}
