// The page's state: what was typed, the picture, the answer with and without it, the step, and the link that holds it.
"use strict";
import { byId, el } from "./dom.js";
import { besideText, changes, markedText, pictureView, stepView } from "./drawing.js";

const KEPT = ["text", "caption", "tags"];
let model = null, examples = [], example = null, file = null, fileAddress = null, answers = null, asked = 0;

const headers = () => byId("token").value ? { Authorization: `Bearer ${byId("token").value}` } : {};

function say(message, wrong = false) {
  byId("status").textContent = message;
  byId("status").className = wrong ? "error" : "";
}

async function request(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers() });
  if (response.ok) return response.json();
  if (response.status === 401) byId("token-field").hidden = false;
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `the service answered with status ${response.status}`);
}

function formData(withPicture) {
  const data = new FormData();
  data.set("text", byId("text").value);
  if (model?.explains) data.set("steps", byId("steps").value);
  if (!withPicture) return data;
  if (byId("caption").value.trim()) data.set("caption", byId("caption").value);
  if (byId("tags").value.trim()) data.set("tags", byId("tags").value);
  if (file && model?.reads_pictures) data.set("image", file);
  return data;
}

async function ask() {
  const mine = ++asked;
  const step = Number(byId("step").value) || null;
  say("reading …");
  byId("ask").disabled = true;
  try {
    if (model === null) await describe();
    const found = await Promise.all([true, false].map(picture => request("page/answer", { method: "POST", body: formData(picture) })));
    if (mine !== asked) return;
    answers = { with: found[0], without: found[1] };
    show(step);
    keep();
  } catch (error) {
    if (mine === asked) say(error.message, true);
  } finally {
    if (mine === asked) byId("ask").disabled = false;
  }
}

const shownAnswer = () => byId("without").checked ? answers.without : answers.with;

function show(step = null) {
  if (answers === null) return;
  const answer = shownAnswer(), without = byId("without").checked;
  const address = fileAddress ?? example?.picture ?? null;
  byId("answer").hidden = false;
  byId("read").replaceChildren(...markedText(answer.pieces));
  byId("beside").replaceChildren(...besideText(answer));
  byId("picture").hidden = address === null || without;
  if (!byId("picture").hidden) byId("picture").replaceChildren(...pictureView(address, byId("caption").value, answer.boxes));
  const credit = example?.credit && !fileAddress && !without ? [el("p", { class: "soft" }, `photograph: ${example.credit}`)] : [];
  byId("beside").append(...credit);
  byId("change").replaceChildren(...(without ? changes(answers.with.entities, answers.without.entities) : []));
  byId("reasoning").hidden = answer.steps.length === 0;
  const slider = byId("step");
  slider.max = Math.max(answer.steps.length, 1);
  slider.value = Math.min(step ?? answer.steps.length, answer.steps.length);
  say(`entities found${without ? " without the picture" : ""}: ${answer.entities.length}`);
  showStep();
}

function showStep() {
  const steps = answers === null ? [] : shownAnswer().steps, k = Number(byId("step").value);
  if (!steps.length) return;
  byId("step-name").textContent = `step ${k} of ${steps.length}`;
  byId("step").setAttribute("aria-valuetext", `step ${k} of ${steps.length}: ${steps[k - 1].told || "no candidate yet"}`);
  byId("diagram").replaceChildren(...stepView(steps[k - 1]));
}

// The link holds everything but a picture of one's own, which stays on this machine, and the token.
function keep() {
  const state = new URLSearchParams();
  for (const id of KEPT) if (byId(id).value) state.set(id, byId(id).value);
  if (example) state.set("example", example.id);
  if (byId("without").checked) state.set("without", "1");
  if (answers !== null && shownAnswer().steps.length) {
    state.set("step", byId("step").value);
    state.set("steps", byId("steps").value);
  }
  history.replaceState(null, "", `#${state}`);
}

function restore() {
  const state = new URLSearchParams(location.hash.slice(1));
  if (!state.has("text")) return;
  for (const id of KEPT) byId(id).value = state.get(id) ?? "";
  example = examples.find(each => each.id === state.get("example")) ?? null;
  byId("without").checked = state.get("without") === "1";
  if ([...byId("steps").options].some(option => option.value === state.get("steps"))) byId("steps").value = state.get("steps");
  byId("step").max = byId("steps").value || 1;
  byId("step").value = state.get("step") ?? byId("step").max;
  ask();
}

function take(picture) {
  if (fileAddress) URL.revokeObjectURL(fileAddress);
  file = picture;
  fileAddress = picture ? URL.createObjectURL(picture) : null;
  byId("remove").hidden = !picture;
  if (!picture) byId("image").value = "";
  if (picture && model && !model.reads_pictures) say("This model reads captions and tags, not the picture itself: describe it in both fields.");
}

function takeExample(chosen) {
  take(null);
  example = chosen;
  for (const id of KEPT) byId(id).value = chosen[id];
  byId("without").checked = false;
  byId("step").max = byId("step").value = byId("steps").value || 1;
  ask();
}

async function describe() {
  model = await request("v1/model");
  byId("about").textContent = `${model.name}: ${model.labels.join(", ")}; reads ${model.reads_pictures ? "pictures" : "captions and tags"}.`;
  byId("steps-field").hidden = !model.explains;
  const most = Math.min(model.limits.steps, 8);
  byId("steps").replaceChildren(...Array.from({ length: most }, (_, k) => el("option", { value: k + 1 }, String(k + 1))));
  byId("steps").value = Math.min(Math.max(model.steps, 3), most);
}

byId("form").addEventListener("submit", event => { event.preventDefault(); ask(); });
byId("step").addEventListener("input", () => { showStep(); keep(); });
byId("without").addEventListener("change", () => { show(Number(byId("step").value)); if (answers) keep(); });
byId("image").addEventListener("change", event => take(event.target.files[0] ?? null));
byId("remove").addEventListener("click", () => { take(null); byId("image").focus(); });
byId("text").addEventListener("input", () => { example = null; });
byId("text").addEventListener("keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(); });
byId("link").addEventListener("click", async () => {
  keep();
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied.");
  } catch {
    say("The link is in the address bar.");
  }
});
addEventListener("hashchange", restore);
addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", event => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("over");
  const picture = [...event.dataTransfer.files].find(each => each.type.startsWith("image/"));
  if (picture) take(picture); else say("That is not a picture.", true);
});
addEventListener("paste", event => {
  const picture = [...(event.clipboardData?.files ?? [])].find(each => each.type.startsWith("image/"));
  if (picture) take(picture);
});

async function start() {
  examples = await (await fetch("page/examples.json")).json();
  byId("examples").replaceChildren(...examples.map(each => {
    const button = el("button", { type: "button", title: each.text }, each.text);
    button.addEventListener("click", () => takeExample(each));
    return el("li", {}, button);
  }));
  try {
    await describe();
  } catch (error) {
    say(error.message, true);
  }
  performance.mark("usable");
  restore();
}

start();
