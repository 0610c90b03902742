// The page of launch.demo: a tab per demo, whose results are drawn by their kind.
"use strict";

const SMALL = 384; // images with shorter sides are enlarged, without smoothing

/** Makes an element; `fields` are its properties, `children` elements or texts. */
function make(tag, fields = {}, ...children) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
}

function image(url, alt) {
  const element = make("img", { src: url, alt });
  element.addEventListener("load", () => {
    const longer = Math.max(element.naturalWidth, element.naturalHeight);
    element.classList.toggle("small", longer < SMALL);
  });
  return element;
}

function saved(url, name) {
  return make("a", { href: url, download: name }, `Save ${name}`);
}

const DRAWN = {
  line: ({ text }) => make("p", { className: "line" }, text),

  file({ name, url }) {
    if (!url.startsWith("data:image/")) return make("p", { className: "file" }, saved(url, name));
    return make("figure", {}, image(url, name), make("figcaption", {}, saved(url, name)));
  },

  comparison({ before, after, name }) {
    const first = image(before, "before");
    first.classList.add("before");
    const edge = make("div", { className: "edge" });
    const both = make("div", { className: "comparison" }, image(after, "after"), first, edge);
    const range = make("input", { type: "range", min: 0, max: 100, value: 50, step: "any" });
    range.setAttribute("aria-label", "how much is shown as it was before");
    const move = (share) => both.style.setProperty("--at", `${share}%`);
    range.addEventListener("input", () => move(range.value));
    both.addEventListener("pointermove", (event) => {
      const box = both.getBoundingClientRect();
      range.value = (100 * (event.clientX - box.left)) / box.width;
      move(range.value);
    });
    move(range.value);
    const slider = make("div", { className: "slider" }, "before", range, "after");
    return make("figure", {}, both, slider, make("figcaption", {}, saved(after, name)));
  },

  bars({ title, bars }) {
    const rows = bars.map(({ name, share, color }) => {
      const bar = make("div", { className: "bar" });
      bar.style.width = `${100 * share}%`;
      if (color) bar.style.background = `rgb(${color.join(" ")})`;
      const text = `${(100 * share).toFixed(1)} %`;
      return make("tr", {}, make("td", {}, name), make("td", {}, bar), make("td", {}, text));
    });
    return make("table", { className: "bars" }, make("caption", {}, title), ...rows);
  },

  table({ columns, rows }) {
    const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
    const table = make("table", {}, line("th", columns), ...rows.map((row) => line("td", row)));
    return make("div", { className: "scroll" }, table);
  },
};

function settingField({ name, label, low, high, default: initial, whole }) {
  const input = make("input", { type: "number", name, min: low, max: high });
  input.step = whole ? 1 : "any";
  input.value = initial ?? "";
  input.required = initial !== null;
  return make("label", {}, make("span", {}, label), input);
}

/** Makes a demo's panel: a form, and what came of it. */
function panelOf({ title, takes_photo: takesPhoto, settings }, mostBytes) {
  const panel = document.getElementById("panel").content.firstElementChild.cloneNode(true);
  const [form, status, error, results] = ["form", ".status", ".error", ".results"].map((name) =>
    panel.querySelector(name),
  );
  const [zone, file, button] = [".photo", "[type=file]", "button"].map((name) =>
    form.querySelector(name),
  );
  const preview = zone.querySelector("img");
  zone.hidden = !takesPhoto;
  form.querySelector(".settings").append(...settings.map(settingField));

  function chosen() {
    URL.revokeObjectURL(preview.src);
    const [photo] = file.files;
    preview.hidden = !photo;
    error.textContent = "";
    if (photo) preview.src = URL.createObjectURL(photo);
  }

  function take(transfer) {
    if (!transfer.files.length) return;
    file.files = transfer.files;
    chosen();
  }

  async function run() {
    const photo = takesPhoto ? file.files[0] : null;
    if (takesPhoto && !photo) throw new Error("choose a photo first");
    if (photo && photo.size > mostBytes) {
      throw new Error(`${photo.name} is too large: ${mostBytes / 1e6} MB at most`);
    }
    const body = new FormData(form);
    body.set("demo", title);
    const response = await fetch("run", { method: "POST", body }).catch(() => {
      throw new Error("the demo doesn't answer: is it still running?");
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    results.replaceChildren(...answer.shown.map((part) => DRAWN[part.kind](part)));
  }

  preview.addEventListener("error", () => (preview.hidden = true)); // a kind that browsers lack
  file.addEventListener("change", chosen);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer);
    });
  }
  document.addEventListener("paste", (event) => {
    if (takesPhoto && !panel.hidden) take(event.clipboardData);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    results.replaceChildren();
    status.textContent = "Running. The first one of a size takes longer: it is compiled for.";
    button.disabled = true;
    try {
      await run();
    } catch (failure) {
      error.textContent = failure.message;
    } finally {
      status.textContent = "";
      button.disabled = false;
    }
  });
  return panel;
}

async function start() {
  const { demos, most_bytes: mostBytes } = await (await fetch("demos")).json();
  const panels = demos.map((demo) => panelOf(demo, mostBytes));
  const tabs = demos.map(({ title }) => make("button", { role: "tab" }, title));
  const show = (index) => {
    panels.forEach((panel, i) => (panel.hidden = i !== index));
    tabs.forEach((tab, i) => tab.setAttribute("aria-selected", i === index));
  };
  tabs.forEach((tab, index) => tab.addEventListener("click", () => show(index)));
  document.getElementById("tabs").append(...tabs);
  document.getElementById("panels").append(...panels);
  show(0);
}

start();
