// The panel about one node.
"use strict";

class Details {
  /** `page` has model, stage, go(stage, id), goPlace(i), toggle(side, cluster). */
  constructor(page) {
    this.page = page;
  }

  /** The panel's content for a node of the stage. */
  of(i) {
    const { stage, model } = this.page, node = stage.node(i);
    return [
      this.head(i, node),
      this.formula(i),
      this.facts(i, node),
      this.adjoint(i),
      this.value(i),
      this.locals(i, node),
      this.neighbours(i),
      this.provenance(i, node, model),
    ];
  }

  head(i, node) {
    const { stage, model } = this.page, title = stage.title(i);
    return el("div", { class: "head" },
      el("h3", {}, title || stage.names[i]),
      el("span", { class: `kind ${stage.kinds[i]}` }, this.kind(i)),
      el("span", { class: "op" }, model.op(node)));
  }

  kind(i) {
    const { stage } = this.page, role = stage.root.get(i);
    const kind = { gradient: "derivative", update: "update" }[stage.kinds[i]] || stage.kinds[i];
    return kind + (role ? `, ${role}` : "") + (stage.ghost.has(i) ? ", not computed" : "");
  }

  formula(i) {
    const { stage, model } = this.page, node = stage.node(i);
    if (!stage.args[i].length) return null;
    const short = this.filled(model.text(node.template), i);
    const long = pretty(model.text(stage.formulas[i]));
    const same = short.map(p => p.textContent ?? p).join("") === long;
    return section("Formula",
      el("p", { class: "code formula" }, `${stage.names[i]} = `, ...short),
      same ? null : el("p", { class: "code long" }, "= ", long));
  }

  /** A template with its operands' names as buttons. */
  filled(template, i, self) {
    const { stage } = this.page;
    return pieces(pretty(template)).map(p => {
      if (typeof p === "number") return this.reference(stage.args[i][p]);
      return p.replaceAll(OUT, self || "").replaceAll(ADJOINT, `S(${self || ""})`);
    });
  }

  reference(i) {
    const { stage } = this.page;
    if (stage.hidden[i]) return stage.names[i];
    return el("button", { class: "ref", click: () => this.page.goPlace(i) }, stage.names[i]);
  }

  facts(i, node) {
    const { stage, model } = this.page, rows = [["type", model.text(node.type)]];
    if (node.flops !== undefined) {
      rows.push(["work", this.cost(model.text(node.flops), "flop")]);
      rows.push(["traffic", this.cost(model.text(node.nbytes), "byte")]);
    }
    if (stage.kernels.length && stage.kernels[i] >= 0)
      rows.push([model.text(stage.kernels[i]).includes(",") ? "kernels" : "kernel",
        model.text(stage.kernels[i])]);
    const [line, text] = model.source(node);
    if (line) rows.push(["line", el("span", {}, line, el("code", { class: "source" }, text))]);
    const scopes = stage.scopesOf(i).reverse();
    if (scopes.length) rows.push(["scope", this.scopePath(stage.sides[i], scopes)]);
    else if (node.scope !== undefined) rows.push(["scope", model.text(node.scope)]);
    return section("About", list(rows));
  }

  cost(text, unit) {
    const at = evaluateSize(text, this.page.model.sizes);
    const count = text === "1" ? `1 ${unit}` : `${inThousands(text)} ${unit}s`;
    return at === null || String(at) === text ? count : `${count} = ${inThousands(String(at))}`;
  }

  scopePath(side, scopes) {
    const { stage } = this.page;
    return el("span", {}, scopes.map((c, k) => [k ? " / " : "",
      el("button", { class: "ref", title: "fold", click: () => this.page.toggle(side, c) },
        stage.scopes[c].title)]).flat());
  }

  /** What S(node) is, and its numbers; of a later stage those of the node as written. */
  adjoint(i) {
    const { stage, model } = this.page, parts = [];
    for (const [id, output] of stage.adjoints[i] || [])
      parts.push(el("p", {}, el("b", {}, model.adjointText(id, output)),
        ` = ∂${model.outputs[output]}/∂${model.nameOf(id)}`));
    const written = stage.sides[i] === FORWARD
      ? model.written(this.page.stageNumber, stage.nodes[i]) : [];
    for (const sweep of model.sweeps) for (const id of written) {
      const row = sweep.byNode.get(id);
      if (!row) continue;
      parts.push(el("p", { class: "code" },
        `${model.adjointText(id, sweep.place)} = ${joined(row.terms.map(t => t.text))}`));
      if (row.size) parts.push(summaryTable(row.size));
    }
    return parts.length ? section("Adjoint", parts) : null;
  }

  value(i) {
    const found = this.page.stage.values[i];
    return found ? section("Value at the sample", summaryTable(found)) : null;
  }

  locals(i, node) {
    const { stage, model } = this.page, rows = [];
    (node.local || []).forEach((place, k) => {
      if (place === null || place === undefined) return;
      const operand = stage.names[stage.args[i][k]], text = model.text(place);
      const left = text.includes(ADJOINT)
        ? `S(${operand}) += ` : `∂${stage.names[i]}/∂${operand} = `;
      rows.push(el("p", { class: "code" }, left, ...this.filled(text, i, stage.names[i])));
    });
    return rows.length ? section("Local derivatives", rows) : null;
  }

  neighbours(i) {
    const { stage } = this.page, parts = [];
    const listed = (what, places) => {
      const known = [...new Set(places)].filter(p => !stage.hidden[p]);
      if (!known.length) return;
      const shown = known.slice(0, 24).map((p, k) => [k ? " " : "", this.reference(p)]);
      const more = known.length > 24 ? ` and ${known.length - 24} more` : "";
      parts.push(el("p", {}, el("span", { class: "label" }, what), ...shown.flat(), more));
    };
    listed("operands", stage.args[i]);
    listed("used by", stage.users[i].map(([u]) => u));
    listed(stage.sides[i] === FORWARD ? "derivatives" : "stems from", stage.linked(i));
    return parts.length ? section("Neighbours", parts) : null;
  }

  /** What happened to the node, the oldest first, and what it was as written. */
  provenance(i, node, model) {
    const steps = (node.steps || []).map(step => step.map(place => model.text(place)));
    const number = this.page.stageNumber, first = model.stages[0];
    const ids = number ? model.written(number, this.page.stage.nodes[i]) : [];
    const written = ids.length ? el("p", {}, el("span", { class: "label" }, "as written"),
      ids.slice(0, 12).map((id, k) => [k ? " " : "",
        el("button", { class: "ref", click: () => this.page.go(0, id) },
          first.names[first.place.get(id)])]).flat(), ids.length > 12 ? " …" : "") : null;
    if (!steps.length && !written) return null;
    return section("Where it comes from", el("ol", { class: "steps" },
      steps.map(([kind, stage, rule, detail]) => el("li", { class: kind },
        el("b", {}, stepTitle(kind, stage, rule)), el("span", {}, detail)))), written);
  }
}

function stepTitle(kind, stage, rule) {
  const title = { written: "written", derivative: rule, rewrite: rule, merge: "merged",
    kernel: rule === "dead" ? "not needed" : "kernel" }[kind] || rule;
  return kind === "rewrite" || kind === "merge" ? `${title} (${stage})` : title;
}

const section = (title, ...content) =>
  el("section", {}, el("h4", {}, title), ...content);

const list = rows => el("dl", {},
  rows.map(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]).flat());

const joined = terms => pretty((terms.join(" + ") || "0").replaceAll("+ -", "- "));

/** Digits in groups of three. */
const inThousands = text => text.replace(/\d{4,}/g, d => d.replace(/\B(?=(\d{3})+$)/g, " "));

const FACTOR = "(?:\\d+|[A-Za-z_]\\w*)(?:\\*\\*\\d+)?";
const TERM = new RegExp(`^-?${FACTOR}(?:\\*${FACTOR})*$`);

/** The value of a polynomial in symbolic sizes; null where it is no plain sum of products. */
function evaluateSize(text, sizes) {
  let total = 0;
  for (const term of text.replaceAll(" - ", " + -").split(" + ")) {
    if (!TERM.test(term)) return null;
    let product = term.startsWith("-") ? -1 : 1;
    for (const [factor] of term.matchAll(new RegExp(FACTOR, "g"))) {
      const [base, power] = factor.split("**");
      const value = /^\d/.test(base) ? Number(base) : sizes[base];
      if (value === undefined) return null;
      product *= value ** Number(power ?? 1);
    }
    total += product;
  }
  return total;
}

/** Statistics, and the elements or a histogram. */
function summaryTable(s) {
  const rows = [["shape", `[${(s.shape || []).join(", ")}]`]];
  if (s.least !== undefined)
    rows.push(["min, max", `${numberText(s.least)}, ${numberText(s.largest)}`],
      ["mean", numberText(s.mean)], ["norm", numberText(s.norm)]);
  if (s.nan) rows.push(["NaN", el("strong", { class: "bad" }, `${s.nan} of ${size(s)}`)]);
  if (s.inf) rows.push(["infinite", el("strong", { class: "bad" }, `${s.inf} of ${size(s)}`)]);
  const parts = [list(rows)];
  if (s.whole !== undefined) parts.push(wholeTable(s.whole));
  if (s.bars) parts.push(histogram(s));
  return el("div", { class: "summary" }, parts);
}

const size = s => (s.shape || []).reduce((a, b) => a * b, 1);

function wholeTable(whole) {
  let rows = Array.isArray(whole) ? whole : [whole];
  while (rows.some(r => Array.isArray(r) && r.some(Array.isArray))) rows = rows.flat();
  if (!rows.some(Array.isArray)) rows = inRows(rows);
  return el("table", { class: "elements" }, rows.map(row => el("tr", {},
    [row].flat().map(v => el("td", { class: typeof v === "string" ? "bad" : null, title: `${v}` },
      numberText(v))))));
}

/** A list in rows that a narrow panel holds. */
const inRows = all => all.length <= 5 ? [all]
  : Array.from({ length: Math.ceil(all.length / 5) }, (_, r) => all.slice(5 * r, 5 * r + 5));

function histogram(s) {
  const most = Math.max(...s.bars), wide = 100 / s.bars.length;
  return el("figure", { class: "histogram" },
    svg("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img",
      "aria-label": "histogram" },
      s.bars.map((n, k) => svg("rect", { x: k * wide, y: 30 - 30 * n / most,
        width: wide * 0.86, height: 30 * n / most }))),
    el("figcaption", {},
      el("span", {}, numberText(s.least)), el("span", {}, numberText(s.largest))));
}
