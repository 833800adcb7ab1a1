// Draws the edges between what is visible; folding is the browser's own. root: the drawing's element.
const canvas = root.querySelector(":scope > .cr-canvas"), svg = canvas.querySelector(":scope > .cr-edges");
const tip = root.querySelector(":scope > .cr-tip");
const edges = JSON.parse(root.querySelector(":scope > .cr-data").textContent);
const own = (e) => e.closest(".cr-view") === root;
const box = new Map(), uses = new Map(), formula = new Map();
for (const e of canvas.querySelectorAll("[data-w]")) if (own(e)) box.set(+e.dataset.w, e);
for (const t of root.querySelectorAll(":scope > template")) formula.set(+t.dataset.f, t);
for (const e of edges) { const s = e[0][0]; uses.has(s) ? uses.get(s).push(e) : uses.set(s, [e]); }

// what stands for a box while it is folded away: the outermost closed group around it
function seen() {
  const known = new Map();
  return function stand(e) {
    if (known.has(e)) return known.get(e);
    const parent = e.parentElement.closest("details.cr-group");
    let s = e;
    if (parent && canvas.contains(parent)) { const p = stand(parent); s = p !== parent || !parent.open ? p : e; }
    known.set(e, s);
    return s;
  };
}

function typeset() {  // formulas are put in where they can be seen
  const open = [...canvas.querySelectorAll(".cr-f:empty")].filter((f) => !f.closest("details:not([open])"));
  const shown = open.filter((f) => own(f) && formula.has(+f.dataset.f) && (f.offsetParent || f.closest(".cr-back")));
  for (const f of shown) f.append(formula.get(+f.dataset.f).content.cloneNode(true));  // after all have been looked at
}

function draw() {
  typeset();
  const o = canvas.getBoundingClientRect();
  if (!o.width) return;
  svg.setAttribute("width", o.width); svg.setAttribute("height", o.height);
  const stand = seen(), rects = new Map(), drawn = new Map();
  const rect = (e) => {
    if (!rects.has(e)) { const r = e.getBoundingClientRect(); rects.set(e, {x: r.left + r.width / 2 - o.left, t: r.top - o.top, b: r.bottom - o.top, w: r.width}); }
    return rects.get(e);
  };
  for (const e of edges) {
    const way = [];
    for (const id of e[0]) { const s = stand(box.get(id)); if (s !== way[way.length - 1]) way.push(s); }
    if (way.length < 2 || way[0] === way[way.length - 1]) continue;
    const ends = way[0].dataset.w + ">" + way[way.length - 1].dataset.w;
    if (drawn.has(ends)) { drawn.get(ends).push(e); continue; }
    drawn.set(ends, [e]); e.way = way;
  }
  const into = new Map();  // edges into one box arrive side by side
  for (const list of drawn.values()) {
    const t = list[0].way[list[0].way.length - 1];
    into.has(t) ? into.get(t).push(list[0]) : into.set(t, [list[0]]);
  }
  const landing = new Map();
  for (const [t, list] of into) {
    const before = (e) => rect(e.way[e.way.length - 2]).x;
    list.sort((a, b) => before(a) - before(b));
    const r = rect(t), room = Math.min(r.w * 0.6, 34 * (list.length - 1));
    list.forEach((e, k) => landing.set(e, list.length < 2 ? r.x : r.x - room / 2 + room * k / (list.length - 1)));
  }
  svg.textContent = "";
  for (const list of drawn.values()) {
    const e = list[0], first = rect(e.way[0]), last = rect(e.way[e.way.length - 1]);
    let x = first.x, y = first.b, d = `M${x} ${y}`;
    const to = (nx, ny) => { const h = Math.max(12, (ny - y) / 2); d += `C${x} ${y + h} ${nx} ${ny - h} ${nx} ${ny}`; x = nx; y = ny; };
    for (const lane of e.way.slice(1, -1)) { const r = rect(lane); to(r.x, r.t); if (r.b > r.t) { d += `L${r.x} ${r.b}`; y = r.b; } }
    to(landing.get(e), last.t - 1);
    const line = path(d, ""), wide = path(d, "wide");
    for (const one of list) one.line = line;
    wide.onmouseenter = (event) => show(event, list); wide.onmouseleave = hide;
  }
}
function path(d, name) {
  const p = document.createElementNS("http://www.w3.org/2000/svg", "path");
  p.setAttribute("d", d); if (name) p.setAttribute("class", name);
  svg.append(p);
  return p;
}
function show(event, list) {
  tip.textContent = "";
  for (const [, symbols, numbers] of list.slice(0, 6)) for (const f of [symbols, numbers])
    if (formula.has(f)) { const line = document.createElement("div"); line.append(formula.get(f).content.cloneNode(true)); tip.append(line); }
  if (!tip.childNodes.length) tip.textContent = "no gradient flows back here";
  if (list.length > 6) tip.append(`and ${list.length - 6} more`);
  list[0].line.classList.add("hot");
  tip.style.display = "block"; tip.style.left = event.clientX + 14 + "px"; tip.style.top = event.clientY + 10 + "px";
}
function hide() { tip.style.display = "none"; for (const p of svg.querySelectorAll(".hot")) p.classList.remove("hot"); }

for (const [id, e] of box) if (e.classList.contains("cr-card")) {
  e.onmouseenter = () => { const stand = seen(); for (const use of uses.get(id) || []) {
    if (use.line) use.line.classList.add("hot");
    stand(box.get(use[0][use[0].length - 1])).classList.add("hot");
  } };
  e.onmouseleave = () => { hide(); for (const c of canvas.querySelectorAll(".hot")) c.classList.remove("hot"); };
  e.onclick = (event) => { if (!event.target.closest(".cr-inside")) { e.classList.toggle("open"); draw(); } };
}
canvas.addEventListener("toggle", draw, true);
if (window.ResizeObserver) new ResizeObserver(draw).observe(canvas);
draw();
root.scrollLeft = (root.scrollWidth - root.clientWidth) / 2;  // rows are centred
