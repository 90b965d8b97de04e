// The reverse sweep, one row a node: S(node) is the sum over its users.
"use strict";

/** Rows in the page at a time. */
const ROWS = 120;

class SweepTable {
  /** `page` has model, sweepStep(row or null, done rows). */
  constructor(page, element) {
    this.page = page;
    this.element = element;
    this.number = 0;
    this.step = 0;
    this.timer = null;
    this.build();
  }

  get sweep() { return this.page.model.sweeps[this.number]; }

  get rows() { return this.sweep.rows; }

  build() {
    const { sweeps } = this.page.model;
    const button = (id, text, label, to) => el("button",
      { id, "aria-label": label, title: label, click: () => { this.stop(); to(); } }, text);
    this.slider = el("input", { type: "range", id: "sweep-slider", min: 0, value: 0,
      "aria-label": "step", input: () => { this.stop(); this.go(Number(this.slider.value)); } });
    this.counter = el("output", { id: "sweep-count" });
    this.player = el("button", { id: "sweep-play", click: () => this.play() });
    this.head = el("thead");
    this.body = el("tbody");
    const choice = sweeps.length > 1 ? el("select", { id: "sweep-output", "aria-label": "output",
      change: e => { this.number = Number(e.target.value); this.go(0); } },
      sweeps.map((s, k) => el("option", { value: k }, s.output))) : null;
    this.element.append(
      el("div", { class: "controls" },
        el("h3", {}, "Reverse sweep"), choice,
        button("sweep-first", "|◀", "to the start", () => this.go(0)),
        button("sweep-back", "◀", "one row back", () => this.go(this.step - 1)),
        this.player,
        button("sweep-next", "▶", "next row", () => this.go(this.step + 1)),
        button("sweep-last", "▶|", "all rows", () => this.go(this.rows.length)),
        this.slider, this.counter,
        el("span", { class: "rule" }, "S(node) = Σ over users S(user) × ∂user/∂node"),
        button("sweep-close", "✕", "close", () => this.page.toggleSweep())),
      el("div", { class: "scroll" }, el("table", {}, this.head, this.body)));
    this.element.addEventListener("keydown", e => this.pressed(e));
  }

  open() {
    this.playing(false);
    this.go(Math.max(1, this.step));
    byId("sweep-next").focus();
  }

  /** Show so many rows; the last of them is the one at work. */
  go(step) {
    this.step = clamp(0, step, this.rows.length);
    this.slider.max = this.rows.length;
    this.slider.value = this.step;
    this.counter.textContent = `${this.step} of ${this.rows.length}`;
    this.fill();
    this.page.sweepStep(this.step ? this.rows[this.step - 1] : null, this.rows.slice(0, this.step));
  }

  fill() {
    const numbers = this.rows.some(r => r.value !== undefined);
    const columns = ["", "node", "is", "used by", "S(node)"].concat(
      numbers ? ["value", "in numbers", "S"] : []);
    this.head.replaceChildren(el("tr", {}, columns.map(c => el("th", { scope: "col" }, c))));
    const start = Math.max(0, this.step - ROWS);
    const shown = this.rows.slice(start, this.step);
    const rows = shown.map((row, k) => this.row(row, start + k, numbers));
    if (start) rows.unshift(el("tr", { class: "more" },
      el("td", { colspan: columns.length }, `${start} rows before`)));
    this.body.replaceChildren(...rows);
    const last = this.body.lastElementChild;
    if (last) last.scrollIntoView({ block: "nearest" });
  }

  row(row, k, numbers) {
    const first = this.page.model.stages[0], name = id => first.names[first.place.get(id)];
    const cells = [
      el("td", { class: "count" }, `${k + 1}`),
      el("td", {}, el("button", { class: "ref", click: () => this.go(k + 1) }, name(row.node))),
      el("td", { class: "code" }, pretty(row.what)),
      el("td", {}, row.users.map(name).join(", ") || "(output)"),
      el("td", { class: "code" }, joined(row.terms.map(t => t.text))),
    ];
    if (numbers) cells.push(
      el("td", { class: "number" }, row.value),
      el("td", { class: "number" }, joined(row.terms.map(t => t.value ?? ""))),
      el("td", { class: bad(row.size) ? "number bad" : "number" }, row.adjoint));
    return el("tr", { class: k === this.step - 1 ? "now" : null }, cells);
  }

  pressed(e) {
    const to = {
      ArrowRight: this.step + 1, ArrowDown: this.step + 1, ArrowLeft: this.step - 1,
      ArrowUp: this.step - 1, Home: 0, End: this.rows.length,
    }[e.key];
    if (e.key === "Escape") this.page.toggleSweep();
    if (to === undefined || e.target.tagName === "SELECT") return;
    e.preventDefault();
    e.stopPropagation();
    this.stop();
    this.go(to);
  }

  play() {
    if (this.timer) return this.stop();
    if (this.step === this.rows.length) this.go(0);
    this.playing(true);
    this.timer = setInterval(() => {
      this.go(this.step + 1);
      if (this.step === this.rows.length) this.stop();
    }, 900);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.playing(false);
  }

  playing(on) {
    this.player.textContent = on ? "pause" : "play";
    this.player.setAttribute("aria-pressed", on);
  }
}

const bad = s => Boolean(s && (s.nan || s.inf));
