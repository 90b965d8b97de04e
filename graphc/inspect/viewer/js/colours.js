// Colours of boxes by what nodes cost, what their values are, or which kernel computes them.
"use strict";

const COLOURED = ["kind", "work", "traffic", "value", "adjoint", "not finite", "kernel"];
const UNITS = { work: "flops", traffic: "bytes", value: "(norm)", adjoint: "(norm)" };
/** What a symbolic size is taken as where no sample says it. */
const TYPICAL = 64;

class Colours {
  /** `page` has model, stage, stageNumber. */
  constructor(page) {
    this.page = page;
    this.by = "kind";
  }

  /** What boxes can be coloured by: values only if there are any. */
  offered() {
    const { stages } = this.page.model;
    const values = stages.some(s => s.values.length), kernels = stages.some(s => s.kernels.length);
    const needs = { value: values, adjoint: values, "not finite": values, kernel: kernels };
    return COLOURED.filter(name => needs[name] ?? true);
  }

  /** The colour of a box, null for that of its kind. */
  of(box) {
    if (this.by === "kind") return null;
    if (this.by === "kernel") return this.kernel(box);
    const heat = this.heat(), share = Math.max(...box.nodes.map(i => heat[i]));
    if (share < 0) return "var(--surface)";
    return `color-mix(in oklab, var(--hot) ${Math.round(8 + 72 * share)}%, var(--surface))`;
  }

  kernel(box) {
    const { stage, model } = this.page;
    const name = stage.kernels.length ? model.text(stage.kernels[box.nodes[0]]) : "";
    if (!name) return "var(--surface)";
    const place = model.kernels.findIndex(k => k.name === name.split(",")[0]);
    const hue = Math.round(Math.max(0, place) * 137.5) % 360;
    return `color-mix(in oklab, hsl(${hue} 70% 50%) 34%, var(--surface))`;
  }

  /** For each node a share from 0 to 1 of the largest, on a logarithmic scale; -1: none. */
  heat() {
    const key = `${this.page.stageNumber} ${this.by}`;
    if (this.known !== key) {
      const { stage } = this.page;
      const sizes = stage.nodes.map((_, i) => (stage.hidden[i] ? null : this.measure(i)));
      this.heats = this.by === "not finite"
        ? sizes.map(v => (v === null ? -1 : Number(v > 0))) : this.shares(sizes);
      this.known = key;
    }
    return this.heats;
  }

  shares(sizes) {
    const logs = sizes.filter(v => v > 0).map(Math.log);
    const low = logs.reduce((a, b) => Math.min(a, b), Infinity);
    const high = logs.reduce((a, b) => Math.max(a, b), -Infinity);
    this.range = logs.length ? [Math.exp(low), Math.exp(high)] : [0, 0];
    return sizes.map(v => {
      if (v === null) return -1;
      if (!(v > 0)) return 0;
      return high > low ? (Math.log(v) - low) / (high - low) : 1;
    });
  }

  measure(i) {
    const { stage, model } = this.page, node = stage.node(i), value = stage.values[i];
    switch (this.by) {
      case "work": return this.cost(node.flops);
      case "traffic": return this.cost(node.nbytes);
      case "value": return value?.norm ?? null;
      case "not finite": return value ? value.nan + value.inf : null;
    }
    const [sweep] = model.sweeps;
    if (!sweep) return null;
    if (stage.sides[i] === BACKWARD)
      return stage.adjoints[i].some(([, output]) => output === sweep.place)
        ? value?.norm ?? null : null;
    const written = model.written(this.page.stageNumber, stage.nodes[i]);
    const rows = written.map(id => sweep.byNode.get(id));
    return rows.find(row => row?.size)?.size.norm ?? null;
  }

  cost(place) {
    if (place === undefined) return null;
    const { model } = this.page;
    const sizes = new Proxy({}, { get: (_, name) => model.sizes[name] ?? TYPICAL });
    return evaluateSize(model.text(place), sizes);
  }

  /** What the colours mean. */
  legend() {
    if (this.by === "kernel") return [el("p", {}, "one for each kernel")];
    if (this.by === "not finite") return [el("p", {}, "red: values that are not finite")];
    if (this.by !== "kind") return [el("p", {}, this.scale())];
    const { stage } = this.page, names = {
      input: "input", parameter: "parameter", constant: "constant", operation: "operation",
      gradient: "derivative", update: "update",
    };
    const seen = new Set(stage.kinds.filter((_, i) => !stage.hidden[i]));
    return [el("p", { class: "legend" }, Object.keys(names).filter(k => seen.has(k))
      .map(k => el("span", { class: `kind ${k}` }, names[k])))];
  }

  scale() {
    this.heat();
    const [low, high] = this.range.map(numberText), counted = ["work", "traffic"].includes(this.by);
    const guess = counted && !Object.keys(this.page.model.sizes).length
      ? `; symbolic sizes taken as ${TYPICAL}` : "";
    const { sweeps } = this.page.model;
    const what = this.by === "adjoint" && sweeps.length > 1
      ? `adjoint for ${sweeps[0].output}` : this.by;
    return `${what}: pale ${low}, red ${high} ${UNITS[this.by]}, logarithmic${guess}`;
  }
}
