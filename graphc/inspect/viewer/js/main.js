// The page: what is shown, chosen and pointed at, and who is told.
"use strict";

/** Scopes are folded until a side shows at most so many boxes. */
const ENOUGH = 70;

class Page {
  constructor(doc) {
    this.model = new Model(doc);
    this.colours = new Colours(this);
    this.stageNumber = doc.shown;
    this.selected = null;      // a place in the stage
    this.pointed = null;       // [side, key]
    this.hits = [];
    this.sweepNow = null;
    this.sweepDone = [];
    this.choices = new Map();  // scope to folded or not, as the user said
    this.scenes = new Map();
    document.title = doc.title;
    byId("title").textContent = doc.title;
    this.panes = ["forward", "backward"].map((id, side) => new Pane(byId(id), side, this));
    this.stages = new Stages(this, byId("stages"));
    this.details = new Details(this);
    this.search = new Search(this, byId("search"), byId("results"), byId("count"));
    this.table = this.model.sweeps.length ? new SweepTable(this, byId("sweep")) : null;
    this.tab = "stage";
    this.wire();
    this.show(this.stageNumber);
  }

  get stage() { return this.model.stages[this.stageNumber]; }

  // Stages and scenes -----------------------------------------------------------------------

  show(number) {
    const chosen = this.selected === null ? null : this.stage.nodes[this.selected];
    const same = chosen === null ? undefined
      : this.model.counterpart(this.stageNumber, number, chosen);
    this.stageNumber = number;
    this.selected = same === undefined ? null : this.stage.place.get(same);
    this.pointed = null;
    this.hits = this.search.find(byId("search").value);
    if (this.selected === null) this.tab = "stage";
    this.stages.mark();
    this.arrange();
    this.panel();
  }

  sceneOf(side) {
    const key = `${this.stageNumber}:${side}`;
    if (!this.scenes.has(key))
      this.scenes.set(key, new Scene(this.stage, side, this.closed(side)));
    return this.scenes.get(key);
  }

  /** Lay out and draw both sides; `anchor` stays where it is on its side. */
  arrange(side, anchor) {
    const both = this.stage.sides.some((s, i) => s === BACKWARD && !this.stage.hidden[i]);
    const front = this.stage.sides.some((s, i) => s === FORWARD && !this.stage.hidden[i]);
    document.body.classList.toggle("single", !both || !front);
    byId("backward").hidden = !both;
    byId("forward").hidden = !front;
    const panes = this.panes.filter(p => (p.side === FORWARD ? front : both)
      && (side === undefined || p.side === side));
    for (const pane of panes) pane.scene = this.sceneOf(pane.side);
    for (const pane of panes) pane.show(anchor);
  }

  /** A scope's name that stays the same from stage to stage. */
  scopeName(c) {
    const s = this.stage.scopes[c], twins = this.stage.scopes.slice(0, c)
      .filter(t => t.path === s.path && t.side === s.side && t.order === s.order).length;
    return `${s.side} ${s.order} ${s.path} ${twins}`;
  }

  /** Folded scopes: as the user said, else the innermost and largest until few boxes are left. */
  closed(side) {
    const { stage } = this, sizes = new Map(), depth = new Map(), closed = new Set();
    let boxes = 0;
    stage.nodes.forEach((_, i) => {
      if (stage.sides[i] !== side || stage.hidden[i]) return;
      boxes++;
      stage.scopesOf(i).forEach((c, k, all) => {
        sizes.set(c, (sizes.get(c) || 0) + 1);
        depth.set(c, all.length - k);
      });
    });
    const order = [...sizes.keys()];
    order.sort((a, b) => depth.get(b) - depth.get(a) || sizes.get(b) - sizes.get(a));
    for (const c of order) {
      if (boxes <= ENOUGH) break;
      closed.add(c);
      boxes -= sizes.get(c) - 1;
      const saved = sizes.get(c) - 1;
      for (let p = stage.scopes[c].parent; p >= 0; p = stage.scopes[p].parent)
        sizes.set(p, sizes.get(p) - saved);
    }
    for (const c of order) {
      const said = this.choices.get(this.scopeName(c));
      if (said === true) closed.add(c);
      if (said === false) closed.delete(c);
    }
    return closed;
  }

  toggle(side, cluster) {
    const closed = this.sceneOf(side).closed, folded = closed.has(cluster);
    const pane = this.panes[side];
    const anchor = pane.anchor(folded ? `c${cluster}` : `f${cluster}`);
    this.choices.set(this.scopeName(cluster), !folded);
    this.scenes.clear();
    if (anchor) anchor.key = folded ? `f${cluster}` : `c${cluster}`;
    this.arrange(side, anchor);
    this.say(`${this.stage.scopes[cluster].title} ${folded ? "unfolded" : "folded"}`);
  }

  foldAll(fold) {
    this.stage.scopes.forEach((_, c) => this.choices.set(this.scopeName(c), fold));
    this.scenes.clear();
    this.panes.forEach(p => { p.moved = false; });
    this.arrange();
    this.say(fold ? "all folded" : "all unfolded");
  }

  /** Unfold what hides a node. */
  uncover(i) {
    const side = this.stage.sides[i], scene = this.sceneOf(side);
    const around = this.stage.scopesOf(i).filter(c => scene.closed.has(c));
    if (!around.length) return;
    const anchor = this.panes[side].anchor(scene.box(i).key);
    for (const c of around) this.choices.set(this.scopeName(c), false);
    this.scenes.clear();
    this.arrange(side, anchor);
  }

  // Choosing --------------------------------------------------------------------------------

  select(side, box, byKey) {
    if (box && box.folded && !byKey) return this.toggle(side, box.cluster);
    this.cursor = box && box.folded ? [side, box.key] : null;
    this.choose(box && !box.folded ? box.node : null);
    if (box) this.panes[side].reveal(box);
    if (box && box.folded) this.say(`folded ${box.lines.map(l => l[1]).join(", ")}`);
  }

  /** Choose a node; the other side shows what belongs to it. */
  choose(i) {
    this.selected = i;
    this.tab = i === null ? "stage" : "node";
    this.panel();
    this.mark();
    if (i === null) return;
    const { stage } = this, linked = stage.linked(i), other = 1 - stage.sides[i];
    if (linked.length && !byId(other ? "backward" : "forward").hidden) {
      const box = this.sceneOf(other).box(linked[0]);
      if (box) this.panes[other].reveal(box);
    }
    this.say(`${stage.title(i) || stage.names[i]}, ${this.model.op(stage.node(i))}, `
      + this.model.text(stage.node(i).type));
  }

  /** Go to a node: show its stage, unfold, bring it into view. */
  go(number, id) {
    if (number !== this.stageNumber) this.show(number);
    const i = this.stage.place.get(id);
    if (i !== undefined) this.goPlace(i);
  }

  goPlace(i) {
    if (this.stage.hidden[i]) return;
    this.cursor = null;
    this.uncover(i);
    this.choose(i);
    const side = this.stage.sides[i], box = this.sceneOf(side).box(i);
    this.panes[side].reveal(box, true);
  }

  chosen(side) {
    if (this.cursor && this.cursor[0] === side) return this.cursor[1];
    const i = this.selected;
    if (i === null || this.stage.sides[i] !== side) return null;
    return this.sceneOf(side).shownAs(i);
  }

  act(side, action) {
    const key = this.chosen(side);
    if (!key) return;
    if (key[0] === "c" && action === "open") {
      this.cursor = null;
      return this.toggle(side, Number(key.slice(1)));
    }
    if (action === "link" && this.selected !== null) {
      const linked = this.stage.linked(this.selected);
      if (linked.length) {
        this.goPlace(linked[0]);
        this.panes[1 - side].graph.focus({ preventScroll: true });
      }
      return;
    }
    const scopes = this.selected === null ? [] : this.stage.scopesOf(this.selected);
    if (action === "open" && scopes.length) this.toggle(side, scopes[0]);
  }

  hover(side, box) {
    const next = box ? [side, box.key] : null;
    if (String(next) === String(this.pointed)) return;
    this.pointed = next;
    this.mark();
  }

  focused(side) { this.active = side; }

  // Marks -----------------------------------------------------------------------------------

  mark() {
    for (const pane of this.panes) if (pane.scene && !pane.element.hidden) pane.mark();
    this.connect();
  }

  wholeScale() {
    const shown = this.panes.filter(p => p.scene && !p.element.hidden && p.size[0]);
    return Math.min(...shown.map(p => p.wholeScale()));
  }

  moved() { this.connect(); }

  /** What is outlined on a side, by style, and whose lines are lit. */
  marks(side) {
    const { stage } = this, scene = this.sceneOf(side), shown = i => scene.shownAs(i);
    const here = i => stage.sides[i] === side && !stage.hidden[i];
    const boxes = { changed: [], found: [], done: [], linked: [], hover: [], now: [], chosen: [] };
    const lines = [];
    if (this.stageNumber)
      boxes.changed = stage.touched(side).map(shown);
    boxes.found = this.hits.filter(here).map(shown);
    if (this.sweepNow && !this.stageNumber) this.sweepMarks(side, boxes, lines, here, shown);
    if (this.pointed) {
      const [where, key] = this.pointed;
      if (where === side) boxes.hover.push(key);
      else boxes.linked.push(...this.linkedTo(where, key).filter(here).map(shown));
      if (where === side && key[0] === "n") lines.push(key);
    }
    const key = this.chosen(side);
    if (key && !this.sweepNow) {
      boxes.chosen.push(key);
      lines.push(key);
    }
    if (this.selected !== null && !this.sweepNow)
      boxes.linked.push(...stage.linked(this.selected).filter(here).map(shown));
    for (const style of Object.keys(boxes)) boxes[style] = [...new Set(boxes[style])];
    return { boxes, lines };
  }

  /** What belongs to a box of the other side, or to what is folded in it. */
  linkedTo(side, key) {
    const box = this.sceneOf(side).boxOf.get(key);
    return box && box.nodes ? box.nodes.flatMap(i => this.stage.linked(i)) : [];
  }

  sweepMarks(side, boxes, lines, here, shown) {
    const { stage } = this, now = this.sweepNow.node;
    const rows = id => {
      const i = stage.place.get(id);
      return side === FORWARD ? [i] : stage.adjointsOf(id, this.table.sweep.place);
    };
    const places = id => rows(id).filter(i => i !== undefined && here(i)).map(shown);
    boxes.now.push(...places(now));
    for (const row of this.sweepDone) if (row.node !== now) boxes.done.push(...places(row.node));
    if (side === FORWARD) for (const key of places(now)) lines.push(`${key}>`);
  }

  /** Curves from the chosen node to what belongs to it on the other side. */
  connect() {
    const layer = byId("links");
    if (this.selected === null || document.body.classList.contains("single") || this.sweepNow)
      return layer.replaceChildren();
    const i = this.selected, side = this.stage.sides[i];
    const links = this.stage.linked(i).slice(0, 12);
    const from = this.onScreen(i), frame = layer.getBoundingClientRect();
    const lines = links.map(j => {
      const to = this.onScreen(j);
      if (!from || !to) return null;
      const [a, b] = side === FORWARD ? [from, to] : [to, from];
      const x0 = a.right - frame.left, y0 = a.y - frame.top, x1 = b.left - frame.left;
      const y1 = b.y - frame.top, m = (x0 + x1) / 2;
      return svg("path", { d: `M${x0},${y0}C${m},${y0} ${m},${y1} ${x1},${y1}` });
    });
    layer.replaceChildren(...lines.filter(Boolean));
  }

  /** Where a node is on the screen; null where it is not in view. */
  onScreen(i) {
    const pane = this.panes[this.stage.sides[i]];
    if (!pane.scene || pane.element.hidden) return null;
    const box = pane.scene.box(i), r = pane.element.getBoundingClientRect();
    const { x, y, scale } = pane.view;
    if (!box) return null;
    const left = r.left + box.x * scale + x, right = left + box.w * scale;
    const middle = r.top + (box.y + box.h / 2) * scale + y;
    const inside = right > r.left && left < r.right && middle > r.top && middle < r.bottom;
    return inside ? { left, right, y: middle } : null;
  }

  found(hits) {
    this.hits = hits;
    this.mark();
  }

  leaveSearch() { this.panes[this.active || 0].graph.focus({ preventScroll: true }); }

  // The sweep -------------------------------------------------------------------------------

  toggleSweep() {
    const element = byId("sweep"), opening = element.hidden;
    element.hidden = !opening;
    byId("sweep-open").setAttribute("aria-expanded", opening);
    if (opening) {
      if (this.stageNumber) this.show(0);
      this.table.open();
    } else {
      this.table.stop();
      this.sweepStep(null, []);
      byId("sweep-open").focus();
    }
  }

  sweepStep(row, done) {
    this.sweepNow = row;
    this.sweepDone = done;
    if (row) {
      if (this.stageNumber) this.show(0);
      const i = this.stage.place.get(row.node);
      this.selected = i;
      this.cursor = null;
      this.tab = "node";
      this.panel();
      for (const at of [i, ...this.stage.adjointsOf(row.node, this.table.sweep.place)]) {
        if (at === undefined) continue;
        const side = this.stage.sides[at], box = this.sceneOf(side).box(at);
        if (box) this.panes[side].reveal(box);
      }
      this.say(`S of ${this.stage.names[i]}`);
    }
    this.mark();
  }

  // The panel -------------------------------------------------------------------------------

  panel() {
    const node = this.tab === "node" && this.selected !== null;
    byId("tab-node").setAttribute("aria-selected", node);
    byId("tab-stage").setAttribute("aria-selected", !node);
    byId("tab-node").disabled = this.selected === null;
    const content = node ? this.details.of(this.selected) : this.stages.content();
    byId("content").replaceChildren(...content.filter(Boolean));
    byId("content").scrollTop = 0;
  }

  openTab(tab) {
    this.tab = tab;
    this.panel();
  }

  say(text) { byId("live").textContent = text; }

  // Controls --------------------------------------------------------------------------------

  wire() {
    const on = (id, to) => byId(id).addEventListener("click", to);
    on("fold", () => this.foldAll(true));
    on("unfold", () => this.foldAll(false));
    on("fit", () => this.panes.forEach(p => p.scene && !p.element.hidden && p.whole()));
    on("sweep-open", () => this.toggleSweep());
    on("theme", () => this.turnTheme());
    on("help-open", () => byId("help").showModal());
    on("help-close", () => byId("help").close());
    on("tab-node", () => this.openTab("node"));
    on("tab-stage", () => this.openTab("stage"));
    byId("sweep-open").hidden = !this.table;
    const scoped = this.model.stages.some(s => s.scopes.length);
    byId("fold").hidden = byId("unfold").hidden = !scoped;
    byId("tint").append(...this.colours.offered().map(t => el("option", { value: t }, t)));
    byId("tint").addEventListener("change", e => {
      this.colours.by = e.target.value;
      this.panes.forEach(p => p.scene && p.redraw());
      this.panel();
    });
    this.wireSplit();
    window.addEventListener("resize", () => this.connect());
    document.addEventListener("keydown", e => this.pressed(e));
  }

  turnTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  }

  wireSplit() {
    const split = byId("split"), set = share => {
      this.share = clamp(0.15, share, 0.85);
      byId("forward").style.flexGrow = this.share;
      byId("backward").style.flexGrow = 1 - this.share;
      split.setAttribute("aria-valuenow", Math.round(100 * this.share));
    };
    this.share = 0.5;
    split.addEventListener("pointerdown", e => split.setPointerCapture(e.pointerId));
    split.addEventListener("pointermove", e => {
      if (!(e.buttons & 1)) return;
      const [a, b] = this.panes.map(p => p.element.getBoundingClientRect());
      set(a.top === b.top ? (e.clientX - a.left) / (b.right - a.left)
        : (e.clientY - a.top) / (b.bottom - a.top));
    });
    split.addEventListener("keydown", e => {
      const by = { ArrowLeft: -0.05, ArrowUp: -0.05, ArrowRight: 0.05, ArrowDown: 0.05 }[e.key];
      if (by) {
        e.preventDefault();
        set(this.share + by);
      }
    });
  }

  pressed(e) {
    const typing = ["INPUT", "SELECT"].includes(e.target.tagName);
    if (e.ctrlKey || e.metaKey || e.altKey || (typing && e.target.type !== "range")) return;
    const actions = {
      "/": () => byId("search").focus(),
      "[": () => this.stageNumber && this.show(this.stageNumber - 1),
      "]": () => this.model.stages[this.stageNumber + 1] && this.show(this.stageNumber + 1),
      s: () => this.table && this.toggleSweep(),
      t: () => this.turnTheme(),
      f: () => byId("fit").click(),
      "?": () => byId("help").showModal(),
      Escape: () => this.choose(null),
    };
    if (!actions[e.key] || byId("help").open) return;
    e.preventDefault();
    actions[e.key]();
  }
}

const page = new Page(JSON.parse(byId("document").textContent));
requestAnimationFrame(() => {
  performance.mark("drawn");
  document.documentElement.dataset.ready = "true";
});
