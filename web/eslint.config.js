import js from "@eslint/js";

const browser = Object.fromEntries(
  (
    "document window navigator location localStorage sessionStorage self caches fetch URL File Option Worker Request Response Headers " +
    "OffscreenCanvas ImageData createImageBitmap performance requestAnimationFrame setTimeout clearTimeout console " +
    "process VideoDecoder EncodedVideoChunk DecompressionStream crossOriginIsolated URLSearchParams"
  )
    .split(" ")
    .map((name) => [name, "readonly"]),
);

export default [
  js.configs.recommended,
  {
    languageOptions: { globals: browser },
    rules: { "prefer-const": "error", eqeqeq: "error", "no-var": "error" },
  },
];
