// Layered drawing of a directed acyclic graph, top down (Sugiyama, Tagawa and Toda 1981):
// layers, an order within layers with few crossings, then positions.
"use strict";

const GAP = 24, LINE_GAP = 14, LAYER_GAP = 34;

/** Lists of the distinct sources and targets of each vertex. */
function adjacency(count, edges) {
  const above = Array.from({ length: count }, () => new Set());
  const below = Array.from({ length: count }, () => new Set());
  for (const e of edges) {
    above[e.target].add(e.source);
    below[e.source].add(e.target);
  }
  return { above: above.map(s => [...s]), below: below.map(s => [...s]) };
}

/** Vertices, sources first. */
function topologicalOrder(count, above, below) {
  const waiting = above.map(s => s.length), order = [];
  for (let v = 0; v < count; v++) if (!waiting[v]) order.push(v);
  for (let i = 0; i < order.length; i++)
    for (const t of below[order[i]]) if (!--waiting[t]) order.push(t);
  return order;
}

/**
 * The layer of each vertex. `pins[v]` is "top" or "bottom" for ports, which lie in a layer
 * before all others and in one after.
 */
function assignLayers(count, edges, pins) {
  const { above, below } = adjacency(count, edges);
  const order = topologicalOrder(count, above, below);
  const layer = new Int32Array(count);
  for (const v of order) {
    let at = pins[v] === "top" ? 0 : 1;
    for (const u of above[v]) at = Math.max(at, layer[u] + 1);
    layer[v] = at;
  }
  for (let sweep = 0; sweep < 2; sweep++)
    for (let i = order.length - 1; i >= 0; i--) {
      const v = order[i];
      if (!pins[v]) layer[v] = lowered(v, layer, above, below, pins);
    }
  let last = 0;
  for (const v of order) if (pins[v] !== "bottom") last = Math.max(last, layer[v]);
  for (const v of order) if (pins[v] === "bottom") layer[v] = last + 1;
  const first = pins.some(p => p === "top") ? 0 : 1;
  return layer.map(at => at - first);
}

/**
 * The lowest layer for a vertex, if its own line gets shorter by more than others get longer; by
 * as much is enough where those are lines of leaves, which may follow.
 */
function lowered(v, layer, above, below, pins) {
  let there = Infinity;
  for (const t of below[v]) if (pins[t] !== "bottom") there = Math.min(there, layer[t] - 1);
  if (there === Infinity || there <= layer[v]) return layer[v];
  let cost = 0, leaves = true;
  for (const u of above[v]) {
    leaves &&= !above[u].length;
    if (!above[u].length && below[u].length === 1 && !pins[u]) continue; // it follows
    let reach = layer[v];
    for (const w of below[u]) if (w !== v) reach = Math.max(reach, layer[w]);
    cost += Math.max(0, there - reach);
  }
  const gain = there - layer[v];
  return cost < gain || (cost === gain && leaves) ? there : layer[v];
}

/**
 * Edges too long to be drawn: all but the shortest whose lines need few bends beside the number
 * of vertices. All edges of a source share one line.
 */
function tooLong(count, edges, layer, pins) {
  const span = e => layer[e.target] - layer[e.source] - 1;
  const loose = edges.filter(e => !pins[e.source] && !pins[e.target]);
  loose.sort((a, b) => span(a) - span(b));
  const drawn = new Map();
  let bends = 0;
  for (let i = 0; i < loose.length; i++) {
    const e = loose[i], before = drawn.get(e.trunk) || 0;
    bends += Math.max(0, span(e) - before);
    if (bends > 300 + 3 * count) return new Set(loose.slice(i));
    drawn.set(e.trunk, Math.max(before, span(e)));
  }
  return new Set();
}

/** Pieces of edges between adjacent layers; bends become vertices. */
function bendEdges(layer, edges) {
  const levels = Array.from(layer), trunks = new Map(), pieces = [];
  for (const e of edges) {
    e.pieces = [];
    if (!trunks.has(e.trunk)) trunks.set(e.trunk, []);
    const trunk = trunks.get(e.trunk), first = levels[e.source] + 1;
    let at = e.source, offset = e.sourceOffset || 0;
    for (let level = first; level < levels[e.target]; level++) {
      let piece = trunk[level - first];
      if (!piece) {
        piece = { upper: at, lower: levels.length, from: offset, to: 0, edge: null };
        levels.push(level);
        trunk.push(piece);
        pieces.push(piece);
      }
      e.pieces.push(piece);
      at = piece.lower;
      offset = 0;
    }
    const last = { upper: at, lower: e.target, from: offset, to: e.targetOffset || 0, edge: e };
    e.pieces.push(last);
    pieces.push(last);
  }
  return { levels, pieces };
}

/** Where a piece's end stands in the order of its layer: a wide box has ports along it. */
const portPlace = (place, v, offset, widths) =>
  place[v] + (widths[v] ? 0.9 * offset / widths[v] : 0);

function countCrossings(rows, below, place, widths) {
  let total = 0;
  for (const row of rows) {
    const starts = [], ends = [];
    for (const v of row)
      for (const p of below[v]) {
        starts.push(portPlace(place, v, p.from, widths));
        ends.push(portPlace(place, p.lower, p.to, widths));
      }
    if (ends.length < 2) continue;
    const order = starts.map((_, i) => i);
    order.sort((a, b) => starts[a] - starts[b] || ends[a] - ends[b]);
    total += inversions(order.map(i => ends[i]));
  }
  return total;
}

/** How many pairs of a list are out of order, by merging. */
function inversions(list) {
  let count = 0, from = list, to = new Array(list.length);
  for (let size = 1; size < list.length; size *= 2) {
    for (let low = 0; low < list.length; low += 2 * size) {
      const mid = Math.min(low + size, list.length), high = Math.min(low + 2 * size, list.length);
      let i = low, j = mid;
      for (let k = low; k < high; k++) {
        if (j >= high || (i < mid && from[i] <= from[j])) to[k] = from[i++];
        else { count += mid - i; to[k] = from[j++]; }
      }
    }
    [from, to] = [to, from];
  }
  return count;
}

/** Rows sorted by the mean place of neighbours, down and up; the best order is kept. */
function orderRows(rows, above, below, widths, count) {
  const place = new Float64Array(widths.length);
  const settle = row => row.forEach((v, i) => { place[v] = i; });
  rows.forEach(settle);
  let best = rows.map(r => [...r]), fewest = countCrossings(rows, below, place, widths);
  const sweeps = Math.max(4, Math.min(16, Math.round(30000 / count)));
  for (let sweep = 0; sweep < sweeps && fewest; sweep++) {
    const down = sweep % 2 === 0, turned = sweep % 4 >= 2;
    for (let i = 1; i < rows.length; i++) {
      const level = down ? i : rows.length - 1 - i;
      sortRow(rows, level, down, turned, above, below, place, widths);
      settle(rows[level]);
    }
    const crossings = countCrossings(rows, below, place, widths);
    if (crossings < fewest) [best, fewest] = [rows.map(r => [...r]), crossings];
  }
  return best;
}

function sortRow(rows, level, down, turned, above, below, place, widths) {
  const row = rows[level], fixed = rows[level + (down ? -1 : 1)];
  if (row.length < 2) return;
  const scale = fixed.length / row.length;
  const means = row.map((v, i) => {
    const near = down ? above[v] : below[v];
    let sum = 0;
    for (const p of near)
      sum += down
        ? portPlace(place, p.upper, p.from, widths) : portPlace(place, p.lower, p.to, widths);
    return near.length ? sum / near.length : (i + 0.5) * scale - 0.5;
  });
  const order = row.map((_, i) => i);
  order.sort((a, b) => means[a] - means[b] || (turned ? b - a : a - b));
  rows[level] = order.map(i => row[i]);
}

/**
 * Positions nearest to the wanted ones (weighted squares) that keep the row's distances. In
 * `x - offset` the distances say: not decreasing; neighbours that violate that are pooled.
 */
class Spreader {
  constructor(longest) {
    this.wanted = new Float64Array(longest);
    this.weights = new Float64Array(longest);
    this.means = new Float64Array(longest);
    this.sums = new Float64Array(longest);
    this.ends = new Int32Array(longest);
  }

  spread(row, offsets, x) {
    const { wanted, weights, means, sums, ends } = this;
    let pools = 0;
    for (let i = 0; i < row.length; i++) {
      let mean = wanted[i] - offsets[i], weight = weights[i];
      while (pools && means[pools - 1] > mean) {
        pools--;
        mean = (mean * weight + means[pools] * sums[pools]) / (weight + sums[pools]);
        weight += sums[pools];
      }
      means[pools] = mean;
      sums[pools] = weight;
      ends[pools++] = i + 1;
    }
    for (let pool = 0, i = 0; pool < pools; pool++)
      for (; i < ends[pool]; i++) x[row[i]] = means[pool] + offsets[i];
  }
}

function rowOffsets(row, widths, boxes) {
  const offsets = [0];
  for (let i = 1; i < row.length; i++) {
    const a = row[i - 1], b = row[i], gap = a >= boxes && b >= boxes ? LINE_GAP : GAP;
    offsets.push(offsets[i - 1] + (widths[a] + widths[b]) / 2 + gap);
  }
  return offsets;
}

/** Centres: each row in turn is pulled to its neighbours, lines most of all. */
function placeRows(rows, above, below, widths, boxes) {
  const x = new Float64Array(widths.length);
  const offsets = rows.map(row => rowOffsets(row, widths, boxes));
  rows.forEach((row, r) => row.forEach((v, i) => {
    x[v] = offsets[r][i] - offsets[r][row.length - 1] / 2;
  }));
  const sweeps = Math.max(6, Math.min(24, Math.round(60000 / widths.length)));
  const spreader = new Spreader(rows.reduce((n, row) => Math.max(n, row.length), 0));
  const pull = new Pull(x, above, below, boxes);
  const settle = (level, up, down) => {
    const row = rows[level];
    for (let k = 0; k < row.length; k++) {
      pull.find(row[k], up, down);
      spreader.wanted[k] = pull.weight ? pull.sum / pull.weight : x[row[k]];
      spreader.weights[k] = pull.weight || 0.05;
    }
    spreader.spread(row, offsets[level], x);
  };
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const down = sweep % 2 === 0, last = sweep >= sweeps - 4;
    for (let i = 0; i < rows.length; i++)
      settle(down ? i : rows.length - 1 - i, down || last, !down || last);
  }
  if (rows.length) {  // ports stand where their lines do
    settle(0, false, true);
    settle(rows.length - 1, true, false);
  }
  for (let k = 0; k < 3; k++) straighten(rows, offsets, below, x, boxes);
  return x;
}

/** Where a vertex wants to be: the mean of the neighbours of the best rank. */
class Pull {
  constructor(x, above, below, boxes) {
    Object.assign(this, { x, above, below, boxes, rank: 0, sum: 0, weight: 0 });
  }

  find(v, up, down) {
    this.rank = Infinity;
    this.sum = this.weight = 0;
    if (up) for (const p of this.above[v]) this.add(p, v, this.x[p.upper] + p.from - p.to);
    if (down) for (const p of this.below[v]) this.add(p, v, this.x[p.lower] + p.to - p.from);
  }

  add(piece, v, at) {
    const rank = pieceRank(piece, v, this.boxes, this.above);
    if (rank > this.rank) return;
    if (rank < this.rank) this.sum = this.weight = 0;
    const weight = pieceWeight(piece, this.boxes, this.above);
    this.rank = rank;
    this.sum += weight * at;
    this.weight += weight;
  }
}

/**
 * Boxes stand under boxes and lines go straight: were boxes drawn to lines that pass by, or to
 * leaves beside them, or lines to the boxes that they lead to, a long chain would drift.
 */
function pieceRank(piece, v, boxes, above) {
  if (v >= boxes) return piece.upper >= boxes && piece.lower >= boxes ? 0 : 1;
  if (piece.upper >= boxes || piece.lower >= boxes) return 1;
  return piece.lower === v && !above[piece.upper].length ? 2 : 0;
}

/** Bends of one line stay in line; leaves give way to operations. */
function pieceWeight(piece, boxes, above) {
  if (piece.upper < boxes && !above[piece.upper].length) return 0.05;
  const bent = piece.upper >= boxes, ends = piece.lower >= boxes;
  return 1 + 2 * bent + 2 * ends + 4 * (bent && ends);
}

/** Make each line vertical over as many layers as its neighbours leave room for. */
function straighten(rows, offsets, below, x, boxes) {
  const rowOf = new Int32Array(x.length), placeOf = new Int32Array(x.length);
  rows.forEach((row, r) => row.forEach((v, i) => { rowOf[v] = r; placeOf[v] = i; }));
  const room = v => {
    const i = placeOf[v], row = rows[rowOf[v]], o = offsets[rowOf[v]];
    return [i ? x[row[i - 1]] + o[i] - o[i - 1] : -Infinity,
      i + 1 < row.length ? x[row[i + 1]] - o[i + 1] + o[i] : Infinity];
  };
  const started = new Set();
  for (const row of rows) for (const v of row) {
    if (v < boxes || started.has(v)) continue;
    const run = [v];
    let [low, high] = room(v);
    for (;;) {
      const next = below[run[run.length - 1]].find(p => p.lower >= boxes);
      if (!next) break;
      const [a, b] = room(next.lower);
      if (Math.max(low, a) > Math.min(high, b)) break;
      [low, high] = [Math.max(low, a), Math.min(high, b)];
      run.push(next.lower);
    }
    run.forEach(u => started.add(u));
    const middle = run.map(u => x[u]).sort((a, b) => a - b)[run.length >> 1];
    run.forEach(u => { x[u] = Math.min(Math.max(middle, low), high); });
  }
}

/**
 * Places for boxes. `edges` have source, target, trunk (edges of one trunk share a line) and
 * optional offsets of their ends from the boxes' centres; they get `pieces`, which have the
 * points of a curve.
 */
function arrange(layer, widths, heights, edges) {
  const boxes = widths.length;
  const { levels, pieces } = bendEdges(layer, edges);
  const wide = [...widths, ...new Array(levels.length - boxes).fill(0)];
  const above = levels.map(() => []), below = levels.map(() => []);
  for (const p of pieces) { above[p.lower].push(p); below[p.upper].push(p); }
  const depth = levels.reduce((most, at) => Math.max(most, at + 1), 0);
  let rows = Array.from({ length: depth }, () => []);
  levels.forEach((at, v) => rows[at].push(v));
  rows = orderRows(rows, above, below, wide, levels.length);
  const x = placeRows(rows, above, below, wide, boxes);
  spreadHeads(pieces, x, widths);
  const spans = layerSpans(rows, heights, pieces, levels, x);
  let left = Infinity, right = -Infinity;
  for (let v = 0; v < x.length; v++) {
    left = Math.min(left, x[v] - wide[v] / 2);
    right = Math.max(right, x[v] + wide[v] / 2);
  }
  const y = levels.map(at => (spans[at][0] + spans[at][1]) / 2);
  for (const p of pieces) finishPiece(p, x, y, levels, spans, heights, boxes, left);
  return {
    x: Array.from(x.subarray(0, boxes), at => at - left), y: y.slice(0, boxes), pieces,
    width: boxes ? right - left : 0, height: spans.length ? spans[spans.length - 1][1] : 0,
  };
}

/** Where edges meet the top of a box: side by side, from left to right. */
function spreadHeads(pieces, x, widths) {
  const arriving = new Map();
  for (const p of pieces)
    if (p.edge && p.edge.targetOffset === undefined)
      arriving.set(p.lower, [...(arriving.get(p.lower) || []), p]);
  for (const [v, heads] of arriving) {
    const step = Math.min(18, (widths[v] - 18) / Math.max(1, heads.length - 1));
    heads.sort((a, b) => x[a.upper] + a.from - x[b.upper] - b.from);
    heads.forEach((p, i) => { p.to = step * (i - (heads.length - 1) / 2); });
  }
}

/** Top and bottom of each layer; the space below grows with how far lines run across. */
function layerSpans(rows, heights, pieces, levels, x) {
  const across = new Float64Array(rows.length);
  for (const p of pieces) {
    const far = Math.abs(x[p.upper] + p.from - x[p.lower] - p.to);
    across[levels[p.upper]] = Math.max(across[levels[p.upper]], far);
  }
  let top = 0;
  const last = rows.length - 1;
  const isPorts = row => row.every(v => v < heights.length && !heights[v]);
  return rows.map((row, level) => {
    let height = 0;
    for (const v of row) if (v < heights.length) height = Math.max(height, heights[v]);
    const span = [top, top + height];
    const near = isPorts(row) || (level < last && isPorts(rows[level + 1]));
    top += height + (near ? 10 : LAYER_GAP) + Math.min(60, across[level] / 10);
    return span;
  });
}

/** The curve of a piece: straight through the layers, curved between them. */
function finishPiece(p, x, y, levels, spans, heights, boxes, left) {
  p.x0 = x[p.upper] + p.from - left;
  p.x1 = x[p.lower] + p.to - left;
  const [top0, bottom0] = spans[levels[p.upper]], [top1] = spans[levels[p.lower]];
  p.y0 = p.upper < boxes ? y[p.upper] + heights[p.upper] / 2 : top0;
  p.y1 = p.lower < boxes ? y[p.lower] - heights[p.lower] / 2 : top1;
  p.bottom = bottom0;
  p.top = top1;
}
