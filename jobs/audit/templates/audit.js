"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const TAP = 8; // CSS pixels that a finger may move in a tap

  // ---- the steps: every box once, and then every whole image, first its boxes and then what was missed
  const id = (box) => `${box.number} ${box.image}`;
  const steps = [];
  const known = new Set();
  const add = (box, shown) => {
    if (known.has(id(box))) return;
    known.add(id(box));
    steps.push({ id: id(box), box, shown });
  };
  for (const box of data.boxes) add(box, { picture: box.picture, area: box.area, title: box.title, others: box.others });
  for (const whole of data.wholes) {
    for (const box of whole.boxes) {
      const others = whole.boxes.filter((other) => other !== box).map((other) => other.box);
      add(box, { picture: whole.picture, area: whole.area, title: whole.title, others });
    }
    steps.push({ id: `missed ${whole.image}`, whole, shown: { picture: whole.picture, area: whole.area, title: whole.title, others: [] } });
  }

  // ---- what was said, which the browser keeps. boxes: by step; images: by step; order: the steps in which it was said
  const place = `boxcar audit ${data.digest}`;
  let said = { reviewer: "", boxes: {}, images: {}, order: [] };
  let keeps = true;
  try {
    said = { ...said, ...JSON.parse(localStorage.getItem(place) || "{}") };
    localStorage.setItem(place, JSON.stringify(said));
  } catch {
    keeps = false;
  }
  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(said));
    } catch {
      keeps = false;
      at("forgets").hidden = false;
    }
  }
  const judged = (step) => said.order.includes(step.id);
  const current = () => steps.find((step) => !judged(step));
  let step = null;
  let started = false;

  // ---- drawing
  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }
  const picture = at("picture");
  const rectangle = ([x, y, width, height]) => ({ x, y, width, height });
  // CSS pixels of one pixel of the image.
  const scale = () => picture.getScreenCTM().a || 1;
  const name = (label) => data.labels[label].shown;

  function drawBox(box, label, colour) {
    const group = element("g", { class: `judged ${colour}` }, picture);
    element("rect", { class: "under", ...rectangle(box) }, group);
    element("rect", { class: "line", ...rectangle(box) }, group);
    if (label === null) return;
    const text = element("text", { x: box[0], y: box[1] - 5 / scale(), "font-size": 14 / scale() }, group);
    if (box[1] < step.shown.area[1] + 20 / scale()) text.setAttribute("y", box[1] + 16 / scale());
    text.textContent = label;
  }

  function drawMark(mark) {
    const group = element("g", { class: "mark" }, picture);
    for (const shade of ["shade", ""]) {
      if (mark.width) element("rect", { class: shade, ...mark.box }, group);
      else element("circle", { class: shade, cx: mark.x, cy: mark.y, r: 9 / scale() }, group);
    }
    const text = element("text", { x: mark.x + (mark.width ? 0 : 13 / scale()), y: mark.y - 5 / scale(), "font-size": 14 / scale() }, group);
    text.textContent = `${name(mark.label)}${mark.sure ? "" : " ?"}`;
  }

  let cross = null; // where the keyboard's mark is, in pixels of the image
  let dragged = null;
  const marks = () => (said.images[step.id] || { missed: [] }).missed;

  function draw() {
    const { picture: uri, area, others } = step.shown;
    picture.replaceChildren();
    picture.setAttribute("viewBox", area.join(" "));
    element("image", { href: uri, ...rectangle(area), preserveAspectRatio: "none" }, picture);
    // A drawing of its own ends at the image's edge.
    const inner = element("svg", { ...rectangle(area), viewBox: area.join(" ") }, picture);
    for (const box of others) element("rect", { class: "other", ...rectangle(box) }, inner);
    if (step.box) drawBox(step.box.box, null, step.box.colour);
    else {
      for (const box of step.whole.boxes) {
        const { verdict, label } = said.boxes[id(box)] || {};
        if (verdict === "right") drawBox(box.box, name(box.label), box.colour);
        else if (verdict === "wrong_label" && label !== null) drawBox(box.box, name(label), box.colour);
        else if (verdict === "cannot_tell") drawBox(box.box, `${name(box.label)} ?`, box.colour);
      }
      for (const mark of marks()) drawMark({ ...mark, box: rectangle([mark.x, mark.y, mark.width, mark.height]) });
      if (dragged) element("rect", { class: "other", ...rectangle(dragged) }, picture);
      if (cross) {
        const [x, y, width, height] = area;
        element("line", { class: "cross", x1: x, x2: x + width, y1: cross.y, y2: cross.y }, picture);
        element("line", { class: "cross", y1: y, y2: y + height, x1: cross.x, x2: cross.x }, picture);
      }
      at("done").querySelector("span").textContent = marks().length ? `done, ${marks().length} missed` : "done, nothing is missed";
    }
  }

  function show() {
    step = current();
    cross = dragged = null;
    const count = steps.filter(judged).length;
    at("progress").textContent = `${count} of ${steps.length}`;
    at("bar").value = steps.length ? count / steps.length : 1;
    at("start").hidden = started;
    at("look").hidden = !started || !step;
    at("end").hidden = !started || Boolean(step);
    at("save").hidden = !started;
    for (const button of document.querySelectorAll(".undo")) button.disabled = !said.order.length && !(step && step.whole && marks().length);
    if (!started || !step) return;
    const missing = Boolean(step.whole);
    at("look").classList.toggle("missing", missing);
    at("verdicts").hidden = missing;
    at("misses").hidden = !missing;
    at("question").textContent = missing ? "Which objects have no right box?" : `Is this box right for: ${name(step.box.label)}?`;
    at("title").textContent = step.shown.title;
    draw();
    (missing ? picture : at("question")).focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  // ---- answers
  function say(kind, answer) {
    said[kind][step.id] = answer;
    said.order.push(step.id);
    keep();
    show();
  }

  function answer(verdict) {
    if (verdict !== "wrong_label") {
      say("boxes", { verdict, label: null });
      return;
    }
    const list = at("others");
    list.replaceChildren(new Option("something else", ""));
    data.labels.forEach((label, number) => number !== step.box.label && list.append(new Option(label.shown, number)));
    at("other").showModal();
    list.focus();
  }
  at("chosen").addEventListener("click", () => {
    at("other").close();
    const value = at("others").value;
    say("boxes", { verdict: "wrong_label", label: value === "" ? null : Number(value) });
  });
  at("back").addEventListener("click", () => at("other").close());

  function finishImage(unclear) {
    say("images", { missed: marks(), cannot_tell: unclear });
  }

  function undo() {
    if (step && step.whole && marks().length) {
      said.images[step.id].missed.pop();
    } else {
      const last = said.order.pop();
      if (last === undefined) return;
      delete said.boxes[last];
      // Marks stay, so that they can be changed.
      if (said.images[last]) said.images[last].cannot_tell = false;
    }
    keep();
    show();
  }

  function mark(x, y, width = 0, height = 0) {
    const list = marks();
    const reach = 22 / scale();
    const distance = (other) => Math.hypot(x - (other.x + other.width / 2), y - (other.y + other.height / 2));
    const near = list.map(distance).reduce((best, found, index) => (found < reach && (best < 0 || found < distance(list[best])) ? index : best), -1);
    if (!width && near >= 0) {
      if (list[near].sure) list[near].sure = false;
      else list.splice(near, 1);
    } else list.push({ label: Number(at("label").value), x, y, width, height, sure: true });
    said.images[step.id] = { missed: list, cannot_tell: false };
    keep();
    for (const button of document.querySelectorAll(".undo")) button.disabled = !said.order.length && !list.length;
    draw();
  }

  // ---- fingers and the mouse on the picture
  function point(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    const [left, top, width, height] = step.shown.area;
    const inside = (value, from, size) => Math.round(16 * Math.min(Math.max(value, from), from + size)) / 16;
    return { x: inside(x, left, width), y: inside(y, top, height), within: x >= left && x <= left + width && y >= top && y <= top + height };
  }
  let from = null;
  const span = (one, two) => [Math.min(one.x, two.x), Math.min(one.y, two.y), Math.abs(one.x - two.x), Math.abs(one.y - two.y)];
  const moved = (event) => Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) > TAP;
  picture.addEventListener("pointerdown", (event) => {
    if (!step || !step.whole || !event.isPrimary || event.button !== 0) return;
    from = { ...point(event), clientX: event.clientX, clientY: event.clientY };
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!from || !event.isPrimary) return;
    dragged = moved(event) ? span(from, point(event)) : null;
    draw();
  });
  picture.addEventListener("pointerup", (event) => {
    if (!from || !event.isPrimary) return;
    const start = from;
    const box = moved(event) ? span(start, point(event)) : null;
    from = dragged = null;
    if (box && box[2] >= 1 && box[3] >= 1) mark(...box);
    else if (!box && start.within) mark(start.x, start.y);
    else draw();
  });
  picture.addEventListener("pointercancel", () => {
    from = dragged = null;
    if (step && step.whole) draw();
  });

  // ---- keys
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  picture.addEventListener("keydown", (event) => {
    if (!step || !step.whole) return;
    const [left, top, width, height] = step.shown.area;
    const by = Math.max(width, height) / (event.shiftKey ? 200 : 40);
    if (event.key in ARROWS) {
      const [x, y] = ARROWS[event.key];
      cross = cross || { x: left + width / 2, y: top + height / 2 };
      cross = { x: Math.min(Math.max(cross.x + x * by, left), left + width), y: Math.min(Math.max(cross.y + y * by, top), top + height) };
      draw();
    } else if (event.key === " " && cross) mark(cross.x, cross.y);
    else return;
    event.preventDefault();
  });
  addEventListener("keydown", (event) => {
    if (!started || event.repeat || event.ctrlKey || event.metaKey || event.altKey || at("other").open) return;
    if (event.target.closest("select, input")) return;
    const key = event.key.toLowerCase();
    const number = "12345".indexOf(key);
    if (key === "u" || key === "backspace") undo();
    else if (key === "s") save();
    else if (step && step.box && number >= 0) answer(at("verdicts").children[number].dataset.verdict);
    else if (step && step.whole && key === "5") finishImage(true);
    else if (step && step.whole && key === "enter" && !event.target.closest("button")) finishImage(false);
    else return;
    event.preventDefault();
  });
  at("verdicts").addEventListener("click", (event) => {
    const button = event.target.closest("[data-verdict]");
    if (button) answer(button.dataset.verdict);
  });
  at("done").addEventListener("click", () => finishImage(false));
  at("unclear").addEventListener("click", () => finishImage(true));
  for (const button of document.querySelectorAll(".undo")) button.addEventListener("click", undo);
  data.labels.forEach((label, number) => at("label").append(new Option(label.shown, number)));
  const frequency = (label) => data.boxes.filter((box) => box.label === label).length;
  at("label").value = data.labels.reduce((best, _, label) => (frequency(label) > frequency(best) ? label : best), 0);

  // ---- the file
  const raw = (label) => (label === null ? null : data.labels[label].name);
  function save() {
    const boxes = steps.filter((one) => one.box && judged(one)).map((one) => {
      const { verdict, label } = said.boxes[one.id];
      return { image: one.box.image, number: one.box.number, verdict, label: raw(label) };
    });
    const images = steps.filter((one) => one.whole && judged(one)).map((one) => {
      const { missed, cannot_tell } = said.images[one.id];
      return { image: one.whole.image, missed: missed.map((found) => ({ ...found, label: raw(found.label) })), cannot_tell };
    });
    const head = JSON.stringify({ schema: 1, reviewer: said.reviewer, saved_at: new Date().toISOString() });
    // The sample goes back as the text that it came as: numbers that pass through a script may change.
    const text = `${head.slice(0, -1)},"sample":${data.sample},"boxes":${JSON.stringify(boxes)},"images":${JSON.stringify(images)}}\n`;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `verdicts-${said.reviewer.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "person"}.json`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
  at("save").addEventListener("click", save);
  at("last").addEventListener("click", save);

  // ---- begin
  at("name").value = said.reviewer;
  at("go").textContent = said.order.length ? "Go on" : "Start";
  at("forgets").hidden = keeps;
  at("who").addEventListener("submit", (event) => {
    event.preventDefault();
    said.reviewer = at("name").value.trim();
    if (!said.reviewer) return;
    started = true;
    keep();
    show();
  });
  addEventListener("resize", () => started && step && draw());
  show();
})();
