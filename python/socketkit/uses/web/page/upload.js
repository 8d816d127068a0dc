"use strict";
// Uploads from the page of a folder, by tus 1.0: several files, each with its progress; what broke or was paused is
// gone on with, behind a reload as well, when the same file (name, size, time) is chosen again. Without this script the
// form sends the files itself. `uploaded` is told on the document behind the last file: who prevents its default shows
// the folder's new files himself, otherwise the page is loaded anew.
(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const box = form.closest(".upload"), list = document.getElementById("uploads"), picker = form.elements.file;
  const AT_ONCE = 2, MOST_TRIES = 8, PREFIX = `upload ${location.pathname} `, VERSION = { "Tus-Resumable": "1.0.0" };
  const waiting = [];
  let running = 0, failed = 0;

  // --- what is remembered of unfinished uploads, where the browser lets a page remember

  const kept = {
    all() {
      try {
        return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
      } catch {
        return [];
      }
    },
    of(key) {
      try {
        return localStorage.getItem(key);
      } catch {
        return null;
      }
    },
    set(key, place) {
      try {
        if (place) localStorage.setItem(key, place);
        else localStorage.removeItem(key);
      } catch { /* then it cannot be gone on with behind a reload */ }
    },
  };
  const keyOf = (file) => `${PREFIX}${file.size} ${file.lastModified} ${file.name}`;

  // --- what is shown

  const UNITS = ["B", "kB", "MB", "GB", "TB"];
  function sized(bytes) {
    let unit = 0;
    while (bytes >= 1000 && unit < UNITS.length - 1) { bytes /= 1000; unit++; }
    return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
  }

  function make(tag, properties) {
    return Object.assign(document.createElement(tag), properties);
  }

  function lineOf(name) {
    const line = { row: make("li"), words: make("output"), bar: make("progress", { max: 1, value: 0 }),
      button: make("button", { type: "button", hidden: true }) };
    line.row.append(make("span", { className: "name", textContent: name, title: name }), line.words, line.button, line.bar);
    line.bar.setAttribute("aria-label", name);
    list.append(line.row);
    return line;
  }

  function show(line, state, words, action, act) {
    line.row.className = state;
    line.words.textContent = words;
    line.button.hidden = !action;
    line.button.textContent = action || "";
    line.button.onclick = act || null;
  }

  function progress(upload, sent) {
    const share = upload.file.size ? sent / upload.file.size : 1;
    const seconds = (performance.now() - upload.began) / 1000, moved = sent - upload.from;
    const rate = seconds > 1 && moved > 0 ? `, ${sized(moved / seconds)}/s` : "";
    upload.line.bar.value = share;
    show(upload.line, "going", `${Math.floor(share * 100)} % of ${sized(upload.file.size)}${rate}`, "Pause", () => pause(upload));
  }

  // --- an upload

  class Refusal extends Error {}

  async function ask(method, place, headers) {
    const answer = await fetch(place, { method, headers: { ...VERSION, ...headers }, redirect: "error" });
    if (answer.ok) return answer;
    const words = (await answer.text()).trim().split("\n")[0].slice(0, 300);
    throw Object.assign(new Refusal(words || `the server says ${answer.status}`), { status: answer.status });
  }

  function base64(text) {
    return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  }

  // Where it is to go on: the number of bytes that are there.
  async function offsetOf(upload) {
    upload.place ||= kept.of(upload.key);
    if (upload.place) {
      try {
        return Number((await ask("HEAD", upload.place)).headers.get("upload-offset"));
      } catch (failure) {
        if (!(failure instanceof Refusal) || failure.status !== 404) throw failure;
        upload.place = null;  // it was too old, or was removed: from the beginning, then
        kept.set(upload.key, null);
      }
    }
    const { file } = upload;
    const headers = { "Upload-Length": file.size, "Upload-Metadata": `filename ${base64(file.name)}` };
    upload.place = (await ask("POST", location.pathname, headers)).headers.get("location");
    kept.set(upload.key, upload.place);
    return 0;
  }

  // fetch() tells nothing of what it has sent, so that the bytes go by XMLHttpRequest.
  function patch(upload, offset) {
    return new Promise((resolve, reject) => {
      const request = upload.request = new XMLHttpRequest();
      request.open("PATCH", upload.place);
      for (const [name, value] of Object.entries({ ...VERSION, "Upload-Offset": offset,
        "Content-Type": "application/offset+octet-stream" })) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => {
        upload.tries = 0;
        if (!upload.paused) progress(upload, offset + event.loaded);
      };
      request.onload = () => {
        if (request.status === 204) resolve(Number(request.getResponseHeader("upload-offset")));
        else if (request.status === 409 && request.getResponseHeader("upload-offset") !== null) resolve(-1);
        else reject(Object.assign(new Refusal(request.responseText.trim().split("\n")[0].slice(0, 300)
          || `the server says ${request.status}`), { status: request.status }));
      };
      request.onerror = request.onabort = () => reject(new Error("the connection broke"));
      request.send(upload.file.slice(offset));
    });
  }

  async function send(upload) {
    const { file } = upload;
    upload.paused = false;
    while (true) {
      try {
        let offset = await offsetOf(upload);
        upload.from = offset;
        upload.began = performance.now();
        if (upload.paused) return;
        progress(upload, offset);
        while (offset < file.size) {
          offset = await patch(upload, offset);
          if (offset < 0) offset = await offsetOf(upload);
        }
        kept.set(upload.key, null);
        show(upload.line, "done", `${sized(file.size)}, all there`);
        upload.done = true;
        return;
      } catch (failure) {
        if (upload.paused) return;
        // A file that the disk gives no longer (it was changed or removed) is an error of no connection.
        const readable = await file.slice(0, 1).arrayBuffer().then(() => true, () => false);
        const passing = !(failure instanceof Refusal) || failure.status === 423 || failure.status === 503;
        if (!readable || !passing || ++upload.tries > MOST_TRIES) {
          failed++;
          const words = readable ? failure.message : "this file can be read no more: choose it again";
          show(upload.line, "failed", words, readable ? "Try again" : null, () => { failed--; upload.tries = 0; enqueue(upload); });
          return;
        }
        show(upload.line, "going", "the connection broke: it goes on by itself", "Pause", () => pause(upload));
        await new Promise((resolve) => setTimeout(resolve, Math.min(2 ** upload.tries * 500, 15000)));
        if (upload.paused) return;
      }
    }
  }

  function pause(upload) {
    upload.paused = true;
    upload.request?.abort();
    show(upload.line, "paused", "paused", "Go on", () => enqueue(upload));
  }

  function enqueue(upload) {
    upload.paused = false;
    show(upload.line, "waiting", "waits for its turn");
    waiting.push(upload);
    turn();
  }

  async function turn() {
    if (running >= AT_ONCE || !waiting.length) return;
    running++;
    const upload = waiting.shift();
    try {
      await upload.sending;  // one that was paused may still be on its way out
      upload.sending = send(upload);
      await upload.sending;
    } finally {
      running--;
      turn();
    }
    const over = upload.done && !running && !waiting.length && !failed && !list.querySelector(".paused");
    if (over && document.dispatchEvent(new CustomEvent("uploaded", { cancelable: true }))) location.reload();
  }

  function take(files) {
    for (const file of files) {
      const key = keyOf(file);
      unfinished.get(key)?.row.remove();
      unfinished.delete(key);
      enqueue({ file, key, line: lineOf(file.name), tries: 0 });
    }
  }

  // --- what was begun before this page was loaded

  const unfinished = new Map();
  async function recall(key) {
    const [size, , ...name] = key.slice(PREFIX.length).split(" "), place = kept.of(key);
    let offset;
    try {
      offset = Number((await ask("HEAD", place)).headers.get("upload-offset"));
    } catch (failure) {
      if (failure instanceof Refusal) kept.set(key, null);
      return;
    }
    if (offset >= Number(size)) return kept.set(key, null);
    const line = lineOf(name.join(" "));
    unfinished.set(key, line);
    line.bar.value = offset / size;
    show(line, "recalled", `${Math.floor(offset / size * 100)} % is here: choose this file again to go on`, "Forget", async () => {
      line.row.remove();
      unfinished.delete(key);
      kept.set(key, null);
      await ask("DELETE", place).catch(() => {});  // or it goes by itself within a day
    });
  }

  // --- how files come

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take([...picker.files]);
    form.reset();
  });
  picker.addEventListener("change", () => {
    take([...picker.files]);
    form.reset();
  });
  const brings = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    box.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) box.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    box.classList.remove("dropping");
    const files = [];
    for (const item of event.dataTransfer.items) {
      const file = item.getAsFile();
      if (item.webkitGetAsEntry?.()?.isDirectory) show(lineOf(file.name), "failed", "folders are not taken: choose the files in it, or an archive of it");
      else if (file) files.push(file);
    }
    take(files);
  });
  form.querySelector("button").hidden = true;
  form.querySelector(".hint").hidden = false;
  for (const key of kept.all()) recall(key);
})();
