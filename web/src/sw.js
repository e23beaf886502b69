/**
 * Keeps the page for use without a network, and gives it the headers that WASM threads need, whatever the host sends.
 */

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const VERSION = "BUILD"; // of the contents; the build fills it in
const STORE = `cosmotok-${VERSION}`;

worker.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const files = await (await fetch("./files.json", { cache: "no-cache" })).json();
      // not what the browser may still have of an earlier version
      const fresh = files.map((/** @type {string} */ file) => new Request(`./${file}`, { cache: "reload" }));
      await (await caches.open(STORE)).addAll(fresh);
      await worker.skipWaiting();
    })(),
  );
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith("cosmotok-") && name !== STORE) await caches.delete(name);
      }
      await worker.clients.claim();
    })(),
  );
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(worker.registration.scope)) event.respondWith(answer(request));
});

/**
 * From the store, else from the network and into the store.
 * @param {Request} request
 */
async function answer(request) {
  const store = await caches.open(STORE);
  const stored = await store.match(request, { ignoreSearch: true });
  if (stored) return isolated(stored);
  const response = await fetch(request, { cache: "no-cache" }); // never weights of an earlier version
  // a full disk is no reason to give nothing
  if (response.status === 200) await store.put(request, response.clone()).catch(() => {});
  return isolated(response);
}

/** @param {Response} response */
function isolated(response) {
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
