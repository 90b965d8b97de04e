// The document, with what is read off it often.
"use strict";

const FORWARD = 0, BACKWARD = 1;
const SLOT = 0xE010, OUT = "\uE000", ADJOINT = "\uE001";

class Stage {
  constructor(view, doc) {
    Object.assign(this, view);
    this.doc = doc;
    for (const key of ["before", "changed", "gone", "kernels", "values", "outside", "roots",
      "scopes", "adjoints", "stems", "formulas"]) this[key] ||= [];
    this.place = new Map(this.nodes.map((id, i) => [id, i]));
    this.root = new Map(this.roots);
    this.hidden = this.nodes.map(id => doc.nodes[id].number !== undefined);
    this.args = this.nodes.map(id => (doc.nodes[id].args || []).map(a => this.place.get(a)));
    this.users = this.nodes.map(() => []);
    this.args.forEach((args, i) => args.forEach((a, k) => this.users[a].push([i, k])));
    this.ghost = new Set(this.outside);
    this.fruits = this.nodes.map(() => []);
    this.stems.forEach((s, i) => { if (s >= 0 && this.sides[i]) this.fruits[s].push(i); });
  }

  get count() { return this.hidden.filter(h => !h).length - this.outside.length; }

  node(i) { return this.doc.nodes[this.nodes[i]]; }

  /** "S(h)" for a derivative that is the adjoint of h; of several the first two. */
  adjointName(i) {
    const names = (this.adjoints[i] || []).map(([id, output]) => this.doc.adjointText(id, output));
    return names.length > 2 ? `${names[0]}, ${names[1]}, …` : names.join(", ");
  }

  /** What a box is headed with: the user's name, the role of a result, or which adjoint. */
  title(i) {
    const named = this.node(i).name ? this.names[i] : "";
    return named || this.adjointName(i) || (this.root.get(i) || "");
  }

  /** Nodes of the other side that belong to a node: what it stems from, or what stems from it. */
  linked(i) {
    if (this.sides[i] === BACKWARD) return this.stems[i] >= 0 ? [this.stems[i]] : [];
    return this.fruits[i].filter(j => !this.hidden[j]);
  }

  /** Derivatives that are the adjoint of a node of the first stage for an output. */
  adjointsOf(id, output) {
    if (!this.adjointPlaces) {
      this.adjointPlaces = new Map();
      this.adjoints.forEach((all, i) => all.forEach(of => {
        const key = String(of);
        if (!this.adjointPlaces.has(key)) this.adjointPlaces.set(key, []);
        this.adjointPlaces.get(key).push(i);
      }));
    }
    return this.adjointPlaces.get(`${id},${output}`) || [];
  }

  /** What the stage changed on a side. */
  touched(side) {
    this.touchedOf ||= [FORWARD, BACKWARD].map(s => this.nodes.map((_, i) => i).filter(i =>
      this.sides[i] === s && !this.hidden[i] && this.changed[i] && this.changed[i] !== "same"));
    return this.touchedOf[side];
  }

  /** Scopes around a node, the innermost first. */
  scopesOf(i) {
    const found = [];
    for (let c = this.clusters[i]; c >= 0; c = this.scopes[c].parent) found.push(c);
    return found;
  }
}

class Model {
  constructor(doc) {
    Object.assign(this, doc);
    for (const key of ["outputs", "sweeps", "kernels", "notes"]) this[key] ||= [];
    this.sizes ||= {};
    this.views = this.stages;
    this.stages = [];
    for (const view of this.views) this.stages.push(new Stage(view, this));
    for (const sweep of this.sweeps) {
      sweep.rows ||= [];
      for (const row of sweep.rows) Object.assign(row, { users: [], terms: [], ...row });
      sweep.byNode = new Map(sweep.rows.map(row => [row.node, row]));
    }
  }

  /** A node of the first stage by its name there. */
  nameOf(id) { return this.stages[0].names[this.stages[0].place.get(id)]; }

  /** "S(h)"; where several outputs were differentiated "S(h, output)". */
  adjointText(id, output) {
    const second = this.outputs.length > 1 ? `, ${this.outputs[output]}` : "";
    return `S(${this.nameOf(id)}${second})`;
  }

  text(place) { return place === undefined || place < 0 ? "" : this.texts[place]; }

  op(node) { return this.text(node.op); }

  /** [file and line, the line's text], '' where it is not known. */
  source(node) { return node.source === undefined ? ["", ""] : this.text(node.source).split("\n"); }

  /** The nodes of the first stage that became a node of a stage. */
  written(stage, id) {
    let ids = [id];
    for (let s = stage; s > 0; s--) {
      const at = this.stages[s], found = new Set();
      for (const x of ids)
        if (at.place.has(x)) for (const b of at.before[at.place.get(x)] || []) found.add(b);
      ids = [...found];
    }
    return ids;
  }

  /** What a node of a stage is in another one, by what became of it; undefined if nothing. */
  counterpart(from, to, id) {
    let ids = [id];
    for (let s = from; s > to && ids.length; s--) {
      const at = this.stages[s];
      ids = ids.flatMap(x => at.place.has(x) ? at.before[at.place.get(x)] || [] : []);
    }
    for (let s = from; s < to && ids.length; s++) {
      const next = this.stages[s + 1], now = new Set(ids);
      ids = next.nodes.filter((_, i) => (next.before[i] || []).some(b => now.has(b)));
    }
    return ids.find(x => this.stages[to].place.has(x));
  }
}

/** A template as pieces: strings, and numbers for operands. */
function pieces(template) {
  const found = [];
  let text = "";
  for (const c of template) {
    const code = c.codePointAt(0);
    if (code >= SLOT && code <= 0xF8FF) {
      if (text) found.push(text);
      text = "";
      found.push(code - SLOT);
    } else text += c;
  }
  if (text) found.push(text);
  return found;
}

const SIGNS = { "*": "×", "-": "−" };
const pretty = text => text.replace(/ \* /g, " × ").replace(/ - /g, " − ");

/**
 * The operation in a box: dots for operands that lines lead to, names for the others; just
 * `exp` or `×` where there are dots only.
 */
function operationText(template, drawn, name) {
  const parts = pieces(template);
  const slots = parts.filter(p => typeof p === "number");
  if (slots.length && slots.every(drawn)) {
    const plain = parts.map(p => typeof p === "number" ? "·" : p).join("");
    const call = /^([\w.]+)(\[[^\]]*\])?\((·(?:, ·)*)\)$/.exec(plain);
    if (call) return call[1] + (call[2] || "");
    const infix = /^· (\S+) ·$/.exec(plain);
    if (infix) return SIGNS[infix[1]] || infix[1];
    const shaped = /^(reshape|broadcast)\(·, .*\)$/.exec(plain);
    if (shaped) return shaped[1];
  }
  return pretty(parts.map(p => typeof p === "number" ? (drawn(p) ? "·" : name(p)) : p).join(""));
}

/** A number to read: whole, or with five digits; or a word. */
function numberText(value) {
  if (typeof value !== "number") return String(value ?? "");
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e6) return String(Number(value.toPrecision(5)));
  const [digits, power] = value.toExponential(4).split("e");
  return `${Number(digits)}e${Number(power)}`;
}
