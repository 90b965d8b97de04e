// One side of one stage with some scopes folded: boxes, frames around open scopes, lines.
// Each open scope is laid out by itself and is one large box of the layout around it; lines
// enter and leave it through ports.
"use strict";

const CHARACTER = 7.3, LINE = 15, PADDING = 10, FRAME = 12, FRAME_TITLE = 24, LONGEST = 34;

/** Things by their keys. */
function grouped(things, key) {
  const found = new Map();
  for (const thing of things) {
    const list = found.get(key(thing));
    if (list) list.push(thing);
    else found.set(key(thing), [thing]);
  }
  return found;
}

const isPort = key => key.startsWith("in:") || key.startsWith("out:");

const shorten = text => text.length > LONGEST ? text.slice(0, LONGEST - 1) + "…" : text;

class Scene {
  constructor(stage, side, closed) {
    this.stage = stage;
    this.side = side;
    this.closed = closed;
    this.boxes = [];
    this.frames = [];
    this.pieces = [];
    this.boxOf = new Map();  // "n3" or "c1" to its box; nodes inside folded scopes too
    this.collect();
    this.layOut();
  }

  /** The outermost folded scope of a node, or the node itself, as a key. */
  shownAs(i) {
    let key = `n${i}`;
    for (const c of this.stage.scopesOf(i)) if (this.closed.has(c)) key = `c${c}`;
    return key;
  }

  box(i) { return this.boxOf.get(this.shownAs(i)); }

  // What there is ---------------------------------------------------------------------------

  collect() {
    const { stage, side } = this, inside = new Map();
    this.items = new Map();
    this.insides = inside;
    stage.nodes.forEach((_, i) => {
      if (stage.sides[i] !== side || stage.hidden[i]) return;
      const key = this.shownAs(i);
      if (inside.has(key)) inside.get(key).push(i);
      else inside.set(key, [i]);
    });
    for (const key of inside.keys()) this.items.set(key, this.pathTo(key));
    this.edges = this.collectEdges();
    this.edgesFrom = grouped(this.edges, e => e.source);
    this.edgesTo = grouped(this.edges, e => e.target);
  }

  /** Open scopes around an item, the outermost first. */
  pathTo(key) {
    const number = Number(key.slice(1));
    let at = key[0] === "n" ? this.stage.clusters[number] : this.stage.scopes[number].parent;
    const path = [];
    for (; at >= 0; at = this.stage.scopes[at].parent) path.unshift(`f${at}`);
    return path;
  }

  collectEdges() {
    const { stage, side } = this, seen = new Set(), edges = [];
    stage.args.forEach((args, v) => {
      if (stage.sides[v] !== side || stage.hidden[v]) return;
      const target = this.shownAs(v);
      args.forEach((u, k) => {
        if (stage.sides[u] !== side || stage.hidden[u]) return;
        const source = this.shownAs(u), mark = target[0] === "n" ? k : "";
        const key = `${source}>${target}>${mark}`;
        if (source === target || seen.has(key)) return;
        seen.add(key);
        edges.push({ source, target, mark, operand: k, steps: [], cut: false });
      });
    });
    return edges;
  }

  // Layout ----------------------------------------------------------------------------------

  layOut() {
    const levels = this.makeLevels();
    for (const level of levels) this.fillLevel(level);
    for (const level of [...levels].reverse()) this.arrangeLevel(level);
    const root = levels[0];
    this.width = root.plan.width;
    this.height = root.plan.height;
    this.place(root, 0, 0);
    this.bands = new Bands(this);
  }

  /** A level for the whole and for each open scope, outer ones first. */
  makeLevels() {
    const levels = new Map([["root", { key: "root", depth: -1, keys: [], index: new Map() }]]);
    const add = (level, key) => {
      if (!level.index.has(key)) {
        level.index.set(key, level.keys.length);
        level.keys.push(key);
      }
    };
    for (const [key, path] of this.items) {
      let around = levels.get("root");
      path.forEach((frame, depth) => {
        add(around, frame);
        if (!levels.has(frame))
          levels.set(frame, { key: frame, depth, keys: [], index: new Map() });
        around = levels.get(frame);
      });
      add(around, key);
    }
    this.levels = levels;
    for (const e of this.edges) {
      e.from = [...this.items.get(e.source), e.source];
      e.to = [...this.items.get(e.target), e.target];
      e.common = 0;
      while (e.from[e.common] === e.to[e.common]) e.common++;
    }
    for (const level of levels.values()) level.through = [];
    for (const e of this.edges) {
      levels.get(e.common ? e.from[e.common - 1] : "root").through.push(e);
      for (const frame of e.from.slice(e.common, -1)) levels.get(frame).through.push(e);
      for (const frame of e.to.slice(e.common, -1)) levels.get(frame).through.push(e);
    }
    return [...levels.values()].sort((a, b) => a.depth - b.depth);
  }

  /** Edges and layers of a level; edges too long to be drawn are left out, in all levels. */
  fillLevel(level) {
    const steps = new Map(), pins = level.keys.map(() => "");
    const index = key => {
      if (!level.index.has(key)) {
        level.index.set(key, level.keys.length);
        level.keys.push(key);
        pins.push(key.startsWith("in:") ? "top" : "bottom");
      }
      return level.index.get(key);
    };
    for (const e of level.through) {
      if (e.cut) continue;
      const [a, b] = this.ends(level, e);
      const mark = b[0] === "n" ? e.mark : "", key = `${a}>${b}>${e.source}>${mark}`;
      if (!steps.has(key))
        steps.set(key, {
          source: index(a), target: index(b), trunk: `${a}>${e.source}`, a, b,
          origin: e.source, owners: [],
        });
      steps.get(key).owners.push(e);
    }
    const all = [...steps.values()], count = level.keys.length;
    level.layer = assignLayers(count, all, pins);
    const cut = tooLong(count, all, level.layer, pins);
    for (const step of cut) for (const e of step.owners) e.cut = true;
    level.steps = all.filter(step => !cut.has(step));
    for (const step of level.steps) for (const e of step.owners) e.steps.push(step);
  }

  /** The ends of an edge's part in a level: items, or ports of the scope. */
  ends(level, e) {
    const depth = level.depth + 1;
    if (depth === e.common) return [e.from[depth], e.to[depth]];
    return e.from[level.depth] === level.key
      ? [e.from[depth], `out:${e.source}`]
      : [`in:${e.source}`, e.to[depth]];
  }

  arrangeLevel(level) {
    const sizes = level.keys.map(key => this.size(key));
    for (const step of level.steps) {
      if (step.a[0] === "f") step.sourceOffset = this.port(step.a, `out:${step.origin}`);
      if (step.b[0] === "f") step.targetOffset = this.port(step.b, `in:${step.origin}`);
    }
    level.sizes = sizes;
    level.plan = arrange(level.layer, sizes.map(s => s[0]), sizes.map(s => s[1]), level.steps);
  }

  /** How far a port lies from the middle of its frame. */
  port(frame, key) {
    const level = this.levels.get(frame);
    return level.plan.x[level.index.get(key)] - level.plan.width / 2;
  }

  size(key) {
    if (isPort(key)) return [0, 0];
    if (key[0] === "f") {
      const { plan } = this.levels.get(key), title = this.frameTitle(key);
      const wide = Math.max(plan.width, title.length * CHARACTER + 24);
      return [wide + 2 * FRAME, plan.height + FRAME_TITLE + FRAME];
    }
    const { lines } = this.label(key);
    const longest = Math.max(...lines.map(([style, text]) =>
      text.length * (style === "type" ? 0.88 : 1)));
    return [Math.max(44, longest * CHARACTER + 2 * PADDING), lines.length * LINE + PADDING];
  }

  // Text ------------------------------------------------------------------------------------

  frameTitle(key) { return `▾ ${this.stage.scopes[Number(key.slice(1))].title}`; }

  /** Lines of a box, as [style, text]. */
  label(key) {
    this.labels ||= new Map();
    if (!this.labels.has(key)) this.labels.set(key, this.makeLabel(key));
    return this.labels.get(key);
  }

  makeLabel(key) {
    const { stage } = this, number = Number(key.slice(1));
    if (key[0] === "c") {
      const count = this.insides.get(key).length;
      return { lines: [["name", `▸ ${stage.scopes[number].title}`], ["type", `${count} nodes`]] };
    }
    const node = stage.node(number), title = stage.title(number), doc = stage.doc;
    const leaf = ["input", "parameter"].includes(doc.op(node));
    const lines = [];
    if (title || leaf) lines.push(["name", shorten(title || stage.names[number])]);
    if (!leaf) lines.push(["what", shorten(this.operation(number))]);
    const own = node.name ? "" : `${stage.names[number]}  `;
    lines.push(["type", shorten(own + doc.text(node.type))]);
    return { lines };
  }

  operation(i) {
    const { stage } = this, args = stage.args[i];
    const drawn = k => stage.sides[args[k]] === this.side && !this.missing(i, k);
    return operationText(stage.doc.text(stage.node(i).template), drawn, k => stage.names[args[k]]);
  }

  /** Whether the line of an operand was left out for its length. */
  missing(i, k) {
    this.cuts ||= new Set(this.edges.filter(e => e.cut && e.target[0] === "n")
      .map(e => `${e.target}>${e.operand}`));
    return this.cuts.has(`n${i}>${k}`);
  }

  // Places in the whole ---------------------------------------------------------------------

  place(level, left, top) {
    const { plan, sizes } = level;
    level.keys.forEach((key, v) => {
      const [w, h] = sizes[v], x = left + plan.x[v] - w / 2, y = top + plan.y[v] - h / 2;
      if (key[0] === "f") {
        const at = { key, x, y, w, h, cluster: Number(key.slice(1)), title: this.frameTitle(key) };
        this.frames.push(at);
        this.boxOf.set(key, at);
        const inner = this.levels.get(key), slack = w - 2 * FRAME - inner.plan.width;
        this.place(inner, x + FRAME + slack / 2, y + FRAME_TITLE);
      } else if (key[0] === "n" || key[0] === "c") this.placeBox(key, x, y, w, h);
    });
    for (const p of plan.pieces) {
      const port = v => v < level.keys.length && isPort(level.keys[v]);
      p.y0 += top - (port(p.upper) ? FRAME_TITLE : 0);
      p.y1 += top + (port(p.lower) ? FRAME : 0);
      p.x0 += left;
      p.x1 += left;
      p.bottom += top;
      p.top += top;
      this.pieces.push(p);
    }
    for (const step of level.steps) {
      const head = step.pieces[step.pieces.length - 1];
      if (step.b[0] === "n" || step.b[0] === "c") head.head = step;
      for (const p of step.pieces) p.origin = step.origin;
    }
  }

  placeBox(key, x, y, w, h) {
    const { stage } = this, number = Number(key.slice(1)), folded = key[0] === "c";
    const nodes = this.insides.get(key);
    const box = { key, x, y, w, h, folded, lines: this.label(key).lines, nodes };
    if (folded) box.cluster = number;
    else box.node = number;
    box.kind = folded ? (stage.scopes[number].order ? "dscope" : "scope") : stage.kinds[number];
    box.output = nodes.some(i => stage.root.has(i));
    box.ghost = nodes.every(i => stage.ghost.has(i));
    this.boxes.push(box);
    this.boxOf.set(key, box);
  }
}

/** Boxes and pieces by horizontal bands, to find those in view. */
class Bands {
  constructor(scene) {
    this.high = 240;
    this.boxes = this.sort(scene.boxes, b => [b.y, b.y + b.h]);
    this.pieces = this.sort(scene.pieces, p => [p.y0, p.y1]);
    this.frames = scene.frames;
  }

  sort(things, extent) {
    const bands = new Map();
    for (const thing of things) {
      const [low, high] = extent(thing);
      for (let k = Math.floor(low / this.high); k <= Math.floor(high / this.high); k++) {
        if (!bands.has(k)) bands.set(k, []);
        bands.get(k).push(thing);
      }
    }
    return bands;
  }

  within(bands, view, left, right) {
    const found = new Set();
    for (let k = Math.floor(view.y / this.high); k <= (view.y + view.h) / this.high; k++)
      for (const t of bands.get(k) || [])
        if (right(t) >= view.x && left(t) <= view.x + view.w) found.add(t);
    return found;
  }

  boxesIn(view) { return this.within(this.boxes, view, b => b.x, b => b.x + b.w); }

  piecesIn(view) {
    return this.within(
      this.pieces, view, p => Math.min(p.x0, p.x1) - 2, p => Math.max(p.x0, p.x1) + 2);
  }

  framesIn(view) {
    return this.frames.filter(f => overlaps(f, view));
  }

  boxAt(x, y) {
    for (const b of this.boxes.get(Math.floor(y / this.high)) || [])
      if (x >= b.x && x <= b.x + b.w && y >= b.y && y <= b.y + b.h) return b;
    return null;
  }
}
