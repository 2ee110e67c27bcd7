// @ts-check
import { Model, pixels } from "./model.js";

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);
/** @type {Promise<Model>} */
let model;
/** @type {MediaStream | null} */
let camera = null;
let turn = 0; // what was begun before the last turn is dropped

/** A class's colour: successive hues are as far apart as any number of them can be. @param {number} id */
const color = (id) => `hsl(${Math.round(((0.01 + id * 0.618033988749895) % 1) * 360)} 80% 65%)`;

/** @param {string} text @param {boolean} wrong */
function say(text, wrong = false) {
  element("status").textContent = text;
  element("status").classList.toggle("wrong", wrong);
}

/** @param {any} source @param {number} width @param {number} height @param {any[]} detections */
function draw(source, width, height, detections) {
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d"), unit = Math.max((width + height) / 2, 1), line = Math.max(unit * 0.03, 12);
  pen.drawImage(source, 0, 0);
  pen.lineWidth = Math.max(unit * 0.004, 1);
  pen.font = `${line * 0.8}px system-ui, sans-serif`;
  pen.textBaseline = "bottom";
  for (const { box: [x1, y1, x2, y2], confidence, class_id, name } of [...detections].reverse()) {
    const text = `${name} ${confidence.toFixed(2)}`, top = Math.max(y1, line);
    pen.strokeStyle = pen.fillStyle = color(class_id);
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    pen.fillRect(x1, top - line, pen.measureText(text).width + line / 2, line);
    pen.fillStyle = "#000";
    pen.fillText(text, x1 + line / 4, top);
  }
  canvas.hidden = false;
  element("rows").replaceChildren(...detections.map(({ box, confidence, name }) => {
    const row = document.createElement("tr");
    const texts = [name, confidence.toFixed(3), box.map((/** @type {number} */ side) => side.toFixed(0)).join(", ")];
    row.append(...texts.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }));
}

/** Detect in what an image or video shows now, and draw it. @param {any} source @param {number} width @param {number} height */
async function show(source, width, height) {
  const mine = turn, start = performance.now(), ready = await model;
  const still = await createImageBitmap(source);
  const detections = await ready.detect(pixels(still, width, height), Number(element("conf").value));
  if (mine !== turn) return;
  draw(still, width, height, detections);
  still.close();
  const objects = detections.length === 1 ? "1 object" : `${detections.length} objects`;
  say(`${objects} in ${width} × ${height} pixels, ${Math.round(performance.now() - start)} ms (${ready.provider})`);
}

/** @param {() => Promise<void>} work */
async function attempt(work) {
  turn++;
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  element("camera").textContent = "Camera";
  try {
    await work();
  } catch (error) {
    say(/** @type {Error} */ (error).message, true);
  }
}

/** @param {Blob} file */
const open = (file) => attempt(async () => {
  say("Detecting ...");
  const image = await createImageBitmap(file, { imageOrientation: "from-image" });
  await show(image, image.width, image.height);
});

const watch = () => attempt(async () => {
  const mine = turn;
  camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  element("camera").textContent = "Stop";
  const video = element("video");
  video.srcObject = camera;
  await video.play();
  for (let frames = 1; mine === turn; frames++) {
    await show(video, video.videoWidth, video.videoHeight);
    element("canvas").dataset.frames = frames;
    await new Promise(requestAnimationFrame);
  }
});

const check = () => attempt(async () => {
  say("Checking ...");
  const { deviation, tolerance, boxes } = await (await model).check();
  say(`golden picture: deviation ${deviation.toPrecision(3)}, ${tolerance} is allowed; ${boxes} objects`);
});

async function begin() {
  const config = { runtime: "ort/", provider: "auto", ...(await (await fetch("config.json")).json()) };
  for (const [name, value] of new URLSearchParams(location.search)) if (name === "provider") config.provider = value;
  model = Model.load(config);
  const ready = await model;
  element("title").textContent = document.title = ready.manifest.model;
  say(`Ready (${ready.provider})`);
}

element("file").addEventListener("change", (/** @type {any} */ event) => event.target.files[0] && open(event.target.files[0]));
element("camera").addEventListener("click", () => (camera ? attempt(async () => say("Stopped")) : watch()));
element("check").addEventListener("click", check);
begin().catch((error) => say(error.message, true));
