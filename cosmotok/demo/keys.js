// Changes of tokens are decoded when the pointer lets go of a slider. Keys do the same once no further one comes, and
// whoever only passes by a slider's number on the way through the page changes nothing.
const PAUSE = 500; // milliseconds
const inTab = (target, type) => target.matches?.(`#what-if input[type=${type}]`) && !target.closest(".player");
let held = false;
let waiting;
let before;

for (const [name, now] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]])
  document.addEventListener(name, () => (held = now), true);
document.addEventListener("input", ({ target }) => {
  if (held || !inTab(target, "range")) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true })), PAUSE);
});
document.addEventListener("focus", ({ target }) => (before = target.value), true);
document.addEventListener(
  "blur",
  (event) => {
    if (inTab(event.target, "number") && event.target.value === before) event.stopImmediatePropagation();
  },
  true,
);
