// Runs once, with `element`: listeners on it serve every result that it shows.
const videos = (inside) => [...inside.closest(".player").querySelectorAll("video")];
const toggle = (all) => (all[0].paused ? all.forEach((video) => video.play()) : all.forEach((video) => video.pause()));

element.addEventListener("input", ({ target }) => {
  if (target.className === "cut") target.closest(".player").querySelector(".pair").style.setProperty("--cut", `${target.value}%`);
  if (target.className === "place") for (const video of videos(target)) video.currentTime = target.value * video.duration;
});
element.addEventListener("click", ({ target }) => {
  if (target.matches(".controls button")) toggle(videos(target));
});
// Media events do not bubble, so they are caught on their way down. The first video leads.
element.addEventListener(
  "timeupdate",
  ({ target }) => {
    const [first, ...others] = videos(target);
    if (target !== first) return;
    for (const video of others) if (Math.abs(video.currentTime - first.currentTime) > 0.04) video.currentTime = first.currentTime;
    target.closest(".player").querySelector(".place").value = first.currentTime / first.duration || 0;
  },
  true,
);
element.addEventListener("loadeddata", ({ target }) => {
  const all = videos(target);
  if (all.every((video) => video.readyState >= 2)) for (const video of all) video.play();
}, true);
