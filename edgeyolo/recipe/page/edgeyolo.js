// @ts-check
// Pictures to an artifact's input, and its outputs to boxes: edgeyolo's steps in JavaScript, without a dependency.
// Contracts are those of manifest.json; docs/artifact-format.md has the formulas.

/**
 * @typedef {{height: number, width: number, layout: string, dtype: string, color_order: string, scale: number,
 *   pad_value: number, name: string}} Input
 * @typedef {{kind?: string, names: string[], layout: string, strides: number[], anchors: number[][][],
 *   classes: number, conf?: number}} Output
 * @typedef {{input: Input, output: Output, class_names: string[]}} Manifest
 * @typedef {{height: number, width: number, data: Uint8Array | Uint8ClampedArray}} Picture  RGBA, as a canvas gives it
 * @typedef {{box: number[], confidence: number, class_id: number}} Detection  box: x1, y1, x2, y2 in pixels
 * @typedef {{conf: number, iou: number, most: number, candidates: number}} Thresholds
 * @typedef {{image: number[], ratio: number, rows: number, columns: number, top: number, left: number}} Letterbox
 */

/** @type {Thresholds} */
export const DISPLAY = { conf: 0.25, iou: 0.45, most: 300, candidates: 30000 };

/** To the nearest whole number, halves to even. @param {number} value */
function rint(value) {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** @param {number} value @param {number} least @param {number} most */
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

/**
 * Where an image lies in the network's input; sizes are [height, width].
 * @param {number[]} image @param {number[]} size @returns {Letterbox}
 */
export function fit(image, size) {
  const ratio = Math.min(size[0] / image[0], size[1] / image[1]);
  const rows = clamp(rint(image[0] * ratio), 1, size[0]), columns = clamp(rint(image[1] * ratio), 1, size[1]);
  const top = rint((size[0] - rows) / 2 - 0.1), left = rint((size[1] - columns) / 2 - 0.1);
  return { image, ratio, rows, columns, top, left };
}

/** Two neighbours of each place and their weights of 11 bits. @param {number} size @param {number} wanted @param {boolean} across */
function taps(size, wanted, across) {
  const made = new Int32Array(wanted * 4), scale = 1 / (wanted / size);
  for (let i = 0; i < wanted; i++) {
    let at = Math.fround((i + 0.5) * scale - 0.5);
    const low = Math.floor(at);
    at = across && (low < 0 || low >= size - 1) ? 0 : Math.fround(at - low);
    made.set([clamp(low, 0, size - 1), clamp(low + 1, 0, size - 1), rint(Math.fround(1 - at) * 2048), rint(at * 2048)], i * 4);
  }
  return made;
}

/**
 * Scale a picture, to the bit as OpenCV's INTER_LINEAR of bytes; RGB (rows, columns, 3).
 * @param {Picture} from @param {number} rows @param {number} columns
 */
export function resize(from, rows, columns) {
  const { height, width, data } = from, to = new Uint8Array(rows * columns * 3);
  if (height === 2 * rows && width === 2 * columns) {
    for (let y = 0, out = 0; y < rows; y++)
      for (let x = 0; x < columns; x++)
        for (let c = 0; c < 3; c++) {
          const at = (2 * y * width + 2 * x) * 4 + c, below = at + width * 4;
          to[out++] = (data[at] + data[at + 4] + data[below] + data[below + 4] + 2) >> 2;
        }
    return to;
  }
  const across = taps(width, columns, true), down = taps(height, rows, false);
  const lines = [new Int32Array(columns * 3), new Int32Array(columns * 3)];
  for (let y = 0, out = 0; y < rows; y++) {
    for (let line = 0; line < 2; line++)
      for (let x = 0; x < columns; x++) {
        const row = down[y * 4 + line] * width;
        const first = (row + across[x * 4]) * 4, second = (row + across[x * 4 + 1]) * 4;
        for (let c = 0; c < 3; c++)
          lines[line][x * 3 + c] = data[first + c] * across[x * 4 + 2] + data[second + c] * across[x * 4 + 3];
      }
    const upper = down[y * 4 + 2], lower = down[y * 4 + 3];
    for (let i = 0; i < columns * 3; i++)
      to[out++] = (((upper * (lines[0][i] >> 4)) >> 16) + ((lower * (lines[1][i] >> 4)) >> 16) + 2) >> 2;
  }
  return to;
}

/**
 * The input tensor of one picture, and where the picture lies in it.
 * @param {Picture} picture @param {Input} input
 * @returns {{box: Letterbox, tensor: Float32Array | Uint8Array, shape: number[]}}
 */
export function prepare(picture, input) {
  const { height, width } = input, box = fit([picture.height, picture.width], [height, width]);
  const scaled = resize(picture, box.rows, box.columns);
  const float = input.dtype === "float32", planes = input.layout === "NCHW", swap = input.color_order === "BGR";
  if (!float && input.dtype !== "uint8") throw new Error(`input: ${input.dtype} is not known here`);
  const scale = float ? Math.fround(input.scale) : 1;
  const tensor = new (float ? Float32Array : Uint8Array)(height * width * 3).fill(Math.fround(input.pad_value * scale));
  for (let y = 0; y < box.rows; y++)
    for (let x = 0; x < box.columns; x++) {
      const cell = (y + box.top) * width + x + box.left, at = (y * box.columns + x) * 3;
      for (let c = 0; c < 3; c++)
        tensor[planes ? c * height * width + cell : cell * 3 + c] = scaled[at + (swap ? 2 - c : c)] * scale;
    }
  return { box, tensor, shape: planes ? [1, 3, height, width] : [1, height, width, 3] };
}

/** @param {number} x */
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** Intersection over union. @param {{box: number[]}} a @param {{box: number[]}} b */
export function iou({ box: a }, { box: b }) {
  const width = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const both = width * Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  return both > 0 ? both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both) : 0;
}

/**
 * Candidates of raw maps (logits of one picture, by name) in pixels of the input.
 * @param {Record<string, ArrayLike<number>>} maps @param {Manifest} manifest @param {Thresholds} limits
 */
export function decode(maps, { input, output }, limits) {
  /** @type {Detection[]} */
  const found = [], each = 5 + output.classes, last = output.layout === "NHWC";
  const p = Math.min(limits.conf, 1 - 1e-6), floor = Math.log(p) - Math.log1p(-p) - (1e-3 + 2e-7 / (1 - p));
  output.names.forEach((name, level) => {
    const map = maps[name], stride = output.strides[level], anchors = output.anchors[level];
    const columns = Math.floor(input.width / stride), cells = Math.floor(input.height / stride) * columns;
    const step = last ? 1 : cells, all = each * anchors.length;
    if (map.length !== cells * all) throw new Error(`${name}: expected ${cells * all} values, got ${map.length}`);
    anchors.forEach(([across, down], a) => {
      for (let cell = 0; cell < cells; cell++) {
        const first = last ? cell * all + a * each : a * each * cells + cell;
        /** @param {number} channel */
        const at = (channel) => map[first + channel * step];
        if (!(at(4) > floor)) continue; // compare logits first: most cells are background
        let best = 0;
        for (let k = 1; k < output.classes; k++) if (at(5 + k) > at(5 + best)) best = k;
        const confidence = sigmoid(at(4)) * (output.classes > 1 ? sigmoid(at(5 + best)) : 1);
        if (confidence <= limits.conf) continue;
        const x = (2 * sigmoid(at(0)) - 0.5 + (cell % columns)) * stride;
        const y = (2 * sigmoid(at(1)) - 0.5 + Math.floor(cell / columns)) * stride;
        const w = (2 * sigmoid(at(2))) ** 2 * across, h = (2 * sigmoid(at(3))) ** 2 * down;
        found.push({ box: [x - w / 2, y - h / 2, x + w / 2, y + h / 2], confidence, class_id: best });
      }
    });
  });
  return found;
}

/** Greedy suppression within each class, best first. @param {Detection[]} found @param {Thresholds} limits */
export function suppress(found, { iou: threshold, most, candidates }) {
  /** @type {Detection[]} */
  const kept = [];
  const ranked = [...found].sort((a, b) => b.confidence - a.confidence).slice(0, candidates);
  for (const each of ranked) {
    if (kept.length === most) break;
    if (!kept.some((k) => k.class_id === each.class_id && iou(k, each) > threshold)) kept.push(each);
  }
  return kept;
}

/** Pixels of the input -> pixels of the image; boxes in the padding go. @param {Detection[]} found @param {Letterbox} box */
export function toImage(found, { image: [height, width], ratio, top, left }) {
  /** @type {Detection[]} */
  const inside = found.map((each) => {
    const [x1, y1, x2, y2] = each.box;
    const across = [x1, x2].map((x) => clamp((x - left) / ratio, 0, width));
    const down = [y1, y2].map((y) => clamp((y - top) / ratio, 0, height));
    return { ...each, box: [across[0], down[0], across[1], down[1]] };
  });
  return inside.filter(({ box: [x1, y1, x2, y2] }) => x1 < x2 && y1 < y2);
}

/**
 * Detections of one picture, best first, of the artifact's outputs by name.
 * @param {Record<string, ArrayLike<number | bigint>>} outputs @param {Manifest} manifest @param {Letterbox} box
 * @param {Thresholds} limits
 */
export function detect(outputs, manifest, box, limits = DISPLAY) {
  if (manifest.output.kind !== "detections") {
    const maps = /** @type {Record<string, ArrayLike<number>>} */ (outputs);
    return toImage(suppress(decode(maps, manifest, limits), limits), box);
  }
  const [count, boxes, scores, labels] = manifest.output.names.map((name) => outputs[name]);
  /** @type {Detection[]} */
  const found = [];
  for (let i = 0; i < Number(count[0]) && found.length < limits.most; i++)
    if (Number(scores[i]) > limits.conf) {
      const corners = [0, 1, 2, 3].map((side) => Number(boxes[4 * i + side]));
      found.push({ box: corners, confidence: Number(scores[i]), class_id: Number(labels[i]) });
    }
  return toImage(found, box);
}
