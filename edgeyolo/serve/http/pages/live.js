"use strict";

const element = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const counts = (found) => Object.entries(found).map(([name, number]) => `${number} ${name}`).join(", ");
let number = 0; // of the frame that is shown

function say(text, wrong = false) {
  element("status").textContent = text;
  element("status").classList.toggle("wrong", wrong);
}

function list(facts) {
  const rows = {
    Objects: counts(facts.objects) || "none",
    Frames: `${facts.frames}, ${facts.fps.toFixed(1)} a second`,
    Latency: facts.latency === null ? "" : `${Math.round(facts.latency * 1000)} ms`,
    Dropped: counts(facts.dropped) || "none",
  };
  element("facts").replaceChildren(...Object.entries(rows).filter(([, text]) => text).map(([name, text]) => {
    const row = document.createElement("tr");
    for (const [tag, said] of [["th", name], ["td", text]]) {
      const cell = document.createElement(tag);
      cell.textContent = said;
      row.append(cell);
    }
    return row;
  }));
}

function show(facts, jpeg) {
  const picture = element("picture");
  const before = picture.src;
  picture.src = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
  if (before) URL.revokeObjectURL(before);
  picture.hidden = false;
  number = facts.number;
  list(facts);
  say("");
}

/** Where a part's head ends in the bytes, -1 before that. */
function endOfHead(bytes) {
  for (let at = 0; at + 3 < bytes.length; at++)
    if (bytes[at] === 13 && bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at + 4;
  return -1;
}

/** Show the pictures of a multipart stream as they come, until it ends. */
async function read(stream) {
  const reader = stream.getReader();
  let bytes = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const more = new Uint8Array(bytes.length + value.length);
    more.set(bytes);
    more.set(value, bytes.length);
    bytes = more;
    for (let start; (start = endOfHead(bytes)) >= 0; ) {
      const head = new TextDecoder().decode(bytes.subarray(0, start));
      const end = start + Number(/^Content-Length: (\d+)/im.exec(head)[1]);
      if (bytes.length < end + 2) break;
      show(JSON.parse(/^X-Live: (.*)/im.exec(head)[1]), bytes.slice(start, end));
      bytes = bytes.slice(end + 2);
    }
  }
}

async function watch() {
  const token = element("token").value.trim();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(`/live.mjpeg?after=${number}`, { headers });
  if (response.status === 204) return;
  if (response.ok) return read(response.body);
  element("token-row").hidden = response.status !== 401 && element("token-row").hidden;
  const said = await response.json();
  throw new Error([said.error.message, said.error.hint].filter(Boolean).join(". "));
}

async function begin() {
  for (;;) {
    await watch().catch((error) => say(error.message, true));
    await pause(1000); // the stream has ended, or cannot be had
  }
}

begin();
