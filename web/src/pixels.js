/** Between pictures as canvases have them and tensors as models take them; and how far two pictures differ. */

/** @typedef {{width: number, height: number, data: Uint8ClampedArray}} Picture RGBA, as ImageData */

/**
 * Frames as (3, T, H, W) in [-1, 1]: right and bottom edges repeated up to multiples of `factor`, the last frame up to
 * `count`.
 * @param {Picture[]} frames all of one size
 * @param {number} factor
 * @param {number} count
 * @returns {{data: Float32Array, dims: number[]}}
 */
export function toTensor(frames, factor, count) {
  const { width, height } = frames[0];
  const wide = Math.ceil(width / factor) * factor;
  const high = Math.ceil(height / factor) * factor;
  const data = new Float32Array(3 * count * high * wide);
  for (let t = 0; t < count; t++) {
    const source = frames[Math.min(t, frames.length - 1)].data;
    for (let y = 0; y < high; y++) {
      const row = Math.min(y, height - 1) * width;
      for (let x = 0; x < wide; x++) {
        const from = 4 * (row + Math.min(x, width - 1));
        const to = (t * high + y) * wide + x;
        for (let c = 0; c < 3; c++) data[c * count * high * wide + to] = source[from + c] / 127.5 - 1;
      }
    }
  }
  return { data, dims: [1, 3, count, high, wide] };
}

/**
 * Frame `t` of (1, 3, T, H, W), cut to a size.
 * @param {Float32Array} data
 * @param {readonly number[]} dims
 * @param {number} t
 * @param {number} width
 * @param {number} height
 * @returns {Picture}
 */
export function toPicture(data, dims, t, width, height) {
  const [, , count, high, wide] = dims;
  const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        pixels[4 * (y * width + x) + c] = (data[((c * count + t) * high + y) * wide + x] + 1) * 127.5;
  return { width, height, data: pixels };
}

/**
 * Mean squared error of two pictures' colours, of 255.
 * @param {Picture} a
 * @param {Picture} b
 */
export function squaredError(a, b) {
  let sum = 0;
  for (let i = 0; i < a.data.length; i += 4)
    for (let c = 0; c < 3; c++) sum += (a.data[i + c] - b.data[i + c]) ** 2;
  return sum / ((a.data.length / 4) * 3);
}

/**
 * Peak signal-to-noise ratio in dB.
 * @param {number} error mean squared error, of 255
 */
export function psnr(error) {
  return error > 0 ? 10 * Math.log10(255 ** 2 / error) : Infinity;
}

/**
 * Bits that the tokens take per pixel: 16 for an index, and 16 for each value of a latent.
 * @param {import("./engine.js").Entry} entry
 * @param {number} tokens
 * @param {number} pixels
 */
export function bitsPerPixel(entry, tokens, pixels) {
  return (tokens * 16 * (entry.discrete ? 1 : entry.channels)) / pixels;
}
