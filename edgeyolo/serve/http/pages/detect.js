"use strict";

const element = (id) => document.getElementById(id);
let last = null; // the picture that was chosen last, to be sent again with another model or token
let turn = 0; // answers to pictures before the last one are dropped

/** A class's colour: successive hues are as far apart as any number of them can be. */
function color(classId) {
  return `hsl(${Math.round(((0.01 + classId * 0.618033988749895) % 1) * 360)} 80% 65%)`;
}

function say(text, wrong = false) {
  element("status").textContent = text;
  element("status").classList.toggle("wrong", wrong);
}

function headers() {
  const token = element("token").value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** The JSON of an answer; an Error with the server's message where it is one. */
async function read(response) {
  const said = await response.json().catch(() => ({}));
  if (response.ok) return said;
  if (response.status === 401) element("token-row").hidden = false;
  const error = said.error ?? { message: `the server answered ${response.status}`, hint: "" };
  throw new Error([error.message, error.hint].filter(Boolean).join(". "));
}

function draw(image, detections) {
  const canvas = element("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const unit = Math.max((image.width + image.height) / 2, 1);
  pen.lineWidth = Math.max(unit * 0.004, 1);
  pen.font = `${Math.max(unit * 0.025, 10)}px system-ui, sans-serif`;
  pen.textBaseline = "bottom";
  for (const found of [...detections].reverse()) {
    const [x1, y1, x2, y2] = found.box;
    const text = `${found.name} ${found.confidence.toFixed(2)}`;
    const height = Math.max(unit * 0.03, 12);
    const top = Math.max(y1, height);
    pen.strokeStyle = pen.fillStyle = color(found.class_id);
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    pen.fillRect(x1, top - height, pen.measureText(text).width + height / 2, height);
    pen.fillStyle = "#000";
    pen.fillText(text, x1 + height / 4, top);
  }
  element("result").hidden = false;
}

function list(detections) {
  element("rows").replaceChildren(...detections.map((found) => {
    const row = document.createElement("tr");
    const box = found.box.map((value) => value.toFixed(0)).join(", ");
    for (const [text, kind] of [[found.name, ""], [found.confidence.toFixed(3), "number"], [box, "number"]]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      cell.className = kind;
      row.append(cell);
    }
    return row;
  }));
  element("table").hidden = detections.length === 0;
}

async function detect(file) {
  last = file;
  const mine = ++turn;
  say("Detecting ...");
  try {
    const start = performance.now();
    const model = element("model").value;
    const address = model ? `/detect?model=${encodeURIComponent(model)}` : "/detect";
    const response = await fetch(address, { method: "POST", body: file, headers: headers() });
    const { detections } = await read(response);
    const milliseconds = Math.round(performance.now() - start);
    const image = await createImageBitmap(file, { imageOrientation: "from-image" });
    if (mine !== turn) return;
    draw(image, detections);
    list(detections);
    const objects = detections.length === 1 ? "1 object" : `${detections.length} objects`;
    say(`${objects} in ${image.width} × ${image.height} pixels, ${milliseconds} ms`);
  } catch (error) {
    if (mine === turn) say(error.message, true);
  }
}

async function listModels() {
  const described = await read(await fetch("/openapi.json"));
  const names = described.paths["/detect"].post.parameters[0].schema.enum;
  element("model").replaceChildren(...names.map((name) => new Option(name, name)));
  element("model-row").hidden = names.length < 2;
  element("token-row").hidden = !described.security;
}

const again = () => last && detect(last);
element("file").addEventListener("change", (event) => event.target.files[0] && detect(event.target.files[0]));
element("model").addEventListener("change", again);
element("token").addEventListener("change", again);
element("form").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) detect(file);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  element("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) detect(event.dataTransfer.files[0]);
  });
}
listModels().catch((error) => say(error.message, true));
