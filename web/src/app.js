/** The page: what is opened goes through a model, step by step, and what comes back is shown. */

import { Camera, MediaProblem, open } from "./media.js";
import { Models } from "./models.js";
import { psnr } from "./pixels.js";
import { language, number, say, switchLanguage, translate } from "./text.js";
import { drawn, Viewer } from "./viewer.js";

/** @typedef {import("./engine.js").Entry} Entry */
/** @typedef {import("./pixels.js").Picture} Picture */

const SIDES = [128, 256, 384, 512];
const LIVE_CONTEXT = 8; // latent frames that attention looks back on in an endless stream

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
const the = (id) => /** @type {T} */ (document.getElementById(id));
/** @type {HTMLSelectElement} */
const modelChoice = the("model");
/** @type {HTMLSelectElement} */
const sizeChoice = the("size");
/** @type {HTMLSelectElement} */
const engineChoice = the("engine");
/** @type {HTMLInputElement} */
const fileInput = the("file");
const viewer = new Viewer();
const models = new Models();

/** @type {Entry[]} */
let entries = [];
/** Grows when something else is opened, so that what is at work stops. */
let turn = 0;
/** @type {Camera | null} */
let camera = null;
/** @type {(() => Promise<void>) | null} what is shown, from its start, for another model or size */
let again = null;
/** @type {() => string} */
let status = () => "";

// What is said ----------------------------------------------------------------------------------------------------

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
function tell(key, values) {
  status = () => say(key, values);
  the("status").textContent = status();
}

/** @param {unknown} error */
function complain(error) {
  const [key, values] =
    error instanceof MediaProblem
      ? [error.key, error.values]
      : ["failed", { reason: error instanceof Error ? error.message : String(error) }];
  the("problem").textContent = say(key, values);
  the("problem").hidden = false;
  tell("ready");
}

const entry = () => entries[modelChoice.selectedIndex];

/** Fills the lists whose words depend on the language. */
function fillChoices() {
  [...sizeChoice.options].forEach((option, i) => (option.textContent = say("pixels", { n: SIDES[i] })));
  [...modelChoice.options].forEach((option, i) => {
    option.textContent = `${entries[i].name} (${number(entries[i].bytes / 1e6, 1)} MB)`;
  });
  for (const option of engineChoice.options) option.textContent = say(option.value);
}

/** What the figures are made of. */
const totals = { frames: 0, tokens: 0, bits: 0, errors: 0, seconds: 0, codes: 0 };

function showFigures() {
  const bits = totals.bits / totals.frames;
  const rows = [
    ["figPsnr", `${number(psnr(totals.errors / totals.frames), 2)} dB`],
    ["figBits", number(bits, 3)],
    ["figRatio", say("times", { n: number(24 / bits, 1) })],
    ["figTokens", number(totals.tokens)],
    ...(entry().discrete ? [["figCodes", number(totals.codes)]] : []),
    ["figSpeed", say("perSecond", { n: number(totals.frames / totals.seconds, 1) })],
    ["figThreads", number(models.threads)],
  ];
  the("figures").replaceChildren(
    ...rows.flatMap(([key, value]) => [drawn("dt", say(key)), Object.assign(drawn("dd", value), { id: key })]),
  );
  const words = entry().discrete ? say("tokensIndices") : say("tokensLatents", { channels: entry().channels });
  the("explain").textContent = words;
}

// Work ------------------------------------------------------------------------------------------------------------

async function loadModel() {
  tell("loading", { name: entry().name });
  await models.load(entry(), engineChoice.value === "gpu");
}

/** Stops what is at work, and begins something else. */
function begin() {
  camera?.stop();
  camera = null;
  the("camera").dataset.text = "camera";
  the("camera").textContent = say("camera");
  the("problem").hidden = true;
  return ++turn;
}

/**
 * Sends frames through the model and shows what comes back.
 * @param {Picture[]} frames
 * @param {number} count frames of the step
 */
async function step(frames, count) {
  const result = await models.step(frames, count);
  totals.frames += frames.length;
  totals.tokens += result.count;
  totals.bits += result.bits * frames.length;
  totals.errors += result.errors.reduce((a, b) => a + b, 0);
  totals.seconds += result.seconds;
  totals.codes = result.codes;
  the("result").hidden = false;
  return result;
}

/** @param {number | null} context */
async function start(context) {
  await models.load(entry(), engineChoice.value === "gpu"); // where it failed earlier
  await models.start(context);
  for (const key of /** @type {(keyof typeof totals)[]} */ (Object.keys(totals))) totals[key] = 0;
}

/** @param {File} file */
async function show(file) {
  again = () => show(file);
  const mine = begin();
  try {
    const name = file.name;
    tell("reading", { name, n: 0 });
    const side = SIDES[sizeChoice.selectedIndex];
    const { frames, rate, cut } = await open(file, side, (n) => mine === turn && tell("reading", { name, n }));
    if (mine !== turn) return;
    await start(null);
    if (mine !== turn) return;
    viewer.reset(rate);
    const { kind, temporal } = entry();
    for (let done = 0; done < frames.length; ) {
      const count = kind === "image" || done === 0 ? 1 : temporal;
      const part = frames.slice(done, done + count);
      const result = await step(part, count);
      if (mine !== turn) return;
      part.forEach((original, i) => viewer.add(original, result.frames[i], result.tokens[0]));
      done += part.length;
      showFigures();
      if (frames.length > 1) tell("working", { done, total: frames.length });
    }
    tell(cut ? "cut" : "finished", { n: frames.length });
    viewer.play();
  } catch (error) {
    if (mine === turn) complain(error);
  }
}

async function live() {
  again = live;
  const mine = begin();
  try {
    const side = Math.min(256, SIDES[sizeChoice.selectedIndex]);
    const found = await Camera.start(side).catch((error) => {
      throw new MediaProblem("noCamera", { reason: error.message });
    });
    if (mine !== turn) return found.stop();
    camera = found;
    the("camera").dataset.text = "stop";
    the("camera").textContent = say("stop");
    found.onend = () => {
      if (mine !== turn) return;
      begin();
      again = null;
      complain(new MediaProblem("cameraGone"));
    };
    await start(LIVE_CONTEXT);
    if (mine !== turn) return;
    viewer.reset(0);
    tell("live");
    const { kind, temporal } = entry();
    for (let first = true; mine === turn; first = false) {
      const frames = [];
      for (let n = kind === "image" || first ? 1 : temporal; n > 0; n--) frames.push(await found.next());
      if (mine !== turn) return;
      const result = await step(frames, frames.length);
      if (mine !== turn) return;
      frames.forEach((original, i) => viewer.now(original, result.frames[i], result.tokens[0]));
      showFigures();
    }
  } catch (error) {
    if (mine === turn) {
      begin();
      complain(error);
    }
  }
}

/** The picture that came with the page. */
async function example() {
  const response = await fetch("example.webp");
  await show(new File([await response.blob()], "example.webp", { type: "image/webp" }));
}

// The page --------------------------------------------------------------------------------------------------------

async function changed() {
  begin();
  const mine = turn;
  try {
    await loadModel();
    if (mine !== turn) return;
    tell("ready");
    await again?.();
  } catch (error) {
    if (mine === turn) complain(error);
  }
}

function connect() {
  the("open").onclick = () => fileInput.click();
  fileInput.onchange = () => {
    const file = fileInput.files?.[0];
    if (file) show(file);
    fileInput.value = "";
  };
  the("camera").onclick = () => {
    if (!camera) return live();
    begin();
    again = null;
    tell("finished");
  };
  the("example").onclick = example;
  const drop = the("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) show(file);
  });
  modelChoice.onchange = changed;
  engineChoice.onchange = changed;
  sizeChoice.onchange = () => again?.();
  the("language").onclick = () => {
    switchLanguage();
    fillChoices();
    the("status").textContent = status();
    the("problem").hidden = true;
    if (totals.frames) showFigures();
  };
}

/** Whether a graphics card is there that WebGPU may use. */
async function hasGpu() {
  return Boolean("gpu" in navigator && (await navigator.gpu.requestAdapter().catch(() => null)));
}

/**
 * When a service worker is at work, or has given up, which `navigator.serviceWorker.ready` would not tell.
 * @param {ServiceWorker} worker
 * @returns {Promise<void>}
 */
function settled(worker) {
  return new Promise((resolve) => {
    const look = () => ["activated", "redundant"].includes(worker.state) && resolve();
    worker.onstatechange = look;
    look();
  });
}

/** A service worker keeps the page for use without a network, and allows threads. */
async function keep() {
  if (!("serviceWorker" in navigator)) return;
  const registration = await navigator.serviceWorker.register("sw.js");
  const first = registration.active ? null : (registration.installing ?? registration.waiting);
  if (first) await settled(first);
  // what comes through it may have threads, so once more, unless that did not help
  if (!window.crossOriginIsolated && !sessionStorage.getItem("isolated")) {
    sessionStorage.setItem("isolated", "tried");
    location.reload();
    await new Promise(() => {});
  }
}

async function main() {
  translate();
  await keep().catch(() => {}); // private windows and file:// have none
  entries = await (await fetch("models/index.json")).json();
  for (const { name } of entries) modelChoice.append(new Option("", name));
  for (const side of SIDES) sizeChoice.append(new Option("", String(side), side === 256, side === 256));
  for (const kind of ["cpu", "gpu"]) engineChoice.append(new Option("", kind));
  the("engineChoice").hidden = !(await hasGpu());
  fillChoices();
  connect();
  await loadModel();
  tell("ready");
  document.body.dataset.ready = language;
}

main().catch(complain);
