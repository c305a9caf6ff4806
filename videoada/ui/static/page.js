// The page's own part: what the queue and the gallery hold, asked for once a second and changed only where it changed;
// the tools beside the form. Text from elsewhere comes escaped from the server, or is set as text.
const SECOND = 1000, HIDDEN = 5000;

async function ask(address, options) {
  const answer = await fetch(address, options);
  if (!answer.ok && answer.status < 400) throw new Error();
  return answer;
}

// What went wrong, in a line; none where nothing did.
function problem(root, text) {
  const line = root.querySelector(".problem");
  line.textContent = text || "";
  line.hidden = !text;
}

async function post(root, address, body) {
  try {
    const answer = await ask(address, { method: "POST", body });
    const text = await answer.text();
    let found = {};
    try { found = JSON.parse(text); } catch { found = { error: text }; }
    problem(root, answer.ok ? "" : found.error || found.detail || text);
    return answer.ok ? found : null;
  } catch {
    problem(root, "the server does not answer: is videoada ui still running?");
    return null;
  }
}

// Give `holder` the content of `html`: parts with the same data-key and the same source stay as they are.
function patch(holder, html) {
  const made = document.createElement("template");
  made.innerHTML = html;
  const before = new Map([...holder.children].map(part => [part.dataset.key, part]));
  const after = [...made.content.children].map(part => {
    const old = before.get(part.dataset.key);
    if (old && old.source === part.outerHTML) return old;
    part.source = part.outerHTML;
    return part;
  });
  for (const part of before.values()) if (!after.includes(part)) { near.unobserve(part); part.remove(); }
  after.forEach((part, i) => { if (holder.children[i] !== part) holder.insertBefore(part, holder.children[i] || null); });
  const players = after.find(part => part.dataset.key === "players");
  if (players && before.get("players") !== players) setUpPlayers(players);  // once it is in the page
}

function videos(root, trigger) {
  const section = name => root.querySelector(`.${name}`);
  const known = new Map();  // by id: what the server said, and the card
  let order = [], run = "", number = -1, chosen = decodeURIComponent(location.hash.slice(1)), large = "", asked = 0;

  const active = video => video.state === "waiting" || video.state === "running";
  const inQueue = video => video.state !== "done";

  // The video shown large: the one that was clicked, else the one at work, else the newest.
  function current() {
    if (known.has(chosen)) return chosen;
    const all = order.map(id => known.get(id)).filter(Boolean);
    const found = all.find(v => v.state === "running") || (all.length ? all[all.length - 1] : null);
    return found ? found.id : "";
  }

  function arrange() {
    const words = section("gallery").querySelector(".sought").value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = order.map(id => known.get(id)).filter(Boolean);
    const queue = all.filter(inQueue), made = all.filter(v => !inQueue(v)).reverse();
    const fits = made.filter(v => words.every(word => v.prompt.toLowerCase().includes(word)));
    for (const [name, list, count] of [["queue", queue, String(queue.filter(active).length || "")],
                                       ["gallery", fits, made.length ? (words.length ? `${fits.length} of ${made.length}` : `${made.length}`) : ""]]) {
      const cards = section(name).querySelector(".cards");
      list.forEach((video, i) => { if (cards.children[i] !== video.card) cards.insertBefore(video.card, cards.children[i] || null); });
      while (cards.children.length > list.length) cards.lastElementChild.remove();
      section(name).querySelector(".count").textContent = count;
      section(name).querySelector(".empty").hidden = list.length > 0;
    }
    section("legend").hidden = !all.length;
    for (const video of all) video.card.classList.toggle("chosen", video.id === current());
  }

  async function show() {
    const id = current(), holder = section("large");
    holder.hidden = !id;
    if (!id) { holder.replaceChildren(); large = ""; return; }
    const state = `${id} ${known.get(id).number} ${run}`;
    if (state === large) return;
    const mine = ++asked;
    const answer = await ask(`videos/${id}`);
    if (!answer.ok || mine !== asked) return;
    const html = await answer.text();
    if (mine !== asked) return;
    if (holder.dataset.id !== id) holder.replaceChildren();
    holder.dataset.id = id;
    patch(holder, html);
    large = state;
  }

  async function look() {
    const answer = await ask(`videos?since=${number}&run=${run}`);
    const found = await answer.json();
    if (found.order) {
      for (const video of found.videos) {
        const card = known.get(video.id)?.card || document.createElement("article");
        card.className = "card";
        card.dataset.id = video.id;
        patch(card, video.html);
        known.set(video.id, { ...video, card });
      }
      order = found.order;
      for (const id of known.keys()) if (!order.includes(id)) known.delete(id);
    }
    run = found.run;
    number = found.number;
    if (found.order) arrange();
    await show();
  }

  let timer = 0;
  async function turn() {
    clearTimeout(timer);
    try {
      await look();
      if (root.dataset.lost) { delete root.dataset.lost; problem(root, ""); }
    } catch {
      root.dataset.lost = "1";
      problem(root, "the server does not answer; the queue goes on without it");
    }
    clearTimeout(timer);
    timer = setTimeout(turn, document.hidden ? HIDDEN : SECOND);
  }

  root.addEventListener("input", event => { if (event.target.matches(".gallery .sought")) arrange(); });
  root.addEventListener("click", async event => {
    const button = event.target.closest("[data-do]"), shot = event.target.closest(".card .shot");
    if (!button && !shot) return;
    const id = (button || shot).closest("[data-id]").dataset.id, action = button ? button.dataset.do : "show";
    if (action === "show") {
      chosen = id;
      history.replaceState(null, "", `#${id}`);
      arrange();
      await show();
      section("large").scrollIntoView({ block: "nearest" });
    } else if (action === "use") {
      trigger("click", { id });
      document.getElementById("form")?.scrollIntoView({ block: "start" });
    } else if (action === "delete" && !button.dataset.sure) {  // a second click within some seconds
      const text = button.textContent;
      button.dataset.sure = "1";
      button.textContent = "Really delete?";
      setTimeout(() => { delete button.dataset.sure; button.textContent = text; }, 4000);
    } else {
      button.disabled = true;
      await post(root, `videos/${id}/${action}`);
      button.disabled = false;
      turn();
    }
  });
  document.addEventListener("click", event => {  // what was asked for is what is shown; below a phone's form too
    if (event.target.closest("#generate")) asked_for();
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Enter" && event.shiftKey && event.target.closest("#prompt")) asked_for();
  });
  function asked_for() {
    chosen = "";
    history.replaceState(null, "", location.pathname);
    setTimeout(async () => {
      await turn();
      if (root.getBoundingClientRect().top > innerHeight * 0.8) root.scrollIntoView({ behavior: "smooth", block: "start" });
    }, 200);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
  turn();
}

function tools(root, trigger) {
  let wanted = 0, open = false;  // whether the words are: another model's are then, too

  root.addEventListener("toggle", event => { if (event.target.matches(".known")) open = event.target.open; }, true);
  new MutationObserver(() => { const known = root.querySelector(".known"); if (known && open) known.open = true; })
    .observe(root, { childList: true, characterData: true, subtree: true, attributes: true, attributeFilter: ["data-model"] });

  async function send(pick, file) {
    if (!file) return;
    problem(root, "");
    const found = await post(root, `${pick.dataset.to}?name=${encodeURIComponent(file.name)}`, file);
    if (found) trigger("click", { [pick.dataset.kind]: found.id });
  }

  root.addEventListener("change", event => {
    const pick = event.target.closest(".pick");
    if (pick && event.target.type === "file") { send(pick, event.target.files[0]); event.target.value = ""; }
  });
  root.addEventListener("click", event => {
    const word = event.target.closest(".word"), none = event.target.closest(".none");
    if (word) trigger("click", { do: "word", part: word.dataset.part, word: word.textContent });
    if (none) trigger("click", { [none.closest(".pick").dataset.kind]: null });
  });
  root.addEventListener("input", async event => {
    if (!event.target.matches(".known .sought")) return;
    const mine = ++wanted, model = root.querySelector(".tools").dataset.model;
    const answer = await ask(`words?model=${encodeURIComponent(model)}&search=${encodeURIComponent(event.target.value)}`);
    const html = await answer.text();
    if (mine === wanted && answer.ok) root.querySelector(".words").innerHTML = html;
  });
  root.addEventListener("dragover", event => { if (event.target.closest(".pick[data-to]")) event.preventDefault(); });
  root.addEventListener("drop", event => {
    const pick = event.target.closest(".pick[data-to]");
    if (pick && event.dataTransfer.files.length) { event.preventDefault(); send(pick, event.dataTransfer.files[0]); }
  });
}

window.videoada = { videos, tools };
