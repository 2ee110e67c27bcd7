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

async function next() {
  const token = element("token").value.trim();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(`/live.jpg?after=${number}`, { headers });
  if (response.status === 204) return;
  if (!response.ok) {
    element("token-row").hidden = response.status !== 401 && element("token-row").hidden;
    const said = await response.json();
    throw new Error([said.error.message, said.error.hint].filter(Boolean).join(". "));
  }
  const facts = JSON.parse(response.headers.get("X-Live"));
  const picture = element("picture");
  const before = picture.src;
  picture.src = URL.createObjectURL(await response.blob());
  if (before) URL.revokeObjectURL(before);
  picture.hidden = false;
  number = facts.number;
  list(facts);
  say("");
}

async function watch() {
  for (;;) {
    try {
      await next();
      await pause(20);
    } catch (error) {
      say(error.message, true);
      await pause(1000);
    }
  }
}

watch();
