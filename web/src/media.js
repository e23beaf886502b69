/** Pictures, clips and the camera as frames of a size that a browser can take in its stride. */

import { decodeClip } from "./clip.js";

/** @typedef {import("./pixels.js").Picture} Picture */

export const LARGEST_FILE = 200 * 2 ** 20;
export const LARGEST_PICTURE = 100e6; // pixels
export const MOST_FRAMES = 97;

/** What is wrong with a file: `key` is of a sentence in text.js. */
export class MediaProblem extends Error {
  /**
   * @param {string} key
   * @param {Record<string, string | number>} [values]
   */
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

/**
 * A size with the same shape whose larger side is at most `side`.
 * @param {number} width
 * @param {number} height
 * @param {number} side
 */
export function fitted(width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** Draws whatever a canvas can draw, again and again at one size. */
export class Grabber {
  /**
   * @param {number} width
   * @param {number} height
   * @param {number} [turns] clockwise, by right angles
   */
  constructor(width, height, turns = 0) {
    this.width = width;
    this.height = height;
    this.turns = turns;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    this.context = /** @type {OffscreenCanvasRenderingContext2D} */ (context);
    this.context.imageSmoothingQuality = "high";
  }

  /**
   * On white, where the source is transparent.
   * @param {CanvasImageSource} source
   * @param {[number, number, number, number]} [part] x, y, width and height in the source
   * @returns {Picture}
   */
  grab(source, part) {
    const { width, height, turns } = this;
    const context = this.context;
    const [wide, high] = turns % 2 ? [height, width] : [width, height];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.translate(width / 2, height / 2);
    context.rotate((turns * Math.PI) / 2);
    context.translate(-wide / 2, -high / 2);
    if (part) context.drawImage(source, ...part, 0, 0, wide, high);
    else context.drawImage(source, 0, 0, wide, high);
    return { width, height, data: context.getImageData(0, 0, width, height).data };
  }
}

/**
 * The frames of a file: one of a picture, the first `MOST_FRAMES` of a clip.
 * @param {File} file
 * @param {number} side
 * @param {(frames: number) => void} tell how many there are so far
 * @returns {Promise<{frames: Picture[], rate: number, cut: boolean}>}
 */
export async function open(file, side, tell) {
  const name = file.name;
  if (file.size > LARGEST_FILE) throw new MediaProblem("tooLarge", { name, limit: LARGEST_FILE / 2 ** 20 });
  if (file.type.startsWith("video/") || /\.(mp4|m4v|mov|webm|mkv)$/i.test(name)) {
    const clip = (await decodeClip(file, side, MOST_FRAMES + 1, tell)) ?? (await playedClip(file, side, tell));
    if (!clip || !clip.frames.length) throw new MediaProblem("badClip", { name });
    const cut = clip.frames.length > MOST_FRAMES;
    return { frames: clip.frames.slice(0, MOST_FRAMES), rate: clip.rate, cut };
  }
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) throw new MediaProblem("badFile", { name });
  try {
    if (bitmap.width * bitmap.height > LARGEST_PICTURE) {
      throw new MediaProblem("tooManyPixels", { name, limit: LARGEST_PICTURE / 1e6 });
    }
    const { width, height } = fitted(bitmap.width, bitmap.height, side);
    return { frames: [new Grabber(width, height).grab(bitmap)], rate: 0, cut: false };
  } finally {
    bitmap.close();
  }
}

const PLAYED_RATE = 25;

/**
 * A clip by a <video> element that is set to one moment after the other, for what `decodeClip` cannot read.
 * @param {File} file
 * @param {number} side
 * @param {(frames: number) => void} tell
 */
async function playedClip(file, side, tell) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  video.src = URL.createObjectURL(file);
  try {
    if (!(await event(video, "loadeddata")) || !video.videoWidth) return null;
    const { width, height } = fitted(video.videoWidth, video.videoHeight, side);
    const grabber = new Grabber(width, height);
    const frames = [];
    for (let t = 0; frames.length <= MOST_FRAMES && !(t > video.duration); t += 1 / PLAYED_RATE) {
      video.currentTime = t + 0.5 / PLAYED_RATE;
      if (!(await event(video, "seeked"))) break;
      frames.push(grabber.grab(video));
      tell(frames.length);
    }
    return { frames, rate: PLAYED_RATE };
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

/**
 * Whether an element fires `name` rather than an error, within ten seconds.
 * @param {HTMLElement} element
 * @param {string} name
 * @returns {Promise<boolean>}
 */
function event(element, name) {
  return new Promise((resolve) => {
    const clock = setTimeout(() => resolve(false), 10_000);
    const done = (/** @type {boolean} */ good) => {
      clearTimeout(clock);
      resolve(good);
    };
    element.addEventListener(name, () => done(true), { once: true });
    element.addEventListener("error", () => done(false), { once: true });
  });
}

/** The camera's middle square, frame by frame. */
export class Camera {
  /**
   * @param {MediaStream} stream
   * @param {HTMLVideoElement} video
   * @param {number} side
   */
  constructor(stream, video, side) {
    this.stream = stream;
    this.video = video;
    this.grabber = new Grabber(side, side);
    this.onend = () => {}; // when it was unplugged, or taken away
    for (const track of stream.getTracks()) track.onended = () => this.onend();
  }

  /** @param {number} side */
  static async start(side) {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
    const video = document.createElement("video");
    video.muted = video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    return new Camera(stream, video, side);
  }

  /** @returns {Promise<Picture>} the next frame */
  async next() {
    await new Promise((resolve) => this.video.requestVideoFrameCallback(resolve));
    const { videoWidth: width, videoHeight: height } = this.video;
    const side = Math.min(width, height);
    return this.grabber.grab(this.video, [(width - side) / 2, (height - side) / 2, side, side]);
  }

  stop() {
    for (const track of this.stream.getTracks()) track.stop();
  }
}
