// Elements made of data. Texts become text nodes only, so nothing that was typed is ever read as HTML.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

export function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

export const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

export const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

// Styles are set as properties: a style attribute is what the content policy forbids.
export function sized(node, styles) {
  for (const [name, value] of Object.entries(styles)) node.style[name] = value;
  return node;
}

export const byId = id => document.getElementById(id);
