"use strict";
// Texts of memories reach the document as textContent only, never as markup.
const { nodes, edges, derivations } = JSON.parse(document.getElementById("graph").textContent);
const $ = (id) => document.getElementById(id);
const stage = $("stage"), panel = $("panel"), welcome = [...panel.childNodes];
const drawn = [...stage.querySelectorAll(".node")], lines = [...stage.querySelectorAll(".edge")];

// What came from what ---------------------------------------------------------------------------

const pairs = (wanted) => edges.filter(([, , word]) => wanted(word));
const turned = (list) => list.map(([a, b]) => [b, a]);
const derived = pairs((word) => derivations.includes(word));
const back = mapped(derived), forth = mapped(turned(derived));
const made = pairs((word) => word === "wasGeneratedBy");
const maker = mapped(made), results = mapped(turned(made));
const uses = mapped(pairs((word) => word === "used"));
const acts = mapped(turned(pairs((word) => word === "wasAssociatedWith")));

function mapped(list) {
  const map = new Map();
  for (const [from, to] of list) map.has(from) ? map.get(from).push(to) : map.set(from, [to]);
  return map;
}

function reach(starts, map) {
  const found = new Set(starts);
  for (const one of found) for (const next of map.get(one) ?? []) found.add(next);
  return found;
}

function related(number) {
  const kind = nodes[number].kind;
  const own = kind === "agent" ? acts.get(number) ?? [] : kind === "activity" ? [number] : [];
  const from = kind === "entity" ? [number] : kind === "activity" ? uses.get(number) ?? [] : [];
  const to = kind === "entity" ? [number] : own.flatMap((one) => results.get(one) ?? []);
  const sources = reach(from, back), effects = reach(to, forth);
  const makers = (set) => [...set].flatMap((one) => maker.get(one) ?? []);
  const behind = new Set([...sources, ...makers(sources)]);
  const after = new Set([...effects, ...makers([...effects].filter((one) => one !== number)), ...own]);
  behind.delete(number);
  after.delete(number);
  return { behind, after };
}

// A node is chosen ------------------------------------------------------------------------------

let chosen = null;

function choose(number, { centre = false } = {}) {
  chosen = number;
  const { behind, after } = number === null ? { behind: new Set(), after: new Set() } : related(number);
  stage.classList.toggle("choosing", number !== null);
  for (const node of drawn) {
    const own = Number(node.dataset.node);
    mark(node, { chosen: own === number, source: behind.has(own), effect: after.has(own) });
  }
  for (const line of lines) {
    const ends = [Number(line.dataset.later), Number(line.dataset.earlier)];
    const within = (set) => ends.every((end) => end === number || set.has(end));
    const source = number !== null && within(behind);
    mark(line, { source, effect: number !== null && !source && within(after) });
  }
  panel.replaceChildren(...(number === null ? welcome : told(number, behind, after)));
  panel.scrollTop = 0;
  const name = number === null ? "" : "#" + encodeURIComponent(nodes[number].name);
  history.replaceState(null, "", name || location.pathname + location.search);
  if (centre && number !== null) show(number);
}

function mark(element, marks) {
  for (const [name, yes] of Object.entries(marks)) element.classList.toggle(name, yes);
  element.classList.toggle("on", Object.values(marks).some(Boolean));
}

function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function told(number, behind, after) {
  const { name, title, text, fields } = nodes[number];
  const rows = Object.entries(fields).flatMap(([key, value]) => [
    make("dt", key.replaceAll("_", " ")), make("dd", value),
  ]);
  const facts = make("dl", "", make("dt", "node"), make("dd", name), ...rows);
  const quote = text ? [make("blockquote", text)] : [];
  return [
    make("h2", title), ...quote, facts,
    ...listed("Came from", "source", behind), ...listed("Led to", "effect", after),
  ];
}

function listed(heading, kind, set) {
  const versions = [...set].filter((one) => nodes[one].kind === "entity").sort((a, b) => a - b);
  const head = make("h3", `${heading} ${versions.length || "nothing"}${versions.length ? "" : " here"}`);
  head.className = kind;
  const items = versions.map((one) => {
    const button = make("button", nodes[one].text.slice(0, 140), make("small", nodes[one].title));
    button.addEventListener("click", () => choose(one, { centre: true }));
    return make("li", "", button);
  });
  return [head, make("ol", "", ...items)];
}

// Moving and zooming: the view box is the camera ------------------------------------------------

const scene = () => stage.querySelector(".scene:not([hidden])");
let camera = { x: 0, y: 0, w: 1, h: 1 };

function look(next) {
  camera = next;
  stage.setAttribute("viewBox", `${camera.x} ${camera.y} ${camera.w} ${camera.h}`);
}

function fit() {
  const [w, h] = scene().dataset.box.split(" ").map(Number), edge = 40;
  // No larger than life: two boxes need not fill the window.
  const scale = Math.max((w + 2 * edge) / stage.clientWidth, (h + 2 * edge) / stage.clientHeight, 0.8);
  const wide = stage.clientWidth * scale, high = stage.clientHeight * scale;
  look({ x: (w - wide) / 2, y: (h - high) / 2, w: wide, h: high });
}

function zoom(factor, x = camera.x + camera.w / 2, y = camera.y + camera.h / 2) {
  const w = Math.min(Math.max(camera.w * factor, 150), 400000), by = w / camera.w;
  look({ x: x - (x - camera.x) * by, y: y - (y - camera.y) * by, w, h: camera.h * by });
}

function spot(event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(stage.getScreenCTM().inverse());
}

function show(number) {
  const box = scene().querySelector(`[data-node="${number}"]`)?.getBBox();
  if (!box) return;
  const by = Math.min(1, stage.clientWidth / camera.w < 0.6 ? (stage.clientWidth * 1.2) / camera.w : 1);
  const w = camera.w * by, h = camera.h * by;
  look({ x: box.x + box.width / 2 - w / 2, y: box.y + box.height / 2 - h / 2, w, h });
}

let held = null, moved = false;
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const { x, y } = spot(event);
  zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 300), x, y);
}, { passive: false });
stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  held = spot(event);
  moved = false;
});
window.addEventListener("pointermove", (event) => {
  if (!held) return;
  const { x, y } = spot(event), limit = 4 * (camera.w / stage.clientWidth);
  if (!moved && Math.hypot(x - held.x, y - held.y) < limit) return;
  moved = true;
  stage.classList.add("dragging");
  look({ ...camera, x: camera.x + held.x - x, y: camera.y + held.y - y });
});
window.addEventListener("pointerup", () => {
  held = null;
  stage.classList.remove("dragging");
});
stage.addEventListener("click", (event) => {
  if (moved) return;
  const node = event.target.closest(".node");
  choose(node ? Number(node.dataset.node) : null);
});
stage.addEventListener("keydown", (event) => {
  const node = event.target.closest(".node");
  if (node && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    choose(Number(node.dataset.node));
  }
});

// Search, detail, theme -------------------------------------------------------------------------

const haystack = nodes.map((node) =>
  [node.name, node.title, node.text, ...Object.values(node.fields)].join("\n").toLowerCase());
let matches = [], current = -1;

function search() {
  const wanted = $("search").value.trim().toLowerCase();
  const there = new Set([...scene().querySelectorAll(".node")].map((node) => Number(node.dataset.node)));
  matches = wanted ? [...there].filter((one) => haystack[one].includes(wanted)).sort((a, b) => a - b) : [];
  current = -1;
  stage.classList.toggle("searching", Boolean(wanted));
  for (const node of drawn) node.classList.toggle("match", matches.includes(Number(node.dataset.node)));
  $("count").textContent = wanted ? `${matches.length} of ${there.size}` : "";
}

function next() {
  if (!matches.length) return;
  current = (current + 1) % matches.length;
  choose(matches[current], { centre: true });
  $("count").textContent = `${current + 1} of ${matches.length}`;
}

function detail() {
  const whole = $("detail").checked;
  $("alone").toggleAttribute("hidden", whole);
  $("whole").toggleAttribute("hidden", !whole);
  document.body.classList.toggle("detailed", whole);
  if (!whole && chosen !== null && nodes[chosen].kind !== "entity") choose(null);
  search();
  fit();
}

$("search").addEventListener("input", search);
$("search").addEventListener("keydown", (event) => { if (event.key === "Enter") next(); });
$("detail").addEventListener("change", detail);
$("fit").addEventListener("click", fit);
$("in").addEventListener("click", () => zoom(0.75));
$("out").addEventListener("click", () => zoom(1 / 0.75));
$("theme").addEventListener("click", () => {
  const root = document.documentElement.style, system = matchMedia("(prefers-color-scheme: dark)");
  const dark = (root.colorScheme || (system.matches ? "dark" : "light")) === "dark";
  root.colorScheme = dark ? "light" : "dark";
});
window.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    $("search").value = "";
    search();
    choose(null);
  } else if (event.key === "/" && event.target !== $("search")) {
    event.preventDefault();
    $("search").focus();
  }
});
window.addEventListener("resize", fit);

function fromAddress() {
  const name = decodeURIComponent(location.hash.slice(1));
  const number = nodes.findIndex((node) => node.name === name);
  if (number < 0) return;
  if (nodes[number].kind !== "entity") {
    $("detail").checked = true;
    detail();
  }
  choose(number);
}
window.addEventListener("hashchange", fromAddress);
detail();
fromAddress();
