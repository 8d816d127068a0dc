// The list of a folder: sorts and searches what is there, and shows pictures, films and sound over the page.
"use strict";

(() => {
  const rows = document.getElementById("rows");
  const search = document.querySelector("input[type=search]");
  const counted = document.getElementById("count");
  const viewer = document.getElementById("viewer");
  const stage = document.getElementById("stage");
  const whole = counted.textContent;
  const wanted = new URLSearchParams(location.search);
  // A part of a long folder, or what was found in it, is not sorted here: the server knows the rest.
  const complete = !document.querySelector(".note") && !wanted.get("q");
  const linkOf = row => row.querySelector(".name a");
  const all = () => [...rows.children];

  // --- searching

  function find() {
    const text = search.value.trim().toLowerCase();
    let found = 0;
    for (const row of rows.children) {
      row.hidden = !linkOf(row).textContent.toLowerCase().includes(text);
      found += row.hidden ? 0 : 1;
    }
    counted.textContent = text ? `${found} of ${rows.children.length}` : whole;
  }

  if (complete) {
    search.addEventListener("input", find);
    search.form.addEventListener("submit", event => event.preventDefault());
  }
  document.addEventListener("keydown", event => {
    if (event.key === "/" && !viewer.open && event.target !== search) {
      event.preventDefault();
      search.focus();
    }
  });

  // --- sorting

  const compare = new Intl.Collator(undefined, {numeric: true, sensitivity: "base"}).compare;
  const ways = {
    name: (one, other) => compare(linkOf(one).textContent, linkOf(other).textContent),
    size: (one, other) => one.dataset.size - other.dataset.size,
    time: (one, other) => one.dataset.time - other.dataset.time,
  };

  function sort(event) {
    const head = event.currentTarget.parentElement;
    const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const way = ways[event.currentTarget.dataset.sort];
    const order = (one, other) =>
      (other.dataset.sort === "folder") - (one.dataset.sort === "folder") || turn * way(one, other) || ways.name(one, other);
    for (const other of head.parentElement.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
    rows.append(...all().sort(order));
    event.preventDefault();
  }

  if (complete) for (const head of document.querySelectorAll("[data-sort]")) if (head.href) head.addEventListener("click", sort);

  // --- showing

  const elements = {picture: "img", video: "video", audio: "audio"};
  let current = null;

  const showable = () => all().filter(row => row.dataset.sort in elements && !row.hidden);

  function show(row) {
    const link = linkOf(row);
    const element = document.createElement(elements[row.dataset.sort]);
    if (element.tagName === "IMG") {
      element.alt = link.textContent;
    } else {
      element.controls = true;
      element.autoplay = true;
      element.playsInline = true;
      element.addEventListener("ended", () => element.tagName === "AUDIO" && step(1));
    }
    element.addEventListener("error", () => {
      if (!element.isConnected) return;
      const words = document.createElement("p");
      words.textContent = "The browser cannot show this one: download it.";
      stage.replaceChildren(words);
    });
    element.src = link.href;
    clear();
    stage.replaceChildren(element);
    current = row;
    document.getElementById("title").textContent = link.textContent;
    const save = document.getElementById("save");
    save.href = link.href;
    const several = showable().length > 1;
    document.getElementById("previous").hidden = document.getElementById("next").hidden = !several;
    if (!viewer.open) viewer.showModal();
  }

  // What is taken out goes on playing, and loading, unless it is told to stop.
  function clear() {
    for (const media of stage.querySelectorAll("video, audio")) {
      media.pause();
      media.removeAttribute("src");
      media.load();
    }
    stage.replaceChildren();
  }

  function step(by) {
    const there = showable();
    if (there.length) show(there[(there.indexOf(current) + by + there.length) % there.length]);
  }

  rows.addEventListener("click", event => {
    const link = event.target.closest(".name a");
    const row = link && link.closest(".row");
    if (!row || !(row.dataset.sort in elements) || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show(row);
  });
  viewer.addEventListener("close", () => {
    clear();
    if (current) linkOf(current).focus();
  });
  viewer.addEventListener("click", event => {
    if (event.target === stage || event.target === viewer) viewer.close();
  });
  viewer.addEventListener("keydown", event => {
    // A film's own keys go through it in time.
    if (event.target.tagName === "VIDEO" || event.target.tagName === "AUDIO") return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  document.getElementById("close").addEventListener("click", () => viewer.close());
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
})();
