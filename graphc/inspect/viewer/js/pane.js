// One side of the page: draws what is in view, moves and zooms, finds what was pointed at.
"use strict";

/** Below this scale boxes have no text and are drawn as one shape for each kind. */
const FAR = 0.32, NEAREST = 2.5, FARTHEST = 0.004, MARGIN = 28;
const PANE_KEYS = {
  ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right", Enter: "open",
  " ": "open", "+": "in", "=": "in", "-": "out", "0": "fit", l: "link",
};

class Pane {
  /** `page` has select(side, box), hover(side, box), toggle(cluster) and marks(side). */
  constructor(element, side, page) {
    this.side = side;
    this.page = page;
    this.element = element;
    this.graph = svg("svg", {
      tabindex: 0, role: "application", "aria-label": side ? "gradient graph" : "forward graph",
    });
    this.content = svg("g");
    this.graph.append(this.content);
    element.append(this.graph);
    this.view = { x: 0, y: 0, scale: 1 };
    this.drawn = null;
    this.listen();
    new ResizeObserver(() => this.resized()).observe(element);
  }

  /** Draw a new scene; a box that it has in common with the last one stays where it was. */
  show(anchor) {
    if (anchor && this.scene.boxOf.has(anchor.key)) this.pin(anchor);
    else if (!anchor) this.fit();
    this.redraw();
  }

  // The window on the graph -----------------------------------------------------------------

  get size() { return [this.element.clientWidth, this.element.clientHeight]; }

  resized() {
    const [w, h] = this.size;
    if (this.scene && w && h) {
      if (!this.moved) this.fit();
      this.redraw();
    }
  }

  /** At which scale the whole graph is in view. */
  wholeScale() {
    const [w, h] = this.size, { width, height } = this.scene;
    return Math.min((w - 2 * MARGIN) / width, (h - 2 * MARGIN) / height);
  }

  /** The whole graph if it is readable then; else its top. Both sides have one scale. */
  fit() {
    const [w, h] = this.size, { width, height } = this.scene;
    const scale = clamp(0.72, this.page.wholeScale(), 1);
    this.moved = false;
    this.view = {
      scale,
      x: width * scale <= w - MARGIN ? (w - width * scale) / 2 : this.startX(scale),
      y: height * scale <= h - MARGIN ? (h - height * scale) / 2 : MARGIN,
    };
    this.transform();
  }

  /** A graph too wide for the window starts at its left, or where its top is. */
  startX(scale) {
    const top = this.scene.boxes.reduce((a, b) => (b.y < a.y ? b : a), this.scene.boxes[0]);
    if ((top.x + top.w) * scale + 2 * MARGIN < this.size[0]) return MARGIN;
    const wanted = this.size[0] / 2 - (top.x + top.w / 2) * scale;
    return clamp(this.size[0] - this.scene.width * scale - MARGIN, wanted, MARGIN);
  }

  whole() {
    const [w, h] = this.size, { width, height } = this.scene;
    const scale = clamp(FARTHEST, Math.min((w - 40) / width, (h - 40) / height), 1.15);
    this.view = { scale, x: (w - width * scale) / 2, y: (h - height * scale) / 2 };
    this.moved = true;
    this.transform();
  }

  /** Keep a box where it was on the screen. */
  pin(anchor) {
    const box = this.scene.boxOf.get(anchor.key), { scale } = this.view;
    this.view.x = anchor.x - box.x * scale;
    this.view.y = anchor.y - box.y * scale;
    this.moved = true;
    this.transform();
  }

  anchor(key) {
    const box = this.scene.boxOf.get(key);
    const { x, y, scale } = this.view;
    return box ? { key, x: box.x * scale + x, y: box.y * scale + y } : null;
  }

  zoom(factor, px, py) {
    const [w, h] = this.size, v = this.view;
    px ??= w / 2;
    py ??= h / 2;
    const scale = clamp(FARTHEST, v.scale * factor, NEAREST);
    v.x = px - (px - v.x) * scale / v.scale;
    v.y = py - (py - v.y) * scale / v.scale;
    v.scale = scale;
    this.moved = true;
    this.transform();
  }

  /** Bring a box into view; `centre` in any case. */
  reveal(box, centre) {
    const [w, h] = this.size, v = this.view;
    if (v.scale < FAR) v.scale = 0.8;
    const x = (box.x + box.w / 2) * v.scale + v.x, y = (box.y + box.h / 2) * v.scale + v.y;
    const inside = x > 60 && x < w - 60 && y > 40 && y < h - 40;
    if (centre || !inside) {
      v.x += w / 2 - x;
      v.y += h / 2 - y;
      this.moved = true;
    }
    this.transform();
  }

  transform() {
    const { x, y, scale } = this.view;
    this.content.setAttribute("transform", `translate(${x},${y}) scale(${scale})`);
    if (!this.covered()) this.redraw();
    this.page.moved();
  }

  visible(extra) {
    const [w, h] = this.size, { x, y, scale } = this.view;
    return { x: (-x - extra * w) / scale, y: (-y - extra * h) / scale,
      w: w * (1 + 2 * extra) / scale, h: h * (1 + 2 * extra) / scale };
  }

  /** Whether all that is in view has been drawn, with as much detail as the scale calls for. */
  covered() {
    if (!this.drawn) return false;
    const v = this.visible(0), d = this.drawn;
    return d.far === (this.view.scale < FAR) && v.x >= d.x && v.y >= d.y
      && v.x + v.w <= d.x + d.w && v.y + v.h <= d.y + d.h
      && (!d.far || Math.abs(Math.log2(this.view.scale / d.scale)) < 0.5);
  }

  // Drawing ---------------------------------------------------------------------------------

  redraw() {
    if (!this.scene) return;
    const far = this.view.scale < FAR, area = this.visible(0.5);
    this.drawn = { ...area, far, scale: this.view.scale };
    const { bands } = this.scene;
    const boxes = [...bands.boxesIn(area)], pieces = [...bands.piecesIn(area)];
    const frames = bands.framesIn(area).map(f => this.drawFrame(f, far));
    const lines = this.drawLines(pieces, far);
    this.lit = svg("g", { class: "lit" });
    const bodies = far ? this.drawFar(boxes) : boxes.map(b => this.drawBox(b));
    this.marks = svg("g", { class: "marks" });
    this.content.replaceChildren(...frames, ...lines, this.lit, ...bodies, this.marks);
    this.mark();
  }

  drawFrame(f, far) {
    const rect = svg("rect", { x: f.x, y: f.y, width: f.w, height: f.h, rx: 8 });
    const shade = this.scene.stage.scopes[f.cluster].order ? "frame derived" : "frame";
    if (far) return svg("g", { class: shade }, rect);
    const title = svg("g", { class: "fold", "data-key": f.key },
      svg("rect", { x: f.x, y: f.y, width: f.title.length * CHARACTER + 18, height: 20, rx: 8 }),
      svg("text", { x: f.x + 9, y: f.y + 14.5 }, f.title));
    return svg("g", { class: shade }, rect, title);
  }

  drawLines(pieces, far) {
    if (far) return [svg("path", { class: "far line", d: pieces.map(straight).join("") })];
    const heads = pieces.filter(p => p.head);
    const parts = [
      svg("path", { class: "line", d: pieces.map(curve).join("") }),
      svg("path", { class: "tip", d: heads.map(tip).join("") }),
    ];
    for (const p of heads) {
      const owner = p.head.owners[0];
      if (!this.numbered(owner)) continue;
      const at = { class: "operand", x: p.x1 + 6, y: p.y1 - 3 };
      parts.push(svg("text", at, `${owner.operand + 1}`));
    }
    return parts;
  }

  /** Operands that cannot be exchanged are numbered, where several have lines. */
  numbered(edge) {
    if (edge.target[0] !== "n") return false;
    const { stage } = this.scene, i = Number(edge.target.slice(1));
    const lines = stage.args[i].filter((a, k) => stage.sides[a] === this.side && !stage.hidden[a]
      && !this.scene.missing(i, k));
    return stage.node(i).ordered && lines.length > 1;
  }

  drawBox(b) {
    const shape = ["input", "parameter", "constant"].includes(b.kind) ? 10 : 4;
    const group = svg("g", {
      class: `box ${b.kind}${b.output ? " output" : ""}${b.ghost ? " ghost" : ""}`,
      "data-key": b.key, id: `${this.side}-${b.key}`, role: "img",
      "aria-label": b.lines.map(l => l[1]).join(", "),
    });
    if (b.folded)
      group.append(svg("rect", { x: b.x + 3, y: b.y + 3, width: b.w, height: b.h, rx: 4 }));
    const face = svg("rect", { class: "face", x: b.x, y: b.y, width: b.w, height: b.h, rx: shape });
    face.style.fill = this.page.colours.of(b) || "";
    group.append(face);
    let y = b.y + PADDING / 2 + LINE - 4;
    for (const [style, text] of b.lines) {
      group.append(svg("text", { class: style, x: b.x + b.w / 2, y }, text));
      y += LINE;
    }
    return group;
  }

  drawFar(boxes) {
    const kinds = new Map();
    for (const b of boxes) {
      const tint = this.page.colours.of(b), key = tint || b.kind;
      if (!kinds.has(key)) kinds.set(key, { kind: b.kind, tint, d: "" });
      kinds.get(key).d += `M${b.x},${b.y}h${b.w}v${b.h}h${-b.w}z`;
    }
    return [...kinds.values()].map(k => {
      const path = svg("path", { class: `box far ${k.kind}`, d: k.d });
      path.style.fill = k.tint || "";
      return path;
    });
  }

  /** Outlines around what is chosen, pointed at or linked, and the lines at what is chosen. */
  mark() {
    if (!this.drawn || !this.marks) return;
    const marks = this.page.marks(this.side), outlines = [];
    for (const [style, keys] of Object.entries(marks.boxes))
      for (const key of keys) {
        const b = this.scene.boxOf.get(key);
        if (b && overlaps(b, this.drawn)) outlines.push(this.outline(b, style));
      }
    this.marks.replaceChildren(...outlines);
    const lit = [];
    for (const key of marks.lines) lit.push(...this.linesAt(key));
    this.lit.replaceChildren(
      svg("path", { class: "line", d: lit.map(curve).join("") }));
  }

  outline(b, style) {
    const pad = this.drawn.far ? 3 / this.view.scale : 3;
    return svg("rect", { class: `mark ${style}`, x: b.x - pad, y: b.y - pad, rx: 6,
      width: b.w + 2 * pad, height: b.h + 2 * pad });
  }

  linesAt(key) {
    const { edgesFrom, edgesTo } = this.scene, found = new Set();
    const edges = key.endsWith(">") ? edgesFrom.get(key.slice(0, -1))
      : [...edgesFrom.get(key) || [], ...edgesTo.get(key) || []];
    for (const e of edges || [])
      for (const step of e.steps) for (const p of step.pieces) found.add(p);
    return [...found];
  }

  // What the user does ----------------------------------------------------------------------

  listen() {
    const g = this.graph;
    g.addEventListener("wheel", e => {
      e.preventDefault();
      const [x, y] = this.point(e);
      if (e.ctrlKey || e.metaKey || !e.shiftKey) this.zoom(Math.exp(-e.deltaY / 400), x, y);
      else this.shift(-e.deltaY, 0);
    }, { passive: false });
    g.addEventListener("pointerdown", e => {
      if (e.button) return;
      this.drag = { x: e.clientX, y: e.clientY, far: false };
    });
    g.addEventListener("pointermove", e => this.pointerMoved(e));
    g.addEventListener("pointerup", e => {
      const dragged = this.drag && this.drag.far;
      this.drag = null;
      g.classList.remove("dragging");
      if (!dragged && !e.button) this.clicked(e);
    });
    g.addEventListener("pointercancel", () => { this.drag = null; });
    g.addEventListener("pointerleave", () => this.page.hover(this.side, null));
    g.addEventListener("keydown", e => this.pressed(e));
    g.addEventListener("focus", () => this.page.focused(this.side));
  }

  point(e) {
    const r = this.graph.getBoundingClientRect();
    return [e.clientX - r.left, e.clientY - r.top];
  }

  shift(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.moved = true;
    this.transform();
  }

  pointerMoved(e) {
    if (this.drag && e.buttons & 1) {
      const dx = e.clientX - this.drag.x, dy = e.clientY - this.drag.y;
      if (!this.drag.far && Math.hypot(dx, dy) < 4) return;
      if (!this.drag.far) this.graph.setPointerCapture(e.pointerId);
      this.graph.classList.add("dragging");
      this.drag = { x: e.clientX, y: e.clientY, far: true };
      this.shift(dx, dy);
      return;
    }
    const box = this.boxAt(e);
    this.graph.classList.toggle("over", Boolean(box || this.titleAt(e)));
    this.page.hover(this.side, box);
  }

  inGraph(e) {
    const [px, py] = this.point(e), { x, y, scale } = this.view;
    return [(px - x) / scale, (py - y) / scale];
  }

  boxAt(e) { return this.scene.bands.boxAt(...this.inGraph(e)); }

  titleAt(e) {
    const [x, y] = this.inGraph(e);
    return this.scene.frames.find(f => x >= f.x && y >= f.y && y <= f.y + 20
      && x <= f.x + f.title.length * CHARACTER + 18);
  }

  clicked(e) {
    const box = this.boxAt(e), title = box ? null : this.titleAt(e);
    this.graph.focus({ preventScroll: true });
    if (title) this.page.toggle(this.side, title.cluster);
    else if (box && box.folded) this.page.toggle(this.side, box.cluster);
    else this.page.select(this.side, box);
  }

  pressed(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const action = PANE_KEYS[e.key];
    if (!action) return;
    e.preventDefault();
    e.stopPropagation();
    if (action === "in") this.zoom(1.25);
    else if (action === "out") this.zoom(0.8);
    else if (action === "fit") this.fit();
    else if (action === "open" || action === "link") this.page.act(this.side, action);
    else this.step(action);
  }

  /** The box next to the chosen one: along a line, or beside it. */
  step(direction) {
    const at = this.scene.boxOf.get(this.page.chosen(this.side));
    if (!at) return this.page.select(this.side, this.topBox(), true);
    const next = direction === "left" || direction === "right"
      ? this.beside(at, direction === "right" ? 1 : -1)
      : this.along(at, direction === "down");
    if (next) this.page.select(this.side, next, true);
  }

  topBox() { return this.scene.boxes.reduce((a, b) => (b.y < a.y ? b : a), this.scene.boxes[0]); }

  along(at, down) {
    const { edgesFrom, edgesTo } = this.scene;
    const near = ((down ? edgesFrom : edgesTo).get(at.key) || [])
      .map(e => this.scene.boxOf.get(down ? e.target : e.source));
    const offset = b => Math.abs(b.x + b.w / 2 - at.x - at.w / 2);
    return near.sort((a, b) => offset(a) - offset(b))[0];
  }

  beside(at, sign) {
    const middle = b => b.y + b.h / 2, row = this.scene.bands.boxesIn(
      { x: -1e9, w: 2e9, y: at.y, h: at.h });
    return [...row]
      .filter(b => (b.x - at.x) * sign > 0 && Math.abs(middle(b) - middle(at)) < at.h)
      .sort((a, b) => (a.x - b.x) * sign)[0];
  }
}

const overlaps = (b, view) => b.x <= view.x + view.w && b.x + b.w >= view.x
  && b.y <= view.y + view.h && b.y + b.h >= view.y;

const round = n => Math.round(n * 10) / 10;

function curve(p) {
  const m = round((p.bottom + p.top) / 2);
  const x0 = round(p.x0), x1 = round(p.x1);
  return `M${x0},${round(p.y0)}V${round(p.bottom)}C${x0},${m} ${x1},${m} ${x1},${round(p.top)}`
    + `V${round(p.y1)}`;
}

const straight = p => `M${round(p.x0)},${round(p.y0)}L${round(p.x1)},${round(p.y1)}`;
const tip = p => `M${round(p.x1)},${round(p.y1)}l-3.2,-6.5h6.4z`;
