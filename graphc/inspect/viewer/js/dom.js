// Elements. Text from the document reaches the page as text only, never as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const byId = id => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter(c => c !== null && c !== undefined));
  return node;
}

/** An HTML element; functions among the attributes listen to events. */
const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

const clamp = (low, value, high) => Math.min(Math.max(low, value), high);
