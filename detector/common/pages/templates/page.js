"use strict";
(() => {
  const tools = document.querySelector(".tools");
  const gallery = document.querySelector(".gallery");
  const figures = gallery ? [...gallery.querySelectorAll("figure")] : [];

  // ---- filters: an image is shown if a box of it is left
  const control = (name) => tools.querySelector(`[data-filter="${name}"]`);
  const number = new Intl.NumberFormat("en");

  function filter() {
    const group = control("group").value;
    const label = control("label").value;
    const slider = control("score");
    const least = Number(slider.value);
    const open = label === "" && least <= Number(slider.min);
    let images = 0;
    let boxes = 0;
    for (const figure of figures) {
      let drawn = 0;
      let left = 0;
      for (const box of figure.querySelectorAll("g[data-label]")) {
        const score = box.dataset.score;
        const on = (label === "" || box.dataset.label === label) && (open || score === undefined || Number(score) >= least);
        box.classList.toggle("off", !on);
        drawn += on;
        // A truth has no score: it keeps an image only if the image is shown because of it.
        left += on && (open || score !== undefined || box.classList.contains("marked"));
      }
      const member = group === "" || figure.dataset.groups.split(" ").includes(group);
      figure.hidden = !member || (!open && left === 0);
      if (!figure.hidden) {
        images += 1;
        boxes += drawn;
      }
    }
    tools.querySelector("output").textContent = least.toFixed(2);
    tools.querySelector(".shown").textContent =
      `${number.format(images)} of ${number.format(figures.length)} images, ${number.format(boxes)} boxes`;
    document.querySelector(".nothing").hidden = images > 0;
  }

  // A link to an image that is filtered out resets the filters.
  function reveal() {
    const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (wanted && wanted.hidden) {
      tools.reset();
      filter();
      wanted.scrollIntoView();
    }
  }

  if (tools && figures.length) {
    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        filter();
      });
    };
    tools.hidden = false;
    tools.addEventListener("input", soon);
    tools.addEventListener("reset", () => setTimeout(filter));
    tools.addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", reveal);
    filter();
  }

  // ---- one image in a larger view
  const dialog = document.getElementById("larger");
  const frame = dialog.querySelector(".larger-frame");
  const text = dialog.querySelector(".larger-text");
  let current = null;

  function fit() {
    const drawing = frame.querySelector("svg");
    if (!drawing) return;
    const { width, height } = drawing.viewBox.baseVal;
    const scale = Math.min(frame.clientWidth / width, frame.clientHeight / height);
    drawing.setAttribute("font-size", (15 / scale).toFixed(2));
  }

  function show(figure) {
    current = figure;
    const caption = figure.querySelector("figcaption");
    dialog.querySelector("#larger-title").textContent = caption.querySelector(".key").title;
    frame.replaceChildren(...[...figure.querySelector(".frame").children].map((part) => part.cloneNode(true)));
    const notes = [...caption.querySelectorAll(".note")].map((note) => note.cloneNode(true));
    const list = document.createElement("ul");
    for (const box of [...figure.querySelectorAll("g[data-label]:not(.off)")].reverse()) {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = box.classList.contains("truth") ? "swatch" : `swatch ${box.classList[0]}`;
      const size = box.querySelector("rect");
      const [x, y, wide, high] = ["x", "y", "width", "height"].map((name) => Math.round(size.getAttribute(name)));
      item.append(swatch, `${box.querySelector("text").textContent}, ${wide} × ${high} px at ${x}, ${y}`);
      list.append(item);
    }
    text.replaceChildren(...notes, list);
    if (!dialog.open) dialog.showModal();
    fit();
  }

  function step(by) {
    const shown = figures.filter((figure) => !figure.hidden);
    const next = shown[(shown.indexOf(current) + by + shown.length) % shown.length];
    if (next) show(next);
  }

  for (const figure of figures) figure.querySelector(".frame").addEventListener("click", () => show(figure));
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.step) step(Number(button.dataset.step));
    else if (button || event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    if (!current) return;
    const button = current.querySelector(".frame");
    button.focus({ preventScroll: true });
    current.scrollIntoView({ block: "nearest" });
  });
  addEventListener("resize", () => dialog.open && fit());
})();
