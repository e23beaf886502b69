/** The two pictures behind the slider, the tokens beside them, and a clip's player. */

import { say } from "./text.js";

/** @typedef {import("./pixels.js").Picture} Picture */
/** @typedef {{original: Picture, copy: Picture, tokens: Picture}} Shown */

/**
 * An element with words in it.
 * @param {string} name
 * @param {string} words
 */
export function drawn(name, words) {
  const element = document.createElement(name);
  element.textContent = words;
  return element;
}

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
const the = (id) => /** @type {T} */ (document.getElementById(id));

/**
 * @param {string} id of a canvas
 * @param {Picture} picture
 */
function paint(id, { width, height, data }) {
  /** @type {HTMLCanvasElement} */
  const canvas = the(id);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d")?.putImageData(new ImageData(/** @type {Uint8ClampedArray<ArrayBuffer>} */ (data), width, height), 0, 0);
}

/** All frames that are there are kept, so that a clip can be looked at again. */
export class Viewer {
  constructor() {
    /** @type {Shown[]} */
    this.frames = [];
    this.rate = 0;
    this.playing = 0; // grows when playing stops
    /** @type {HTMLInputElement} */
    this.slider = the("slider");
    /** @type {HTMLInputElement} */
    this.position = the("frame");
    this.slider.oninput = () => this.split();
    this.position.oninput = () => {
      this.pause();
      this.at(Number(this.position.value));
    };
    the("play").onclick = () => (the("play").dataset.text === "play" ? this.play() : this.pause());
    const pair = the("pair");
    pair.onpointerdown = (event) => {
      pair.setPointerCapture(event.pointerId);
      this.drag(event);
    };
    pair.onpointermove = (event) => {
      if (pair.hasPointerCapture(event.pointerId)) this.drag(event);
    };
    this.split();
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const { left, width } = the("pair").getBoundingClientRect();
    this.slider.value = String((100 * (event.clientX - left)) / width);
    this.split();
  }

  /** Shows the original to the left of the slider. */
  split() {
    const share = Number(this.slider.value);
    the("original").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    the("line").style.left = `${share}%`;
  }

  /**
   * Forgets what was shown.
   * @param {number} rate frames per second of what comes
   */
  reset(rate) {
    this.pause();
    this.frames = [];
    this.rate = rate;
    this.position.value = "0";
    the("player").hidden = true;
  }

  /**
   * Shows a frame and keeps it.
   * @param {Picture} original
   * @param {Picture} copy
   * @param {Picture} tokens
   */
  add(original, copy, tokens) {
    this.frames.push({ original, copy, tokens });
    this.now(original, copy, tokens);
  }

  /**
   * Shows a frame.
   * @param {Picture} original
   * @param {Picture} copy
   * @param {Picture} tokens
   */
  now(original, copy, tokens) {
    paint("original", original);
    paint("copy", copy);
    paint("tokens", tokens);
  }

  /** @param {number} number of a frame that was kept */
  at(number) {
    const { original, copy, tokens } = this.frames[number];
    this.now(original, copy, tokens);
    this.position.value = String(number);
    the("frameNumber").textContent = `${number + 1} / ${this.frames.length}`;
  }

  /** Plays what was kept, again and again. */
  async play() {
    const { frames, rate } = this;
    if (frames.length < 2) return;
    the("player").hidden = false;
    this.position.max = String(frames.length - 1);
    const mine = ++this.playing;
    this.label("pause");
    const begin = performance.now() - (1000 * Number(this.position.value)) / rate;
    while (mine === this.playing) {
      this.at(Math.floor(((performance.now() - begin) * rate) / 1000) % frames.length);
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
  }

  pause() {
    this.playing++;
    this.label("play");
  }

  /** @param {"play" | "pause"} key */
  label(key) {
    the("play").dataset.text = key;
    the("play").textContent = say(key);
  }
}
