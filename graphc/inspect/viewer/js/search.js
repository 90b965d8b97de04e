// Search: words of names, operations, lines, scopes, types, rules; `op:exp` looks in one of them.
"use strict";

const SHOWN = 60;

class Search {
  /** `page` has model, stage, goPlace(i), found(places). */
  constructor(page, input, results, count) {
    Object.assign(this, { page, input, results, count, hits: [], at: -1 });
    input.addEventListener("input", () => this.search());
    input.addEventListener("focus", () => this.search());
    input.addEventListener("keydown", e => this.pressed(e));
    input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
  }

  fields(i) {
    const { stage, model } = this.page, node = stage.node(i), [line, text] = model.source(node);
    return {
      name: `${stage.names[i]} ${stage.title(i)}`, op: model.op(node), line, text,
      scope: model.text(node.scope), type: model.text(node.type),
      rule: model.text(node.rule), kernel: stage.kernels.length ? model.text(stage.kernels[i]) : "",
      kind: stage.kinds[i],
    };
  }

  /** Places of the nodes in which every word occurs; exact names come first. */
  find(query) {
    const { stage } = this.page, words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const rank = i => (words.includes(stage.names[i].toLowerCase()) ? 0 : 1);
    return stage.nodes.map((_, i) => i)
      .filter(i => !stage.hidden[i] && words.every(w => this.holds(this.fields(i), w)))
      .sort((a, b) => rank(a) - rank(b));
  }

  holds(fields, word) {
    const [, key, rest] = /^(\w+):(.+)$/.exec(word) || [];
    if (key && key in fields) return fields[key].toLowerCase().includes(rest);
    return Object.values(fields).some(f => f.toLowerCase().includes(word));
  }

  search() {
    this.hits = this.find(this.input.value);
    this.at = -1;
    const asked = this.input.value.trim() !== "";
    this.count.textContent = asked ? `${this.hits.length}` : "";
    this.page.found(this.hits);
    this.results.replaceChildren(...this.hits.slice(0, SHOWN).map((i, k) => this.item(i, k)));
    if (asked && !this.hits.length) this.results.append(el("li", { class: "none" }, "no node"));
    this.open(asked);
  }

  item(i, k) {
    const { stage, model } = this.page, [line] = model.source(stage.node(i));
    return el("li", { role: "option", id: `hit-${k}`, pointerdown: e => {
      e.preventDefault();
      this.choose(k);
    } },
      el("b", {}, stage.names[i]), el("code", {}, shorten(pretty(model.text(stage.formulas[i])))),
      el("span", {}, [model.text(stage.node(i).type), line].filter(Boolean).join("  ")));
  }

  open(shown) {
    this.results.hidden = !shown;
    this.input.setAttribute("aria-expanded", shown);
  }

  close() { this.open(false); }

  pressed(e) {
    const move = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (move) {
      e.preventDefault();
      this.mark(clamp(0, this.at + move, Math.min(this.hits.length, SHOWN) - 1));
    } else if (e.key === "Enter") {
      e.preventDefault();
      this.choose(Math.max(0, this.at));
    } else if (e.key === "Escape") {
      this.input.value = "";
      this.search();
      this.page.leaveSearch();
    }
  }

  mark(k) {
    this.at = k;
    [...this.results.children].forEach((li, j) => {
      li.setAttribute("aria-selected", j === k);
      if (j === k) li.scrollIntoView({ block: "nearest" });
    });
    this.input.setAttribute("aria-activedescendant", k >= 0 ? `hit-${k}` : "");
  }

  choose(k) {
    if (this.hits[k] === undefined) return;
    this.close();
    this.mark(k);
    this.page.goPlace(this.hits[k]);
  }
}
