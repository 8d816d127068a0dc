// The page of `socketkit watch --web`. The command says what stands in each line; here it is drawn, and of many lines
// only those that can be seen. Whatever comes from a socket is set as text, never as markup.
"use strict";

const COLUMNS = [
  ["encrypted", "", "enc"], ["state", "state", "state"], ["local", "local", "local"], ["peer", "peer", "peer"],
  ["process", "process", "process"], ["use", "use", "use"], ["received", "in", "number received"],
  ["sent", "out", "number sent"], [null, "last minute", "spark"],
];
const LOCKS = {
  "yes": "encrypted", "no": "in plain text", "random-looking": "its bytes look random", "unknown": "nothing has shown whether it is encrypted",
};
const REACH = { everywhere: "from everywhere", network: "from one network", machine: "within this machine", loopback: "loopback" };
const KEPT = "socketkit-watch";
const MARGIN_LINES = 20;
const SVG = "http://www.w3.org/2000/svg";

const byId = (name) => document.getElementById(name);
const scroll = byId("scroll"), space = byId("space"), detail = byId("detail");

// What the page looks at, as the command is told it, and what the command has said.
const look = { view: "all", filter: "", column: "", downwards: false, first: 0, size: 60, chosen: 0, hold: false };
const said = { total: 0, first: 0, lines: [], bar: null, notes: [], problem: "", chosen: 0, detail: null, findings: null };
const rows = new Map();
const drawn = new Map(); // the elements of the lines, by row or title
let page = "", key = "", mayClose = false, cursor = 0, source = null, lostTimes = 0;

// --- what is told

function connect() {
  source = new EventSource("events?" + new URLSearchParams(look));
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onerror = () => {
    source.close();
    page = "";
    lostTimes += 1;
    byId("lost").hidden = lostTimes < 2;
    setTimeout(connect, Math.min(500 * lostTimes, 5000));
  };
}

function take(news) {
  if ("page" in news) { // a stream begins, and tells everything
    ({ page, key } = news);
    mayClose = news.may_close;
    rows.clear();
    lostTimes = 0;
    byId("lost").hidden = true;
  }
  for (const [number, row] of Object.entries(news.rows)) rows.set(Number(number), row);
  for (const number of news.gone) rows.delete(number);
  for (const name of Object.keys(said)) if (name in news) said[name] = news[name];
  if ("bar" in news) drawBar();
  if ("notes" in news) byId("notes").textContent = said.notes.join(" · ");
  if ("problem" in news) drawProblem();
  if ("findings" in news) drawFindings();
  if ("detail" in news) drawDetail();
  drawLines();
}

let asking = false, askAgain = false;

async function ask() {
  keep();
  if (asking || !page) {
    askAgain = asking;
    return;
  }
  asking = true;
  try {
    await post("look", { ...look, page });
  } catch { // the stream will say that it is lost
  } finally {
    asking = false;
    if (askAgain) {
      askAgain = false;
      ask();
    }
  }
}

async function post(what, value) {
  const headers = { "content-type": "application/json", "x-socketkit-key": key };
  return fetch(what, { method: "POST", headers, body: JSON.stringify(value) });
}

// A page that is loaded again looks at the same.
function keep() {
  const { view, filter, column, downwards } = look;
  sessionStorage.setItem(KEPT, JSON.stringify({ view, filter, column, downwards }));
}

function remember() {
  try {
    Object.assign(look, JSON.parse(sessionStorage.getItem(KEPT) ?? "{}"));
  } catch {
    sessionStorage.removeItem(KEPT);
  }
}

// --- figures and findings

function bars(letters, height) {
  let path = "";
  const first = 60 - letters.length;
  for (let at = 0; at < letters.length; at++) {
    const tall = parseInt(letters[at], 36) / 35 * height;
    if (tall > 0) path += `M${first + at + 0.1} ${height}v${-tall.toFixed(1)}h.8V${height}z`;
  }
  return path;
}

function drawBar() {
  byId("told").textContent = said.bar.told;
  for (const name of ["received", "sent"]) {
    const figure = byId(name), { rate, most, spark } = said.bar[name];
    figure.querySelector("b").textContent = rate;
    figure.querySelector("path").setAttribute("d", bars(spark, 36));
    figure.title = `at most ${most} in the last minute; a connection within this machine counts at both ends`;
  }
}

function drawProblem() {
  const shown = byId("problem");
  shown.textContent = said.problem;
  shown.hidden = !said.problem;
  byId("filter").setAttribute("aria-invalid", String(Boolean(said.problem)));
}

function drawFindings() {
  const { found, more, unknown, looked } = said.findings;
  const button = byId("audit"), panel = byId("findings");
  const worst = found.length ? found[0].severity : "";
  const count = found.length + more;
  button.replaceChildren(looked || unknown.length ? made("b", worst, `${count} finding${count === 1 ? "" : "s"}`) : "looking …");
  const shown = found.map(findingElement);
  if (more) shown.push(made("p", "unknown", `and ${more} more: socketkit audit`));
  if (!found.length) shown.push(made("p", "", looked ? "Nothing was found." : "No audit has ended yet."));
  if (unknown.length) shown.push(made("p", "unknown", `Not known: ${unknown.join("; ")}.`));
  panel.replaceChildren(...shown);
}

function findingElement(finding) {
  const element = made("div", "finding");
  const title = made("div");
  title.append(made("span", `word ${finding.severity}`, finding.severity), finding.title, " ", made("span", "where", finding.id));
  element.append(title, made("div", "where", finding.where), made("div", "", finding.evidence), made("div", "", `→ ${finding.remedy}`));
  element.append(...finding.commands.map(commandElement));
  return element;
}

// --- lines

function made(tag, kind = "", text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
}

function drawing(symbol) {
  const svg = document.createElementNS(SVG, "svg");
  const inner = document.createElementNS(SVG, symbol ? "use" : "path");
  if (!symbol) {
    svg.setAttribute("viewBox", "0 0 60 20");
    svg.setAttribute("preserveAspectRatio", "none");
  }
  svg.append(inner);
  return svg;
}

function lineHeight() {
  return parseInt(getComputedStyle(space).getPropertyValue("--row"), 10);
}

function drawLines() {
  const height = lineHeight();
  space.style.height = `${said.total * height}px`;
  byId("table").setAttribute("aria-rowcount", String(said.total));
  byId("empty").hidden = said.total > 0 || !look.filter;
  const there = new Set();
  said.lines.forEach((line, at) => {
    const row = rows.get(line), name = typeof line === "string" ? `title ${line.split("  ")[0]}` : line;
    if (typeof line === "number" && !row) return;
    there.add(name);
    let element = drawn.get(name);
    if (!element) {
      element = typeof line === "string" ? made("div", "row titled") : rowElement(line);
      element.setAttribute("role", "row");
      drawn.set(name, element);
      space.append(element);
    }
    element.style.transform = `translateY(${(said.first + at) * height}px)`;
    element.setAttribute("aria-rowindex", String(said.first + at + 1));
    if (typeof line === "string") setText(element, line);
    else fill(element, line, row);
  });
  for (const [name, element] of drawn) {
    if (!there.has(name)) {
      element.remove();
      drawn.delete(name);
    }
  }
}

function rowElement(number) {
  const element = made("div", "row");
  for (const [name, , kind] of COLUMNS) {
    const cell = made("div", kind);
    cell.setAttribute("role", "gridcell");
    if (name === "encrypted") cell.append(drawing("lock"));
    if (name === null) cell.append(drawing());
    element.append(cell);
  }
  element.addEventListener("click", () => choose(number));
  return element;
}

function fill(element, number, row) {
  element.classList.toggle("closed", row.ended);
  element.classList.toggle("fresh", row.fresh);
  element.classList.toggle("within", row.within);
  element.classList.toggle("chosen", number === cursor);
  element.setAttribute("aria-selected", String(number === cursor));
  element.style.opacity = String(1 - 0.85 * row.fade);
  const [enc, state, local, peer, process, use, received, sent, spark] = element.children;
  if (enc.dataset.is !== row.encrypted) {
    enc.dataset.is = row.encrypted;
    enc.className = `enc ${row.encrypted}`;
    enc.title = LOCKS[row.encrypted];
    enc.setAttribute("aria-label", LOCKS[row.encrypted]);
    enc.firstChild.firstChild.setAttribute("href", `#lock-${row.encrypted}`);
  }
  setText(state, row.state);
  setText(local, row.local);
  local.className = row.found ? `local mark ${row.found}` : "local";
  fillPeer(peer, row);
  setText(process, row.process);
  setText(use, row.use);
  setText(received, row.received);
  setText(sent, row.sent);
  for (const cell of [local, peer, process]) cell.title = cell.textContent;
  spark.firstChild.firstChild.setAttribute("d", bars(row.spark, 20));
}

function fillPeer(cell, row) {
  if (!row.exposure) {
    setText(cell, row.peer);
  } else if (cell.dataset.exposure !== row.exposure) {
    cell.replaceChildren(made("span", `badge ${row.exposure}`, REACH[row.exposure] ?? row.exposure));
  }
  cell.dataset.exposure = row.exposure;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- which lines

let placing = false;

function place() { // ask for other lines when those that can be seen are not among those that were told
  if (placing) return;
  placing = true;
  requestAnimationFrame(() => {
    placing = false;
    const height = lineHeight();
    const first = Math.floor(scroll.scrollTop / height), seen = Math.ceil(scroll.clientHeight / height) + 1;
    const last = Math.min(first + seen, said.total);
    const size = Math.min(seen + 2 * MARGIN_LINES, 200);
    if (size === look.size && said.first <= first && said.first + said.lines.length >= last) return;
    look.first = Math.max(0, first - MARGIN_LINES);
    look.size = size;
    ask();
  });
}

function choose(number) {
  cursor = number;
  look.chosen = number;
  drawLines();
  if (said.chosen === number) drawDetail(); // what is known there is not told again
  ask();
}

function leave() {
  look.chosen = 0;
  detail.hidden = true;
  ask();
  scroll.focus();
}

function move(by) {
  const numbers = said.lines.filter((line) => typeof line === "number");
  if (!numbers.length) return;
  const at = numbers.indexOf(cursor);
  cursor = numbers[at < 0 ? 0 : Math.max(0, Math.min(at + by, numbers.length - 1))];
  if (look.chosen) look.chosen = cursor;
  const height = lineHeight(), top = (said.first + said.lines.indexOf(cursor)) * height;
  if (top < scroll.scrollTop) scroll.scrollTop = top;
  else if (top + height > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + height - scroll.clientHeight;
  drawLines();
  if (look.chosen) ask();
}

function view(name) {
  look.view = name;
  look.first = 0;
  scroll.scrollTop = 0;
  for (const button of byId("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === name));
  ask();
}

function sort(column, downwards) {
  look.column = column;
  look.downwards = downwards;
  byId("order").value = column;
  for (const cell of byId("head").children) {
    if (cell.dataset.column && cell.dataset.column === column) cell.setAttribute("aria-sort", downwards ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
    const mark = cell.querySelector("i");
    if (mark) mark.textContent = cell.hasAttribute("aria-sort") ? (downwards ? " ▾" : " ▴") : "";
  }
  ask();
}

function hold(yes) {
  look.hold = yes;
  byId("hold").setAttribute("aria-pressed", String(yes));
  ask();
}

// --- one socket

function drawDetail() {
  const shown = said.detail;
  detail.hidden = shown === null;
  if (shown === null) return;
  const known = new Map(shown.known);
  setText(detail.querySelector("h2"), known.get("peer").includes("://") ? `${known.get("local")} → ${known.get("peer")}` : known.get("local"));
  detail.querySelector(".bars").setAttribute("d", bars(shown.spark, 34));
  const from = shown.began === null ? 0 : Math.max(0, 60 - shown.began), to = shown.ended === null ? 60 : Math.max(0, 60 - shown.ended);
  const begins = shown.began !== null && shown.began < 60 ? `M${from} 35v5` : "", ends = shown.ended !== null ? `M${to} 35v5` : "";
  detail.querySelector(".life").setAttribute("d", `M${from} 37.5H${to}${begins}${ends}`);
  setText(byId("most"), shown.spark ? `at most ${shown.most}` : "nothing moved");
  drawKnown(shown.known);
  const judged = JSON.stringify(shown.findings), commands = JSON.stringify(shown.commands);
  redraw(byId("judged"), judged, () => shown.findings.map(findingElement));
  redraw(byId("commands"), commands, () => shown.commands.map(commandElement));
  byId("close").hidden = !(mayClose && shown.can_close);
}

function drawKnown(known) { // word by word, so that what somebody has marked stays marked
  const list = detail.querySelector("dl");
  redraw(list, known.map(([name]) => name).join(), () => known.flatMap(([name]) => [made("dt", "", name), made("dd")]));
  known.forEach(([name, value], at) => {
    const cell = list.children[2 * at + 1];
    if (name !== "last minute") setText(cell, value);
    cell.hidden = list.children[2 * at].hidden = name === "last minute"; // it is drawn above
  });
}

function redraw(element, state, children) {
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  element.replaceChildren(...children());
}

function commandElement(command) {
  const element = made("div", "command"), button = made("button", "", "copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      notice("copied");
    } catch {
      notice("the browser does not let this page copy: mark the text");
    }
  });
  element.append(made("code", "", command), button);
  return element;
}

let noticed = 0;

function notice(text) {
  const shown = byId("notice");
  shown.textContent = text;
  shown.hidden = false;
  clearTimeout(noticed);
  noticed = setTimeout(() => { shown.hidden = true; }, 5000);
}

function question() {
  if (!said.detail || !mayClose || !said.detail.can_close) return;
  const known = new Map(said.detail.known), dialog = byId("question"), number = look.chosen;
  byId("asked").textContent = `Close ${detail.querySelector("h2").textContent}? ${known.get("process")} gets an error, and its peer a reset.`;
  byId("really").onclick = async () => {
    dialog.close();
    try {
      const answer = await post("close", { number });
      notice(answer.ok ? "closed" : (await answer.text()).trim());
    } catch {
      notice("the command does not answer");
    }
  };
  dialog.showModal();
  byId("keep").focus();
}

// --- keys and buttons: those of the screen in a terminal

function pressed(event) {
  const typing = event.target.matches("input, select"), asked = byId("question").open;
  if (event.ctrlKey || event.metaKey || event.altKey || asked) return;
  if (event.key === "Escape") {
    if (typing) scroll.focus();
    else if (look.chosen) leave();
    return;
  }
  if (typing) {
    if (event.key === "Enter") scroll.focus();
    return;
  }
  const views = [...byId("views").children].map((button) => button.dataset.view);
  const actions = {
    "/": () => byId("filter").focus(),
    "h": () => hold(!look.hold),
    "k": question,
    "ArrowDown": () => move(1),
    "ArrowUp": () => move(-1),
    ...Object.fromEntries(views.map((name, at) => [String(at + 1), () => view(name)])),
  };
  if (event.target === scroll || event.target === document.body) actions.Enter = () => cursor && choose(cursor);
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

function drawHead() {
  for (const [name, title, kind] of COLUMNS) {
    const cell = made("div", kind);
    cell.setAttribute("role", "columnheader");
    if (name === null) {
      cell.textContent = title;
    } else {
      const button = made("button"), many = kind.startsWith("number");
      button.type = "button";
      button.append(title || "enc", made("i"));
      button.addEventListener("click", () => {
        // Numbers from the largest, words from the first; then the other way round; then what moves most.
        if (look.column !== name) sort(name, many);
        else if (look.downwards === many) sort(name, !many);
        else sort("", false);
      });
      cell.dataset.column = name;
      cell.append(button);
      const option = made("option", "", `sorted by ${title || "encryption"}`);
      option.value = name;
      byId("order").append(option);
    }
    byId("head").append(cell);
  }
}

function begin() {
  remember();
  drawHead();
  byId("filter").value = look.filter;
  byId("filter").addEventListener("input", (event) => {
    look.filter = event.target.value;
    look.first = 0;
    scroll.scrollTop = 0;
    ask();
  });
  byId("order").addEventListener("change", (event) => sort(event.target.value, ["received", "sent"].includes(event.target.value)));
  byId("hold").addEventListener("click", () => hold(!look.hold));
  byId("views").addEventListener("click", (event) => event.target.dataset.view && view(event.target.dataset.view));
  byId("audit").addEventListener("click", (event) => {
    byId("findings").hidden = !byId("findings").hidden;
    event.currentTarget.setAttribute("aria-expanded", String(!byId("findings").hidden));
    place();
  });
  byId("leave").addEventListener("click", leave);
  byId("close").addEventListener("click", question);
  byId("keep").addEventListener("click", () => byId("question").close());
  scroll.addEventListener("scroll", place, { passive: true });
  new ResizeObserver(() => { drawLines(); place(); }).observe(scroll);
  document.addEventListener("keydown", pressed);
  view(look.view);
  sort(look.column, look.downwards);
  connect();
}

begin();
