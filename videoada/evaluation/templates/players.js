"use strict";
// Players of one video or of a pair in step, with the cursor on its PSNR and the amplified difference: the report's cases
// and the page's. A card is an element with data-frames, and with data-start, the frame it shows first, or data-autoplay.
const videosOf = card => [...card.querySelectorAll("video")];
let playingAll = false;
const plays = card => playingAll || card.dataset.autoplay === "1";

// ---- players: made when a card comes near the window, let go when it leaves, for a browser has few decoders

function open(card) {
  for (const holder of card.querySelectorAll(".frame[data-src]")) {
    if (holder.firstElementChild) continue;
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, preload: "auto" });
    video.setAttribute("aria-label", holder.dataset.label);
    if (holder.dataset.poster) video.poster = holder.dataset.poster;
    video.addEventListener("loadeddata", () => { if (!plays(card)) seek(card, Number(card.dataset.start)); }, { once: true });
    for (const event of ["seeked", "loadeddata", "pause"]) video.addEventListener(event, () => show(card));
    if (video.requestVideoFrameCallback) {  // a frame may be shown some time after it was decoded
      const shown = () => { show(card); video.requestVideoFrameCallback(shown); };
      video.requestVideoFrameCallback(shown);
    }
    video.src = holder.dataset.src;
    holder.append(video);
  }
  if (plays(card)) play(card);
}

function close(card) {
  for (const video of videosOf(card)) { video.removeAttribute("src"); video.load(); video.remove(); }
  mark(card, false);
}

const near = new IntersectionObserver(entries => {
  for (const entry of entries) (entry.isIntersecting ? open : close)(entry.target);
}, { rootMargin: "300px 0px" });

// ---- both players in step, with the cursor and the difference

const framesOf = card => Number(card.dataset.frames) || 100;

function seek(card, frame) {
  for (const video of videosOf(card)) if (video.duration) video.currentTime = (frame + 0.5) / framesOf(card) * video.duration;
}

function play(card) {
  videosOf(card).forEach(video => video.play().catch(() => {}));
  mark(card, true);
  requestAnimationFrame(() => follow(card));
}

function pause(card) {
  videosOf(card).forEach(video => video.pause());
  mark(card, false);
  seek(card, Number(card.querySelector(".seek")?.value));
}

function mark(card, playing) {
  card.dataset.playing = playing ? "1" : "";
  const button = card.querySelector(".run");
  if (button) button.textContent = playing ? "Pause" : "Play";
}

function follow(card) {
  if (!card.dataset.playing) return;
  const [first, second] = videosOf(card);
  if (!first) return;
  if (second && Math.abs(first.currentTime - second.currentTime) > 1.5 * first.duration / framesOf(card)) second.currentTime = first.currentTime;
  show(card);
  requestAnimationFrame(() => follow(card));
}

function show(card) {
  const [first, second] = videosOf(card);
  if (!first || !first.duration) return;
  const count = framesOf(card), frame = Math.min(count - 1, Math.floor(first.currentTime / first.duration * count));
  card.querySelector(".seek").value = frame;
  card.querySelector(".at").textContent = `frame ${frame + 1} of ${count}`;
  const cursor = card.querySelector(".cursor");
  if (cursor) { cursor.setAttribute("x1", 10 * frame + 5); cursor.setAttribute("x2", 10 * frame + 5); }
  const canvas = card.querySelector("canvas");
  if (!canvas || !second || first.readyState < 2 || second.readyState < 2) return;
  // Nothing is read back: from disk a browser forbids reading pictures, not blending them.
  if (canvas.width !== first.videoWidth || canvas.height !== first.videoHeight) {
    canvas.width = first.videoWidth;
    canvas.height = first.videoHeight;
  }
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = "copy";
  context.drawImage(first, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "difference";
  context.drawImage(second, 0, 0, canvas.width, canvas.height);
}

function setUpPlayers(card) {
  near.observe(card);
  card.querySelector(".run")?.addEventListener("click", () => { open(card); (card.dataset.playing ? pause : play)(card); });
  card.querySelector(".seek")?.addEventListener("input", event => {
    videosOf(card).forEach(video => video.pause());
    mark(card, false);
    seek(card, Number(event.target.value));
  });
  card.querySelector(".gain")?.addEventListener("input", event => {
    card.querySelector("canvas").style.filter = `brightness(${event.target.value})`;
    card.querySelector(".times").textContent = `× ${event.target.value}`;
  });
  card.querySelector(".psnr")?.addEventListener("click", event => {
    const box = event.currentTarget.getBoundingClientRect();
    const frame = Math.floor((event.clientX - box.left) / box.width * framesOf(card));
    videosOf(card).forEach(video => video.pause());
    mark(card, false);
    seek(card, frame);
  });
}
