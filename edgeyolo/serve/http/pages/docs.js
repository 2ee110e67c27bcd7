"use strict";

function add(parent, tag, text, kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = kind;
  parent.append(made);
  return made;
}

/** One address and method: what it does, takes and answers. */
function section(path, method, operation) {
  const part = document.createElement("section");
  add(part, "h2", `${method.toUpperCase()} ${path}`);
  add(part, "div", operation.summary);
  for (const parameter of operation.parameters ?? []) {
    const values = parameter.schema.enum ? ` (${parameter.schema.enum.join(", ")})` : "";
    add(part, "div", `${parameter.in} ${parameter.name}${values} ${parameter.description ?? ""}`, "soft");
  }
  if (operation.requestBody) {
    add(part, "div", `body: ${Object.keys(operation.requestBody.content).join(", ")}`, "soft");
  }
  const table = add(part, "table", "");
  for (const [status, answer] of Object.entries(operation.responses)) {
    const row = add(table, "tr", "");
    add(row, "td", status, "status");
    add(row, "td", answer.description);
    add(row, "td", Object.keys(answer.content ?? {}).join(", "), "soft");
  }
  return part;
}

fetch("/openapi.json").then((response) => response.json()).then((described) => {
  const parts = Object.entries(described.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(path, method, operation)));
  document.getElementById("paths").replaceChildren(...parts);
});
