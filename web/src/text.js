/** The page's words in both languages. */

/** @type {Record<string, Record<string, string>>} */
const TEXTS = {
  en: {
    title: "Tokens of pictures and clips, in your browser",
    lead: "A small neural network turns a picture or clip into tokens and back. It runs here: nothing leaves this computer.",
    skip: "Skip to the result",
    language: "Português",
    model: "Model",
    size: "Largest side",
    engine: "Runs on",
    cpu: "processor",
    gpu: "graphics card",
    pixels: "{n} pixels",
    drop: "Drop a picture or a short clip here",
    open: "Open a file",
    camera: "Use the camera",
    stop: "Stop",
    example: "Example",
    original: "original",
    reconstruction: "reconstruction",
    compare: "How much of the original to show",
    tokens: "The tokens",
    tokensIndices: "Each square is one of 64,000 codes. Like codes have like colours.",
    tokensLatents: "Each square is a vector of {channels} numbers. Red, green and blue are its first three principal components.",
    figures: "Figures",
    figPsnr: "PSNR",
    figBits: "Bits per pixel",
    figRatio: "Compression",
    figTokens: "Tokens",
    figCodes: "Distinct codes",
    figSpeed: "Speed",
    figThreads: "Threads",
    perSecond: "{n} frames/s",
    times: "{n} times",
    frame: "Frame",
    play: "Play",
    pause: "Pause",
    loading: "Loading {name} …",
    reading: "Reading {name} … {n} frames",
    working: "{done} of {total} frames",
    ready: "Ready. Open a picture or a clip.",
    finished: "Done.",
    cut: "Done: only the first {n} frames were used.",
    live: "Live from the camera.",
    badFile: "{name} is not a picture or clip that this browser can read. Try a JPEG, a PNG or an MP4.",
    badClip: "{name} cannot be decoded by this browser. Try an MP4 with H.264.",
    tooLarge: "{name} is too large: at most {limit} MB.",
    tooManyPixels: "{name} has too many pixels: at most {limit} million.",
    noCamera: "The camera cannot be used: {reason}",
    cameraGone: "The camera has stopped. Is it still connected?",
    failed: "Something went wrong: {reason}",
  },
  pt: {
    title: "Tokens de imagens e vídeos, no seu navegador",
    lead: "Uma pequena rede neural transforma uma imagem ou um vídeo em tokens e de volta. Ela roda aqui: nada sai deste computador.",
    skip: "Ir para o resultado",
    language: "English",
    model: "Modelo",
    size: "Lado maior",
    engine: "Executar em",
    cpu: "processador",
    gpu: "placa de vídeo",
    pixels: "{n} pixels",
    drop: "Solte aqui uma imagem ou um vídeo curto",
    open: "Abrir um arquivo",
    camera: "Usar a câmera",
    stop: "Parar",
    example: "Exemplo",
    original: "original",
    reconstruction: "reconstrução",
    compare: "Quanto mostrar do original",
    tokens: "Os tokens",
    tokensIndices: "Cada quadrado é um de 64.000 códigos. Códigos parecidos têm cores parecidas.",
    tokensLatents: "Cada quadrado é um vetor de {channels} números. Vermelho, verde e azul são suas três primeiras componentes principais.",
    figures: "Medidas",
    figPsnr: "PSNR",
    figBits: "Bits por pixel",
    figRatio: "Compressão",
    figTokens: "Tokens",
    figCodes: "Códigos distintos",
    figSpeed: "Velocidade",
    figThreads: "Threads",
    perSecond: "{n} quadros/s",
    times: "{n} vezes",
    frame: "Quadro",
    play: "Reproduzir",
    pause: "Pausar",
    loading: "Carregando {name} …",
    reading: "Lendo {name} … {n} quadros",
    working: "{done} de {total} quadros",
    ready: "Pronto. Abra uma imagem ou um vídeo.",
    finished: "Concluído.",
    cut: "Pronto: só os primeiros {n} quadros foram usados.",
    live: "Ao vivo, da câmera.",
    badFile: "{name} não é uma imagem ou um vídeo que este navegador saiba ler. Tente um JPEG, um PNG ou um MP4.",
    badClip: "Este navegador não consegue decodificar {name}. Tente um MP4 com H.264.",
    tooLarge: "{name} é grande demais: no máximo {limit} MB.",
    tooManyPixels: "{name} tem pixels demais: no máximo {limit} milhões.",
    noCamera: "Não foi possível usar a câmera: {reason}",
    cameraGone: "A câmera parou. Ela ainda está conectada?",
    failed: "Algo deu errado: {reason}",
  },
};

const KEY = "cosmotok-language";

/** "en" or "pt": the reader's choice, else the browser's. */
export let language = (() => {
  const chosen = new URLSearchParams(location.search).get("lang") ?? stored() ?? navigator.language;
  return chosen.startsWith("pt") ? "pt" : "en";
})();

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden
  }
}

/**
 * A text in the present language, with its values filled in.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function say(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : value;
  });
}

/**
 * @param {number} value
 * @param {number} [digits] after the point
 */
export function number(value, digits = 0) {
  return value.toLocaleString(language === "pt" ? "pt-BR" : "en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** The other language from now on. */
export function switchLanguage() {
  language = language === "en" ? "pt" : "en";
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // for this visit alone, then
  }
  translate();
}

/** Puts the words into all elements with a `data-text`. */
export function translate() {
  document.documentElement.lang = language === "pt" ? "pt-BR" : "en";
  document.title = `cosmotok: ${say("title")}`;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = say(/** @type {HTMLElement} */ (element).dataset.text ?? "");
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(/** @type {HTMLElement} */ (element).dataset.label ?? ""));
  }
}
