// @ts-check
// An artifact in the browser: ONNX Runtime Web runs its file, edgeyolo.js does the rest.
import { DISPLAY, detect, iou, prepare } from "./edgeyolo.js";

/** Pixels of an image, a canvas or a video, upright. @param {any} source @param {number} width @param {number} height */
export function pixels(source, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const pen = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  pen.drawImage(source, 0, 0);
  return pen.getImageData(0, 0, width, height);
}

/** @param {string} address */
async function need(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: the server answered ${response.status}`);
  return response;
}

/** Files of ONNX Runtime Web at an address that ends in "/". @param {string} base @param {boolean} gpu @returns {Promise<any>} */
async function loadRuntime(base, gpu) {
  const address = new URL(base, location.href).href;
  try {
    const runtime = await import(address + (gpu ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs"));
    runtime.env.wasm.wasmPaths = address;
    return runtime;
  } catch (error) {
    throw new Error(`ONNX Runtime Web is not at ${address}: put the files of the npm package's folder dist there, or name another address in config.json`);
  }
}

export class Model {
  /** @param {any} manifest @param {any} runtime @param {any} session @param {string} provider */
  constructor(manifest, runtime, session, provider) {
    this.manifest = manifest;
    this.runtime = runtime;
    this.session = session;
    this.provider = provider;
  }

  /**
   * Load the artifact that lies beside the page. `provider` is "wasm", "webgpu" or "auto".
   * @param {{runtime: string, provider: string}} config
   */
  static async load({ runtime: base, provider }) {
    const gpu = /** @type {any} */ (navigator).gpu;
    const adapter = provider === "wasm" ? null : await gpu?.requestAdapter().catch(() => null);
    const chosen = provider === "auto" ? (adapter ? "webgpu" : "wasm") : provider;
    const runtime = await loadRuntime(base, chosen === "webgpu");
    const manifest = await (await need("manifest.json")).json();
    const file = new Uint8Array(await (await need("model.onnx")).arrayBuffer());
    const session = await runtime.InferenceSession.create(file, { executionProviders: [chosen] });
    return new Model(manifest, runtime, session, chosen);
  }

  /** Outputs for a picture, and where it lies in the input. @param {import("./edgeyolo.js").Picture} picture */
  async run(picture) {
    const { input, output } = this.manifest;
    const { box, tensor, shape } = prepare(picture, input);
    const given = await this.session.run({ [input.name]: new this.runtime.Tensor(input.dtype, tensor, shape) });
    return { box, outputs: Object.fromEntries(output.names.map((/** @type {string} */ name) => [name, given[name].data])) };
  }

  /** Detections of a picture. @param {import("./edgeyolo.js").Picture} picture @param {number} conf */
  async detect(picture, conf = DISPLAY.conf) {
    const { box, outputs } = await this.run(picture);
    return detect(outputs, this.manifest, box, { ...DISPLAY, conf }).map((found) => ({
      ...found, name: this.manifest.class_names[found.class_id],
    }));
  }

  /**
   * Compare what the golden picture gives with what the export recorded: values of raw maps, and the boxes.
   * @returns {Promise<{deviation: number, tolerance: number, boxes: number}>}
   *   `deviation` is the largest of any map, of its largest value. An Error where something is another.
   */
  async check() {
    const golden = await (await need("golden.json")).json();
    const image = await createImageBitmap(await (await need("golden.png")).blob(), { colorSpaceConversion: "none" });
    const { box, outputs } = await this.run(pixels(image, image.width, image.height));
    let deviation = 0;
    for (const [name, { index, value }] of Object.entries(golden.samples)) {
      const largest = Math.max(...value.map(Math.abs), 1e-12);
      index.forEach((/** @type {number} */ at, /** @type {number} */ i) => {
        const apart = Math.abs(Number(outputs[name][at]) - value[i]) / largest;
        deviation = apart <= deviation ? deviation : Number.isNaN(apart) ? Infinity : apart;
      });
    }
    if (!(deviation <= golden.tolerance))
      throw new Error(`golden picture: deviation ${deviation.toPrecision(3)}, ${golden.tolerance} is allowed`);
    const found = detect(outputs, this.manifest, box, { ...DISPLAY, conf: golden.conf });
    let matched = 0, certain = 0; // as `edgeyolo verify` counts them: what no rounding can cost
    for (const [ours, theirs] of [[golden.detections, found], [found, golden.detections]])
      for (const each of ours.filter((/** @type {any} */ one) => one.confidence >= golden.certain)) {
        certain++;
        matched += Number(theirs.some((/** @type {any} */ other) => other.class_id === each.class_id && iou(other, each) >= 0.5));
      }
    if (matched < golden.agreement * certain)
      throw new Error(`golden picture: ${matched} of ${certain} detections agree, ${golden.agreement * 100} % are demanded`);
    return { deviation, tolerance: golden.tolerance, boxes: found.length };
  }
}
