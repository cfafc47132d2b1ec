// An answer as elements: marked text, arcs, bars, boxes, and what changes without the picture.
"use strict";
import { el, sized, svg } from "./dom.js";

const percent = share => `${Math.round(share * 100)} %`;
const width = share => ({ width: `${share * 100}%` });

export function markedText(pieces) {
  return pieces.map(piece => piece.label === undefined ? document.createTextNode(piece.text)
    : el("mark", { class: `t${piece.colour}` }, piece.text, el("small", {}, `${piece.label} ${piece.number}`)));
}

export function entityTable(entities) {
  if (!entities.length) return el("p", { class: "soft" }, "No entity was found.");
  const rows = entities.map(entity => el("tr", {}, el("td", { class: "n" }, String(entity.number)),
    el("td", { dir: "auto" }, entity.text), el("td", {}, entity.label), el("td", { class: "n" }, entity.score.toFixed(2))));
  const head = el("tr", {}, ...["", "entity", "type", "score"].map(name => el("th", { scope: "col" }, name)));
  return el("table", {}, head, ...rows);
}

function bar(value) {
  const inside = sized(el("i"), width(value));
  return el("span", {}, el("span", { class: "bar", "aria-hidden": "true" }, inside), ` ${value.toFixed(2)}`);
}

function split(share, left, right) {
  const halves = [sized(el("i", { class: "s0" }), width(share)),
    sized(el("i", { class: "s2" }), width(1 - share))];
  return el("div", {}, el("div", { class: "split", "aria-hidden": "true" }, ...halves),
    el("div", { class: "ends" }, el("span", {}, `${left} ${share.toFixed(2)}`), el("span", {}, `${(1 - share).toFixed(2)} ${right}`)));
}

function sourceBar(named) {
  const parts = named.map((source, k) => sized(el("i", { class: `s${k}` }), width(source.share)));
  const key = named.map((source, k) => source.share > 0 ? el("span", {}, el("i", { class: `s${k}` }), `${source.name} ${percent(source.share)}`) : null);
  return el("div", {}, el("div", { class: "split", "aria-hidden": "true" }, ...parts), el("div", { class: "key" }, ...key));
}

function arcs(name, diagram, told) {
  const below = diagram.below.map(arc => svg("path", { class: arc.colour === null ? null : `k${arc.colour}`, "stroke-width": arc.thickness, d: arc.path }));
  const grounds = diagram.words.filter(word => word.colour !== null).map(word =>
    svg("rect", { class: `t${word.colour}`, x: word.left - 1, y: word.y - 15, width: word.width + 2, height: 20, rx: 3 }));
  const words = diagram.words.map(word => svg("text", { x: word.x, y: word.y }, word.text));
  const above = diagram.above.map(arc => svg("path", { class: `k${arc.colour} ${arc.style}`, "stroke-width": arc.thickness, d: arc.path }));
  const labels = diagram.above.filter(arc => arc.text).map(arc => svg("text", { class: `l k${arc.colour}`, x: arc.x, y: arc.y }, arc.text));
  return svg("svg", { class: name, role: "img", "aria-label": told || "no candidate yet", direction: "ltr", width: diagram.width,
    height: diagram.height, viewBox: `0 0 ${diagram.width} ${diagram.height}` },
    svg("g", { class: "starts" }, ...below), ...grounds, ...words, ...above, ...labels);
}

export function stepView(step) {
  const meters = [];
  if (step.image2text !== null) meters.push(split(step.image2text, "image2text", "image"));
  if (step.coarse !== null) meters.push(split(step.coarse, "coarse", "fine"));
  if (step.any) meters.push(sourceBar(step.named));
  const relevance = Object.entries(step.relevance).map(([grain, value]) => el("span", {}, ` ${grain} `, bar(value)));
  return [
    el("p", { class: "soft" }, `noise time ${step.time}: ${step.spans} spans below the words, ${step.read} of them read as an entity`),
    ...Object.entries(step.diagrams).map(([name, diagram]) => arcs(name, diagram, step.told)),
    el("div", { class: "meters" }, ...meters),
    relevance.length ? el("p", { class: "soft" }, "relevance to the spans:", ...relevance) : null,
    step.any ? null : el("p", { class: "soft" }, "Nothing beside the text moved the answer in this step."),
  ].filter(Boolean);
}

export function relevanceTable(relevance) {
  const rows = Object.entries(relevance).map(([text, grains]) => el("tr", {}, el("th", { scope: "row" }, text),
    ...["coarse", "fine"].map(grain => el("td", {}, grain in grains ? bar(grains[grain]) : "–"))));
  const head = el("tr", {}, ...["relevance", "coarse", "fine"].map(name => el("th", { scope: "col" }, name)));
  return rows.length ? el("table", {}, head, ...rows) : null;
}

export function besideText(answer) {
  const chips = (answer.sources ?? []).map(source => el("span", { class: source.present ? null : "off" }, source.name));
  const looked = (answer.grounding ?? []).map(ground => el("p", { class: "soft" },
    `${ground.entity + 1}. ${answer.entities[ground.entity].text} looked most at the ${ground.source} `, el("b", {}, ground.name),
    `: ${ground.lift.toFixed(1)} times an even share`));
  return [
    entityTable(answer.entities),
    chips.length ? el("p", { class: "chips" }, ...chips) : null,
    ...looked,
    relevanceTable(answer.relevance ?? {}),
    answer.idle ? el("p", { class: "soft" }, `Did not change this answer: ${answer.idle}.`) : null,
    ...answer.warnings.map(warning => el("p", { class: "soft" }, `warning: ${warning}`)),
  ].filter(Boolean);
}

export function pictureView(address, caption, boxes) {
  const frames = (boxes ?? []).map(({ box, numbers }) => sized(el("b", { class: "box" }, el("span", {}, numbers.join(", "))), {
    left: `${box[0] * 100}%`, top: `${box[1] * 100}%`, width: `${(box[2] - box[0]) * 100}%`, height: `${(box[3] - box[1]) * 100}%` }));
  return [el("img", { src: address, alt: caption || "the picture of this post" }), ...frames];
}

// What the answer without the picture has more, has less, or scores otherwise.
export function changes(withPicture, without) {
  const key = entity => `${entity.start} ${entity.end} ${entity.label}`;
  const before = new Map(withPicture.map(entity => [key(entity), entity]));
  const after = new Map(without.map(entity => [key(entity), entity]));
  const lines = [];
  for (const [name, entity] of before) {
    const other = after.get(name);
    if (!other) lines.push(el("li", {}, el("span", { class: "gone" }, `${entity.text} ${entity.label}`), " is no longer found"));
    else if (Math.abs(other.score - entity.score) >= 0.005) {
      lines.push(el("li", {}, `${entity.text} ${entity.label}: score ${entity.score.toFixed(2)} becomes ${other.score.toFixed(2)}`));
    }
  }
  for (const [name, entity] of after) if (!before.has(name)) lines.push(el("li", {}, `${entity.text} ${entity.label} is found only now`));
  const said = lines.length ? "Without picture, caption and tags:" : "Without picture, caption and tags the answer is the same.";
  return [el("p", {}, el("b", {}, said)), lines.length ? el("ul", {}, ...lines) : null].filter(Boolean);
}
