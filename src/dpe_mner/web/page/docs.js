// The OpenAPI schema as a page: every endpoint with its fields, its answers and a command to try.
"use strict";
import { byId, el } from "./dom.js";

const named = reference => reference.split("/").pop();

function kind(schema) {
  if (schema.$ref) return named(schema.$ref);
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`;
  if (schema.type === "object" && schema.additionalProperties) return `object of ${kind(schema.additionalProperties)}`;
  return schema.format ?? schema.type ?? "anything";
}

function fields(schema, schemas) {
  const found = schema.$ref ? schemas[named(schema.$ref)] : schema;
  const rows = Object.entries(found?.properties ?? {}).map(([name, field]) => el("tr", {},
    el("td", {}, el("code", {}, name)), el("td", {}, kind(field)), el("td", {}, field.description ?? "")));
  const head = el("tr", {}, ...["field", "kind", "what"].map(title => el("th", { scope: "col" }, title)));
  return rows.length ? el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "fields" }, el("table", {}, head, ...rows)) : null;
}

function example(method, path, operation) {
  const place = new URL(path.slice(1), document.baseURI);
  if (method === "get") return `curl ${place}`;
  const body = path.endsWith("batch") ? '{"posts": [{"text": "Kevin Durant enters Oracle Arena"}]}' : '{"text": "Kevin Durant enters Oracle Arena"}';
  const lines = [`curl ${place} --json '${body}'`];
  if (operation.requestBody.content["multipart/form-data"]) lines.push(`curl ${place} -F text='Kevin Durant enters' -F image=@photo.jpg`);
  return lines.join("\n");
}

function endpoint(method, path, operation, schemas) {
  const bodies = Object.entries(operation.requestBody?.content ?? {}).flatMap(([type, content]) =>
    [el("h3", {}, `takes ${type}`), fields(content.schema, schemas)]);
  const good = operation.responses["200"]?.content?.["application/json"]?.schema;
  const refusals = Object.entries(operation.responses).filter(([status]) => status !== "200").map(([status, response]) =>
    el("li", {}, el("b", {}, status), ` ${response.description}`));
  return el("article", {}, el("h2", {}, el("code", {}, `${method.toUpperCase()} ${path}`)), el("p", {}, operation.description ?? ""),
    el("pre", { tabindex: "0" }, example(method, path, operation)), ...bodies,
    good ? el("h3", {}, `gives ${kind(good)}`) : null, good ? fields(good, schemas) : null,
    refusals.length ? el("ul", {}, ...refusals) : null);
}

async function show() {
  const token = byId("token").value;
  const response = await fetch("openapi.json", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  byId("token-field").hidden = response.status !== 401 && !token;
  byId("status").textContent = response.ok ? "" : (await response.json()).error.message;
  if (!response.ok) return;
  const schema = await response.json(), schemas = schema.components.schemas;
  const shown = Object.entries(schema.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => endpoint(method, path, operation, schemas)));
  const parts = ["EntityOut", "StepOut", "StartOut", "GroundingOut", "LimitsOut", "ErrorDetail"].filter(name => schemas[name]).map(name =>
    el("article", {}, el("h2", {}, name), el("p", {}, schemas[name].description ?? ""), fields({ $ref: name }, schemas)));
  byId("endpoints").replaceChildren(...shown, ...parts);
}

byId("token").addEventListener("change", show);
show();
