/** Tokens as pictures: indices by their FSQ levels, latents by their first three principal components. */

/** @typedef {import("./pixels.js").Picture} Picture */

/**
 * One picture per latent frame; like codes have like colours. Each channel of colour is a mean of two of the digits.
 * @param {Int32Array} indices
 * @param {readonly number[]} dims (1, T', H', W')
 * @param {number[]} levels
 * @returns {Picture[]}
 */
export function indexPictures(indices, dims, levels) {
  const [, count, height, width] = dims;
  return Array.from({ length: count }, (_, t) => {
    const data = new Uint8ClampedArray(4 * height * width).fill(255);
    for (let i = 0; i < height * width; i++) {
      let rest = indices[t * height * width + i];
      const colour = [0, 0, 0];
      levels.forEach((level, digit) => {
        colour[digit % 3] += (rest % level) / (level - 1);
        rest = Math.floor(rest / level);
      });
      for (let c = 0; c < 3; c++) data[4 * i + c] = (255 * colour[c]) / (levels.length / 3);
    }
    return { width, height, data };
  });
}

/**
 * The directions in which latents vary most, found once per stream so that colours keep their meaning.
 * @typedef {{mean: Float64Array, axes: Float64Array[], spread: number[]}} Basis
 */

/**
 * @param {Float32Array} latents (1, C, T', H', W')
 * @param {readonly number[]} dims
 * @returns {Basis}
 */
export function principalComponents(latents, dims) {
  const [, channels, ...rest] = dims;
  const places = rest.reduce((a, b) => a * b, 1);
  const mean = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < places; i++) mean[c] += latents[c * places + i];
    mean[c] /= places;
  }
  const covariance = Array.from({ length: channels }, () => new Float64Array(channels));
  for (let a = 0; a < channels; a++)
    for (let b = a; b < channels; b++) {
      let sum = 0;
      for (let i = 0; i < places; i++) sum += (latents[a * places + i] - mean[a]) * (latents[b * places + i] - mean[b]);
      covariance[a][b] = covariance[b][a] = sum / places;
    }
  const axes = [];
  const spread = [];
  for (let k = 0; k < 3; k++) {
    const { axis, value } = largest(covariance);
    axes.push(axis);
    spread.push(Math.sqrt(Math.max(value, 1e-12)));
    for (let a = 0; a < channels; a++) for (let b = 0; b < channels; b++) covariance[a][b] -= value * axis[a] * axis[b];
  }
  return { mean, axes, spread };
}

/**
 * The largest eigenvalue of a symmetric matrix and its eigenvector, by power iteration.
 * @param {Float64Array[]} matrix
 */
function largest(matrix) {
  let axis = Float64Array.from(matrix, (_, i) => 1 + i / matrix.length);
  let value = 0;
  for (let turn = 0; turn < 200; turn++) {
    const next = Float64Array.from(matrix, (row) => row.reduce((sum, x, i) => sum + x * axis[i], 0));
    value = Math.hypot(...next);
    if (value < 1e-12) break;
    axis = next.map((x) => x / value);
  }
  return { axis, value };
}

/**
 * One picture per latent frame: components one to three as red, green and blue, 2.5 standard deviations to either side.
 * @param {Float32Array} latents (1, C, T', H', W')
 * @param {readonly number[]} dims
 * @param {Basis} basis
 * @returns {Picture[]}
 */
export function latentPictures(latents, dims, basis) {
  const [, channels, count, height, width] = dims;
  const area = height * width;
  return Array.from({ length: count }, (_, t) => {
    const data = new Uint8ClampedArray(4 * area).fill(255);
    for (let i = 0; i < area; i++)
      for (let k = 0; k < 3; k++) {
        let sum = 0;
        for (let c = 0; c < channels; c++)
          sum += (latents[(c * count + t) * area + i] - basis.mean[c]) * basis.axes[k][c];
        data[4 * i + k] = 127.5 * (1 + sum / (2.5 * basis.spread[k]));
      }
    return { width, height, data };
  });
}
