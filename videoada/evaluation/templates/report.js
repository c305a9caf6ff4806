const cards = [...document.querySelectorAll(".case")];

for (const card of cards) {
  setUpPlayers(card);
  card.querySelector(".copy")?.addEventListener("click", event => copy(event.currentTarget, card.querySelector("code")));
}

async function copy(button, code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

document.getElementById("play")?.addEventListener("click", event => {
  playingAll = !playingAll;
  event.currentTarget.textContent = playingAll ? "Pause all" : "Play all from the start";
  for (const card of cards) {
    if (playingAll) videosOf(card).forEach(video => { video.currentTime = 0; });
    if (videosOf(card).length) (playingAll ? play : pause)(card);
  }
});

// ---- the table: sorted by a column, filtered by words; the cards follow it

const table = document.getElementById("videos");
const rows = table ? [...table.tBodies[0].rows] : [];
const cardOf = row => document.getElementById(`case-${row.dataset.case}`);

function sort(column, direction) {
  const head = table.tHead.rows[0].cells, number = head[column].dataset.number === "1";
  const key = row => {
    const text = row.cells[column].textContent.trim();
    return !number ? text : text === "identical" ? Infinity : parseFloat(text);
  };
  const missing = value => value === "" || Number.isNaN(value);
  const keyed = rows.map((row, index) => [key(row), index, row]);
  keyed.sort(([a, i], [b, j]) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b) || i - j;
    const order = number ? (a === b ? 0 : a < b ? -1 : 1) : a.localeCompare(b, "en", { numeric: true });
    return direction * order || i - j;
  });
  const shown = document.querySelector(".cases");
  for (const [, , row] of keyed) {
    table.tBodies[0].append(row);
    const card = cardOf(row);
    if (card) shown.append(card);
  }
  [...head].forEach((cell, i) => cell.setAttribute("aria-sort", i !== column ? "none" : direction > 0 ? "ascending" : "descending"));
  document.getElementById("column").value = column;
  document.getElementById("direction").textContent = direction > 0 ? "↑" : "↓";
}

function filter() {
  const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const prompt = row.cells[0].textContent.toLowerCase(), card = cardOf(row);
    row.hidden = !words.every(word => prompt.includes(word));
    if (card) card.hidden = row.hidden;
    count += !row.hidden;
  }
  document.getElementById("count").textContent = `${count} of ${rows.length} videos`;
}

if (table) {
  const column = document.getElementById("column"), direction = document.getElementById("direction");
  const turned = () => direction.textContent === "↑" ? 1 : -1;
  [...table.tHead.rows[0].cells].forEach((cell, i) => cell.firstElementChild.addEventListener("click", () => {
    sort(i, cell.getAttribute("aria-sort") === "ascending" ? -1 : 1);
  }));
  column.addEventListener("change", () => sort(Number(column.value), turned()));
  direction.addEventListener("click", () => sort(Number(column.value), -turned()));
  document.getElementById("words").addEventListener("input", filter);
  filter();
}
