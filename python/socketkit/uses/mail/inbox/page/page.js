// The page of the inbox. Whatever comes from a mail is set as text, never as markup; its HTML is shown by the browser
// in a frame that is another site's to it (sandbox), as the command serves it: under a policy that lets it do nothing.
"use strict";

const LISTED = 50; // at once
const KEPT = 1000; // in the list, while mails come
const MOST_SHOWN = 300_000; // letters of a text or a source
const SVG = "http://www.w3.org/2000/svg";
const TABS = { html: "HTML", text: "text", source: "source", headers: "headers", links: "links", security: "security" };

const byId = (name) => document.getElementById(name);
const list = byId("list"), mails = byId("mails"), view = byId("mail"), body = byId("body"), search = byId("search");

const known = new Map(); // what the list says of a mail, by its number
const drawn = new Map(); // its line
let order = [], next = null, addresses = {}, outlet = null, cursor = 0, lostTimes = 0;
let shown = null; // the mail that is open, with all that is in it
let tab = "", width = "full", withPictures = false;

// --- asking the command

async function ask(path, method = "GET", value = undefined) {
  const headers = value === undefined ? {} : { "content-type": "application/json" };
  const answer = await fetch(`api/${path}`, { method, headers, body: value === undefined ? undefined : JSON.stringify(value) });
  const told = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

function failed(failure) {
  notice(failure instanceof TypeError ? "the command does not answer" : failure.message);
}

let asked = 0, heard = 0;

async function load() {
  const mine = ++asked, before = heard;
  try {
    const told = await page();
    if (mine !== asked) return; // other words have been typed meanwhile
    known.clear();
    order = [];
    take(told);
    problem("");
    if (heard !== before) loadSoon(); // the list may be older than what was told meanwhile
  } catch (failure) {
    if (mine === asked) problem(failure.message);
  }
}

async function page(before = null) {
  const words = new URLSearchParams({ limit: LISTED });
  if (search.value.trim()) words.set("search", search.value);
  if (before !== null) words.set("before", before);
  return ask(`mails?${words}`);
}

function take(told) {
  for (const mail of told.mails) {
    if (!known.has(mail.id)) order.push(mail.id);
    known.set(mail.id, mail);
  }
  next = told.next;
  held(told);
  draw();
}

let loadingMore = false;

async function more() {
  if (next === null || loadingMore || list.scrollTop + list.clientHeight < list.scrollHeight - 400) return;
  loadingMore = true;
  const mine = asked;
  try {
    const told = await page(next);
    if (mine === asked) take(told);
  } catch (failure) {
    failed(failure);
  } finally {
    loadingMore = false;
  }
}

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
  search.setAttribute("aria-invalid", String(Boolean(text)));
}

// --- what is told while the page is open

function connect() {
  const source = new EventSource("api/events");
  source.onmessage = (event) => changed(JSON.parse(event.data));
  source.onerror = () => {
    source.close();
    lostTimes += 1;
    byId("lost").hidden = lostTimes < 2;
    setTimeout(connect, Math.min(500 * lostTimes, 5000));
  };
}

function changed(news) {
  heard += 1;
  held(news);
  if (news.kind === "hello") {
    addresses = news.addresses;
    outlet = news.release;
    byId("release").hidden = !outlet;
    lostTimes = 0;
    byId("lost").hidden = true;
    load();
  } else if (news.kind === "lost" || (news.kind === "added" && search.value.trim())) {
    loadSoon();
  } else if (news.kind === "added") {
    const fresh = news.mails.filter((mail) => !known.has(mail.id)).sort((one, other) => other.id - one.id);
    for (const mail of fresh) known.set(mail.id, mail);
    order = [...fresh.map((mail) => mail.id), ...order];
    for (const number of order.splice(KEPT)) {
      known.delete(number);
      next = order[KEPT - 1];
    }
    drawSoon();
  } else if (news.kind === "deleted") {
    removed(new Set(news.ids));
  } else {
    for (const mail of news.mails) if (known.has(mail.id)) known.set(mail.id, mail);
    if (shown && news.ids.includes(shown.id)) {
      shown.seen = news.mails[0].seen;
      drawSeen();
    }
    drawSoon();
  }
}

function removed(gone) {
  const place = order.indexOf(cursor);
  if (gone.has(cursor)) cursor = order.slice(place).find((number) => !gone.has(number)) ?? order.slice(0, place).findLast((number) => !gone.has(number)) ?? 0;
  order = order.filter((number) => !gone.has(number));
  for (const number of gone) known.delete(number);
  if (shown && gone.has(shown.id)) go(wide() ? cursor : 0);
  drawSoon();
  more();
}

function held({ count, bytes }) {
  byId("held").textContent = count ? `${count.toLocaleString("en")} mail${count === 1 ? "" : "s"}, ${size(bytes)}` : "no mail";
  byId("clear").disabled = !count;
  document.title = count ? `(${count}) socketkit inbox` : "socketkit inbox";
}

let soon = 0, loading = 0;

function drawSoon() { // a thousand mails a second are drawn as often as the screen is
  if (!soon) soon = requestAnimationFrame(draw);
}

function loadSoon() {
  if (!loading) loading = setTimeout(() => { loading = 0; load(); }, 300);
}

// --- the list

function made(tag, kind = "", text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
}

function sign(name) {
  const svg = document.createElementNS(SVG, "svg"), use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "sign");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

function draw() {
  soon = 0;
  for (const number of drawn.keys()) if (!known.has(number)) drawn.delete(number);
  const lines = order.map(line);
  const same = lines.length === mails.children.length && lines.every((element, at) => mails.children[at] === element);
  if (!same) mails.replaceChildren(...lines);
  const none = byId("none");
  none.hidden = order.length > 0;
  if (!none.hidden) drawNone(none);
}

function drawNone(none) {
  const found = search.value.trim();
  none.firstElementChild.textContent = found ? "No mail is what you search for." : "No mail has come yet. Programs send it here:";
  const lines = found ? [] : Object.entries(addresses).flatMap(([name, where]) => [made("dt", "", name), made("dd", "mono", where)]);
  none.lastElementChild.replaceChildren(...lines);
}

function line(number) {
  const mail = known.get(number);
  let item = drawn.get(number);
  if (!item) {
    item = made("li");
    const link = made("a");
    link.href = `#${number}`;
    link.append(made("span", "dot"), made("span", "author", author(mail)), made("span", "when", when(mail.received)));
    link.append(made("span", "subject", mail.subject || "(no subject)"), made("span", "to", `to ${mail.to.join(", ")}`), how(mail));
    link.title = mail.subject;
    item.append(link);
    drawn.set(number, item);
  }
  const link = item.firstChild;
  link.className = `${mail.seen ? "" : "unseen"} ${number === cursor ? "cursor" : ""}`;
  link.setAttribute("aria-current", String(Boolean(shown) && shown.id === number));
  return item;
}

function author(mail) {
  const name = mail.header_from.replace(/<[^<>]*>\s*$/, "").trim().replace(/^"(.*)"$/, "$1");
  return name || mail.header_from || mail.from || "(nobody)";
}

function how(mail) {
  const { tls, password_in_clear: password } = mail.client;
  const element = made("span", password ? "how bad" : tls ? "how good" : "how");
  element.title = password ? "a password was sent in plain text" : tls ? `it came under ${tls}` : "it came in plain text";
  element.append(sign(tls && !password ? "shut" : "open"));
  return element;
}

function when(seconds) {
  const date = new Date(seconds * 1000), today = new Date().toDateString() === date.toDateString();
  return today ? date.toTimeString().slice(0, 5) : date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

function size(bytes) {
  for (const [unit, each] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (bytes >= each) return `${(bytes / each).toPrecision(3)} ${unit}`;
  return `${bytes} B`;
}

function move(by) {
  if (!order.length) return;
  const at = order.indexOf(cursor);
  cursor = order[at < 0 ? 0 : Math.max(0, Math.min(at + by, order.length - 1))];
  drawn.get(cursor)?.scrollIntoView({ block: "nearest" });
  if (shown) go(cursor);
  else draw();
}

// --- one mail: which one is open stands in the address, so that "back" goes back and a page loaded again shows it

function wide() {
  return matchMedia("(min-width: 761px)").matches;
}

function go(number) {
  const address = number ? `#${number}` : location.pathname;
  if (shown || !number) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  follow();
}

async function follow() {
  const number = Number(location.hash.slice(1));
  if (!number) {
    close();
    return;
  }
  cursor = number;
  if (shown && shown.id === number) return;
  try {
    const told = await ask(`mails/${number}`);
    if (Number(location.hash.slice(1)) !== number) return;
    show(told);
    if (!told.seen) await ask(`mails/${number}`, "PATCH", { seen: true });
  } catch (failure) {
    failed(failure);
    if (!shown || shown.id !== number) go(0);
  }
}

function close() {
  shown = null;
  view.hidden = true;
  body.replaceChildren();
  document.body.classList.remove("reading");
  draw();
}

function show(mail) {
  shown = mail;
  withPictures = false;
  view.hidden = false;
  document.body.classList.add("reading");
  view.querySelector("h2").textContent = mail.subject || "(no subject)";
  byId("raw").href = `api/mails/${mail.id}/raw`;
  drawSeen();
  drawMeta();
  // Pictures that stand in the mail itself are named last.
  const attached = mail.parts.filter((part) => part.attachment);
  attached.sort((one, other) => Boolean(one.content_id) - Boolean(other.content_id) || one.number - other.number);
  byId("attachments").replaceChildren(...attached.map(attachment));
  const has = { html: mail.html, text: mail.text, source: true, headers: true, links: mail.links.length, security: true };
  drawTabs(has);
  choose(has[tab] ? tab : mail.html ? "html" : mail.text ? "text" : "source");
  draw();
}

function drawSeen() {
  byId("unseen").textContent = shown.seen ? "mark unread" : "mark read";
}

function drawMeta() {
  const header = (name) => (shown.headers.find(([found]) => found.toLowerCase() === name) ?? ["", ""])[1];
  const facts = [["from", shown.header_from || shown.from], ["to", shown.header_to || shown.to.join(", ")], ["cc", header("cc")]];
  facts.push(["date", `${header("date") || new Date(shown.received * 1000).toUTCString()} · ${size(shown.size)}`]);
  // The envelope says where it would go; a header may say anything.
  const heads = `${shown.header_to} ${header("cc")}`.toLowerCase();
  const blind = shown.to.filter((address) => !heads.includes(address.toLowerCase()));
  if (shown.header_to && blind.length) facts.push(["also to", blind.join(", ")]);
  if (shown.header_from && !shown.header_from.includes(shown.from)) facts.push(["sent by", shown.from || "<>"]);
  byId("meta").replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) => [made("dt", "", name), made("dd", "", value)]));
}

function attachment(part) {
  const item = made("li"), link = made("a", "button"), name = part.name || part.type;
  link.href = `api/mails/${shown.id}/parts/${part.number}`;
  link.download = "";
  link.title = `${name} (${part.type})`;
  link.append(sign("clip"), made("span", "name", name), made("span", "size", size(part.size)));
  item.append(link);
  return item;
}

function drawTabs(has) {
  const buttons = Object.entries(TABS).map(([name, title], at) => {
    const button = made("button", "", name === "links" && has.links ? `links ${has.links}` : title);
    button.type = "button";
    button.id = `tab-${name}`;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", "body");
    button.disabled = !has[name];
    button.title = `key ${at + 1}`;
    if (name === "security" && shown.findings.length) {
      const worst = shown.findings[0].severity;
      button.append(" ", made("span", worst === "high" ? "bad" : worst === "medium" ? "warn" : "", String(shown.findings.length)));
    }
    button.addEventListener("click", () => choose(name));
    return button;
  });
  byId("tabs").replaceChildren(...buttons);
}

function choose(name) {
  if (byId(`tab-${name}`)?.disabled) return;
  tab = name;
  for (const button of byId("tabs").children) button.setAttribute("aria-selected", String(button.id === `tab-${name}`));
  body.setAttribute("aria-labelledby", `tab-${name}`);
  byId("widths").hidden = name !== "html";
  drawStopped();
  const draws = { html: frame, text: plain, source, headers, links, security };
  draws[name]();
  body.scrollTop = 0;
}

function drawStopped() {
  const { remote, active } = shown.stopped, parts = [];
  if (remote) parts.push(withPictures ? "Pictures from elsewhere are loaded: who has sent them knows." : `${many(remote, "address")} elsewhere not loaded.`);
  if (active) parts.push(`${many(active, "script or form", "scripts and forms")} not run.`);
  byId("stopped").hidden = tab !== "html" || !parts.length;
  byId("stopped").firstElementChild.textContent = parts.join(" ");
  byId("pictures").hidden = !remote || withPictures;
}

function many(count, one, others = one === "address" ? "addresses" : `${one}s`) {
  return `${count} ${count === 1 ? one : others}`;
}

function frame() {
  const element = made("iframe", width === "phone" ? "phone" : "");
  // No script, no form, no place of ours; links open outside. A new frame each time: "back" does not go through it.
  element.sandbox = "allow-popups allow-popups-to-escape-sandbox";
  element.referrerPolicy = "no-referrer";
  element.title = "the mail's HTML";
  element.src = `api/mails/${shown.id}/html${withPictures ? "?pictures=yes" : ""}`;
  body.replaceChildren(element);
}

function plain() {
  const pre = made("pre"), text = shown.text.slice(0, MOST_SHOWN);
  let at = 0;
  for (const found of text.matchAll(/https?:\/\/[^\s<>"]+[^\s<>".,;:!?)']/g)) {
    pre.append(text.slice(at, found.index), away(found[0]));
    at = found.index + found[0].length;
  }
  pre.append(text.slice(at));
  body.replaceChildren(pre, ...cut(shown.text.length > MOST_SHOWN));
}

function away(address) {
  const link = made("a", "", address);
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

function cut(yes) {
  return yes ? [made("p", "note", "It goes on: .eml has all of it.")] : [];
}

async function source() {
  const { id } = shown, pre = made("pre", "", "…");
  body.replaceChildren(pre);
  try {
    const answer = await fetch(`api/mails/${id}/raw`), reader = answer.body.getReader(), decoder = new TextDecoder();
    let text = "", done = false;
    while (!done && text.length < MOST_SHOWN) {
      const piece = await reader.read();
      done = piece.done;
      text += decoder.decode(piece.value, { stream: !done });
    }
    if (!done) reader.cancel();
    pre.textContent = text.slice(0, MOST_SHOWN);
    if (!done) pre.after(...cut(true));
  } catch (failure) {
    failed(failure);
  }
}

function headers() {
  const rows = made("dl", "headers");
  rows.append(...shown.headers.flatMap(([name, value]) => [made("dt", "", name), made("dd", "mono", value)]));
  body.replaceChildren(rows);
}

function links() {
  const items = made("ul", "links");
  for (const address of shown.links) {
    const item = made("li");
    item.append(away(address));
    items.append(item);
  }
  body.replaceChildren(items);
}

function security() {
  const client = shown.client, facts = made("dl", "facts");
  const rows = [
    ["encrypted", client.tls ? `yes, ${client.tls}${client.cipher ? ` (${client.cipher})` : ""}` : "no, it came in plain text", client.tls ? "yes" : "no"],
    ["password", client.password_in_clear ? "sent in plain text" : client.user ? "sent under TLS" : "none sent", client.password_in_clear ? "no" : ""],
    ["user", client.user ? `${client.user} (${client.mechanism})` : ""],
    ["called itself", client.hello ?? ""],
    ["came from", client.peer ?? ""],
    ["did wrong", (client.faults ?? []).join(", ").replaceAll("_", " ")],
  ];
  for (const [name, value, kind] of rows) if (value) facts.append(made("dt", "", name), made("dd", kind ?? "", value));
  const found = shown.findings.map((finding) => {
    const element = made("div", "finding"), title = made("div");
    title.append(made("span", `word ${finding.severity}`, finding.severity), `${finding.title} `, made("span", "where", finding.id));
    element.append(title, made("div", "where", finding.evidence), made("div", "", `→ ${finding.remedy}`));
    return element;
  });
  body.replaceChildren(facts, ...(found.length ? found : [made("p", "note", "Nothing is wrong with how it came.")]));
}

// --- changing something

async function remove(number) {
  if (!number) return;
  try {
    await ask(`mails/${number}`, "DELETE");
    removed(new Set([number]));
  } catch (failure) {
    failed(failure);
  }
}

async function mark() {
  const mail = shown ?? known.get(cursor);
  if (mail) await ask(`mails/${mail.id}`, "PATCH", { seen: !mail.seen }).catch(failed);
}

function question() {
  byId("asked").textContent = "Delete every mail here, found or not?";
  byId("question").showModal();
  byId("keep").focus();
}

async function clear() {
  byId("question").close();
  try {
    await ask("mails", "DELETE");
    go(0);
  } catch (failure) {
    failed(failure);
  }
}

// --- sending one on, where that is allowed

function release() {
  byId("people").value = shown.to.join(", ");
  byId("server").replaceChildren(...outlet.servers.map((server) => made("option", "", server)));
  byId("allowed").textContent = `Mail may go to ${outlet.to.join(", ")}, and to nobody else.`;
  byId("said").textContent = "";
  byId("leave").disabled = false;
  byId("releasing").showModal();
}

async function leave() {
  const { id } = shown, people = byId("people").value.split(/[\s,;]+/).filter(Boolean);
  byId("leave").disabled = true;
  byId("said").className = "";
  byId("said").textContent = "on its way …";
  try {
    const told = await ask(`mails/${id}/release`, "POST", { server: byId("server").value, to: people });
    const refused = told.deliveries.filter((delivery) => !delivery.accepted);
    if (refused.length) throw new Error(`Not all of them took it.\n${refused.map(({ recipient, code, text }) => `${recipient}: ${code} ${text}`).join("\n")}`);
    byId("releasing").close();
    notice(`sent on to ${told.deliveries.map(({ recipient }) => recipient).join(", ")}`);
  } catch (failure) {
    byId("said").className = "no";
    byId("said").textContent = failure instanceof TypeError ? "the command does not answer" : failure.message;
    byId("leave").disabled = false;
  }
}

let noticed = 0;

function notice(text) {
  const element = byId("notice");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(noticed);
  noticed = setTimeout(() => { element.hidden = true; }, 5000);
}

// --- keys and buttons

function pressed(event) {
  const typing = event.target === search;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (typing) search.blur();
    else if (shown) go(0);
    return;
  }
  if (typing) {
    if (event.key === "Enter") search.blur();
    return;
  }
  const actions = {
    "j": () => move(1), "k": () => move(-1), "ArrowDown": () => move(1), "ArrowUp": () => move(-1),
    "d": () => remove(shown ? shown.id : cursor), "u": mark, "/": () => search.focus(), "?": () => byId("keys").showModal(),
    ...Object.fromEntries(Object.keys(TABS).map((name, at) => [String(at + 1), () => shown && choose(name)])),
  };
  if (!event.target.matches("button, a")) actions.Enter = () => cursor && go(cursor);
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

function begin() {
  let typed = 0;
  search.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => { list.scrollTop = 0; load(); }, 150);
  });
  mails.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(Number(link.hash.slice(1)));
  });
  byId("widths").addEventListener("click", (event) => {
    if (!event.target.dataset.width) return;
    width = event.target.dataset.width;
    for (const button of byId("widths").children) button.setAttribute("aria-pressed", String(button.dataset.width === width));
    body.querySelector("iframe")?.classList.toggle("phone", width === "phone");
  });
  byId("pictures").addEventListener("click", () => { withPictures = true; drawStopped(); frame(); });
  byId("back").addEventListener("click", () => go(0));
  byId("unseen").addEventListener("click", mark);
  byId("delete").addEventListener("click", () => remove(shown.id));
  byId("clear").addEventListener("click", question);
  byId("release").addEventListener("click", release);
  byId("stay").addEventListener("click", () => byId("releasing").close());
  byId("leave").addEventListener("click", leave);
  byId("keep").addEventListener("click", () => byId("question").close());
  byId("really").addEventListener("click", clear);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("enough").addEventListener("click", () => byId("keys").close());
  list.addEventListener("scroll", more, { passive: true });
  document.addEventListener("keydown", pressed);
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
  connect();
  follow();
}

begin();
