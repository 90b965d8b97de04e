// The bar of stages, and the panel about one of them.
"use strict";

class Stages {
  /** `page` has model, stage, stageNumber, show(number), go(stage, id), goPlace(i). */
  constructor(page, bar) {
    this.page = page;
    this.bar = bar;
    const { stages } = page.model;
    this.tabs = stages.map((s, k) => {
      const less = k ? s.count - stages[k - 1].count : 0;
      return el("button", {
        role: "tab", id: `stage-${k}`, class: k && !this.touched(s) ? "idle" : null,
        click: () => page.show(k), keydown: e => this.pressed(e, k),
        title: k ? `${less > 0 ? "+" : ""}${less} nodes` : "as written",
      }, el("b", {}, s.name), el("span", {}, `${s.count}`));
    });
    bar.append(...this.tabs);
    bar.hidden = stages.length < 2;
  }

  touched(stage) {
    return Object.keys(stage.fired || {}).length || stage.gone.length
      || stage.touched(FORWARD).length || stage.touched(BACKWARD).length;
  }

  mark() {
    this.tabs.forEach((tab, k) => {
      const here = k === this.page.stageNumber;
      tab.setAttribute("aria-selected", here);
      tab.tabIndex = here ? 0 : -1;
    });
  }

  pressed(e, k) {
    const to = { ArrowRight: k + 1, ArrowLeft: k - 1, Home: 0, End: this.tabs.length - 1 }[e.key];
    if (to === undefined || !this.tabs[to]) return;
    e.preventDefault();
    this.page.show(to);
    this.tabs[to].focus();
  }

  /** The panel's content: what the stage changed. */
  content() {
    const { stage, stageNumber, model } = this.page;
    const parts = [this.summary()];
    if (stageNumber) parts.push(...this.changes());
    parts.push(this.results());
    if (!stageNumber && model.notes.length)
      parts.push(section("Reverse sweep", model.notes.map(n => el("p", {}, n))));
    if (stageNumber === model.stages.length - 1 && model.kernels.length)
      parts.push(this.kernels());
    parts.push(section("Colours", this.page.colours.legend()));
    return parts;
  }

  summary() {
    const { stage, stageNumber, model } = this.page;
    const rows = [["nodes", this.counted(stage)]];
    if (stage.seconds !== undefined) rows.push(["time", `${(stage.seconds * 1e3).toFixed(2)} ms`]);
    if (stageNumber) {
      const before = model.stages[stageNumber - 1].count;
      rows.splice(1, 0, ["before", `${before}`]);
    }
    const title = model.stages.length > 1
      ? (stageNumber ? `Stage ${stage.name}` : "As written") : "Graph";
    return el("div", {}, el("div", { class: "head" }, el("h3", {}, title)),
      section("About", list(rows)));
  }

  results() {
    const { stage } = this.page;
    const results = stage.roots.slice(0, 40).map(([i, role]) => el("li", {},
      this.reference(i), " ", el("span", { class: "op" },
        [stage.title(i) === role ? "" : stage.title(i), role].filter(Boolean).join(", "))));
    return section("Results", el("ul", { class: "changes" }, results));
  }

  counted(stage) {
    const parts = [["forward", i => !stage.sides[i]],
      ["derivative", i => stage.sides[i] && stage.kinds[i] === "gradient"],
      ["other", i => stage.sides[i] && stage.kinds[i] !== "gradient"]];
    const numbers = parts.map(([name, test]) => [name, stage.nodes.filter(
      (_, i) => test(i) && !stage.hidden[i] && !stage.ghost.has(i)).length]);
    const known = numbers.filter(([, n]) => n).map(([name, n]) => `${n} ${name}`);
    return `${stage.count}` + (known.length > 1 ? `: ${known.join(", ")}` : "");
  }

  reference(i) {
    const { stage } = this.page;
    if (stage.hidden[i]) return stage.names[i];
    return el("button", { class: "ref", click: () => this.page.goPlace(i) }, stage.names[i]);
  }

  changes() {
    const { stage } = this.page, fired = Object.entries(stage.fired || {});
    const parts = [];
    if (fired.length) parts.push(section("Rules applied", el("table", { class: "rules" },
      fired.sort((a, b) => b[1] - a[1]).map(([rule, count]) =>
        el("tr", {}, el("td", {}, rule), el("td", { class: "count" }, `${count}`))))));
    const of = fate => stage.nodes.map((_, i) => i)
      .filter(i => stage.changed[i] === fate && !stage.hidden[i]);
    parts.push(this.group("Rewritten", of("rewritten")), this.group("Merged", of("merged")),
      this.group("Added", of("new")), this.gone());
    const found = parts.filter(Boolean);
    return found.length ? found : [section("Changes", el("p", {}, "none"))];
  }

  group(title, places) {
    if (!places.length) return null;
    const { stage, model } = this.page;
    const items = places.slice(0, 200).map(i => {
      const rule = model.text(stage.node(i).rule).replace("rewrite:", "");
      const stems = (stage.before[i] || []).length;
      const why = stage.changed[i] === "merged" ? `${stems} into one` : rule;
      return el("li", {},
        el("button", { class: "ref", click: () => this.page.goPlace(i) }, stage.names[i]), " ",
        el("code", {}, shorten(pretty(model.text(stage.formulas[i])))),
        why ? el("span", { class: "why" }, why) : null);
    });
    return section(`${title}: ${places.length}`, el("ul", { class: "changes" }, items));
  }

  gone() {
    const { stage, stageNumber, model } = this.page, last = model.stages[stageNumber - 1];
    const ids = stage.gone.filter(id => !last.hidden[last.place.get(id)]);
    if (!ids.length) return null;
    const items = ids.slice(0, 200).map(id => {
      const i = last.place.get(id);
      return el("li", {},
        el("button", { class: "ref", click: () => this.page.go(stageNumber - 1, id) },
          last.names[i]), " ",
        el("code", {}, shorten(pretty(model.text(last.formulas[i])))));
    });
    return section(`Removed: ${ids.length}`, el("ul", { class: "changes gone" }, items));
  }

  kernels() {
    const { model } = this.page;
    return section(`Kernels: ${model.kernels.length}`, el("table", { class: "rules" },
      model.kernels.map(k => el("tr", {}, el("td", {}, k.name), el("td", {}, k.label),
        el("td", { class: "count", title: "flops" }, inThousands(k.flops))))));
  }
}
