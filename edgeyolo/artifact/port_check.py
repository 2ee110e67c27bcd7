"""Check of a port of edgeyolo to another language.

It compares the port with what the artifact's runtime did. Copy this file; it needs numpy only.

    python port_check.py ARTIFACT             check the files, and this file's own steps against the golden vectors
    python port_check.py ARTIFACT PORT        check what a port made of golden.npz, saved as .npy files in PORT:

    input.npy        the input array, in the shape and type of manifest.json's `input`
    p3.npy ...       each raw head map, by the name in manifest.json's `output`, in the shape of the file's output; of
                     integer maps the integers, or what they stand for by `output.quantization`, in floats
    xyxy.npy         (n, 4) float, corners in pixels of the original image; confidence.npy (n,), class_id.npy (n,)

Files that are not there are passed over. Ends with 0 where everything that was there is right, else with 1, a line on
what is likely wrong, and the first stage that differs. The functions are a reference in plain numpy: letterbox, decode,
suppress.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Json = dict[str, Any]

PIXEL = 2  # steps of 0..255 by which two bilinear resizers may differ
MAPS = 1e-3  # of a map's largest value; integer and float16 targets take the tolerance of their parity
CONF, IOU, MOST = 0.25, 0.45, 300


def letterbox(image: Array, height: int, width: int, pad: int) -> tuple[Array, float, int, int]:
    """(h, w, 3) uint8 -> the (height, width, 3) uint8 picture and its place.

    The place is its scale, and the left and top of the image in it.
    """
    h, w = image.shape[:2]
    ratio = min(height / h, width / w)
    rows, columns = min(max(round(h * ratio), 1), height), min(max(round(w * ratio), 1), width)
    top, left = round((height - rows) / 2 - 0.1), round((width - columns) / 2 - 0.1)
    picture = np.full((height, width, 3), pad, np.uint8)
    picture[top : top + rows, left : left + columns] = bilinear(image, rows, columns)
    return picture, ratio, left, top


def bilinear(image: Array, rows: int, columns: int) -> Array:
    """Resize, centres of pixels at halves, as OpenCV's INTER_LINEAR.

    No smoothing before.
    """

    def weights(size: int, wanted: int) -> tuple[Array, Array, Array]:
        at = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, size - 1), at - low

    y0, y1, dy = weights(image.shape[0], rows)
    x0, x1, dx = weights(image.shape[1], columns)
    values = image.astype(np.float64)
    dy, dx = dy[:, None, None], dx[None, :, None]
    upper = values[y0][:, x0] * (1 - dx) + values[y0][:, x1] * dx
    lower = values[y1][:, x0] * (1 - dx) + values[y1][:, x1] * dx
    resized: Array = np.rint(upper * (1 - dy) + lower * dy).astype(np.uint8)
    return resized


def decode(maps: list[Array], output: Json) -> tuple[Array, Array, Array]:
    """Raw maps of one image -> corners in pixels of the input, confidence, class.

    Best class of each box only.
    """
    found = []
    for raw, stride, anchors in zip(maps, output["strides"], output["anchors"], strict=True):
        planes = raw.transpose(2, 0, 1) if output["layout"] == "NHWC" else raw
        _, rows, columns = planes.shape
        cells = planes.reshape(len(anchors), -1, rows, columns).astype(np.float64)
        cells[:, :4] /= output.get("box_gain", 1)
        values = 1 / (1 + np.exp(-np.clip(cells, -60, 60)))
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)))
        center = (2 * values[:, :2] - 0.5 + grid[None]) * stride
        size = (2 * values[:, 2:4]) ** 2 * np.array(anchors)[:, :, None, None]
        scores = values[:, 4:5] * (values[:, 5:] if output["classes"] > 1 else 1)
        boxes = np.concatenate([center - size / 2, center + size / 2], axis=1)
        flat = [
            each.transpose(0, 2, 3, 1).reshape(rows * columns * len(anchors), -1) for each in (boxes, scores)
        ]
        found.append((flat[0], flat[1].max(axis=1), flat[1].argmax(axis=1)))
    xyxy, confidence, class_id = (np.concatenate(parts) for parts in zip(*found, strict=True))
    keep = confidence > CONF
    return xyxy[keep], confidence[keep], class_id[keep]


def suppress(xyxy: Array, confidence: Array, class_id: Array) -> list[int]:
    """Greedy non-maximum suppression within each class.

    The rows that stay, best first.
    """
    left = list(np.argsort(-confidence, kind="stable"))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(int(best))
        left = [row for row in left if class_id[row] != class_id[best] or iou(xyxy[row], xyxy[best]) <= IOU]
    return kept[:MOST]


def iou(a: Array, b: Array) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    both = sides.prod()
    return float(both / max((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both, 1e-12))


def check_files(folder: Path, manifest: Json) -> list[str]:
    """List the files, and the manifest, that differ from those that were sealed."""
    wrong = []
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    if manifest.get("sha256") not in (None, hashlib.sha256(text.encode()).hexdigest()):
        wrong.append("manifest.json was changed")
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            wrong.append(f"{name} was changed")
    return wrong


def check_input(pixels: Array, golden: Array) -> list[str]:
    """Compare (height, width, 3) pixels 0..255 with the golden ones.

    Where they differ, it says what makes them so.
    """
    if pixels.shape != golden.shape:
        return [f"input: expected {golden.shape} pixels, got {pixels.shape}"]
    apart = np.abs(pixels.astype(np.float64) - golden).max()
    if apart <= PIXEL:
        return []

    def away(other: Array) -> float:
        return float(np.abs(other.astype(np.float64) - golden).mean())

    causes = {
        "the colours are in reverse order (RGB for BGR, or the other way)": pixels[..., ::-1],
        "the pixels were divided by 255 once too often": pixels * 255.0,
        "the pixels were not divided by 255": pixels / 255.0,
    }
    likely = [cause for cause, other in causes.items() if away(other) < 0.2 * away(pixels)]
    why = likely[0] if likely else _geometry(pixels, golden)
    return [f"input: up to {apart:.0f} steps of 255 away from the golden input: {why}"]


def _geometry(pixels: Array, golden: Array) -> str:
    """Likely fault of the letterbox, judged by where the padding is."""

    def padded(picture: Array) -> tuple[int, ...]:
        """Lines of padding above, below, left and right."""
        rows, columns = ((np.abs(picture - golden[0, 0]).max(axis=axis) < 1).all(axis=1) for axis in (1, 0))
        ends = (rows, rows[::-1], columns, columns[::-1])
        return tuple(int(np.argmin(line)) if not line.all() else len(line) for line in ends)

    expected, found = padded(golden), padded(pixels)
    if sum(expected) and expected != found:
        return (
            f"lines of padding above, below, left and right are {found}, expected {expected}: keep the aspect, centre "
            f"the image (an odd line goes below or right), pad with {golden[0, 0].tolist()}"
        )
    return "resize bilinearly without smoothing, centres of pixels at halves"


def as_pixels(array: Array, contract: Json) -> Array:
    """An input array of the contract -> (height, width, 3) pixels 0..255."""
    one = array[0] if array.ndim == 4 else array
    rows = one.transpose(1, 2, 0) if contract["layout"] == "NCHW" else one
    if contract["dtype"] == "uint8":
        return rows
    pixels: Array = real(rows, contract.get("quantization")) / contract["scale"]
    return pixels


def real(values: Array, quantization: Json | None) -> Array:
    """Real values of a file's integers; other values as they are.

    They are (value - zero point) * scale.
    """
    if quantization is None or values.dtype.kind not in "iu":
        return values
    steps: Array = values.astype(np.float64) - quantization["zero_point"]
    return steps * float(quantization["scale"])


def check_maps(port: Path, golden: Arrays, manifest: Json) -> list[str]:
    """The sampled values of every raw map that the port saved."""
    wrong = []
    tolerance = max(MAPS, (manifest["parity"] or {"tolerance": 0})["tolerance"])
    scales = manifest["output"].get("quantization") or []
    for place, name in enumerate(manifest["output"]["names"]):
        if not (port / f"{name}.npy").is_file() or f"{name}.index" not in golden:
            continue
        values = real(np.load(port / f"{name}.npy").ravel(), scales[place] if scales else None)
        index, expected = golden[f"{name}.index"], golden[f"{name}.value"]
        if values.size <= index.max():
            wrong.append(f"{name}: {values.size} values, too few for the map's shape")
            continue
        apart = np.abs(values[index] - expected).max() / max(np.abs(expected).max(), 1e-12)
        if not apart <= tolerance:
            wrong.append(f"{name}: {apart:.2g} of its largest value away, {tolerance:g} allowed: values before the "
                         f"sigmoid, in {manifest['output']['layout']}?")  # fmt: skip
    return wrong


def check_detections(xyxy: Array, confidence: Array, class_id: Array, golden: Arrays) -> list[str]:
    """Pair each golden detection with its counterpart, and the other way.

    Those at the threshold's edge need none.
    """
    found, expected = (xyxy, confidence, class_id), (golden["xyxy"], golden["confidence"], golden["class_id"])
    wrong = []
    for one, other, what in ((expected, found, "is not found"), (found, expected, "should not be there")):
        for box, score, label in zip(*one, strict=True):
            meets = [
                iou(box, each) >= 0.9 and label == its for each, its in zip(other[0], other[2], strict=True)
            ]
            if score > CONF + 0.02 and not any(meets):
                wrong.append(
                    f"detections: class {label} at {np.round(box, 1).tolist()}, confidence {score:.2f}, {what}"
                )
    return wrong


def check_itself(golden: Arrays, manifest: Json) -> list[str]:
    """This file's own letterbox against the golden input."""
    contract = manifest["input"]
    picture = letterbox(golden["image"], contract["height"], contract["width"], contract["pad_value"])[0]
    return check_input(picture[..., ::-1] if contract["color_order"] == "RGB" else picture, golden["input"])


def check_port(port: Path, golden: Arrays, manifest: Json) -> tuple[list[str], list[str]]:
    """Check the files that a port saved.

    Gives the names of what was there, and what is wrong with it.
    """
    names = ["input", *manifest["output"]["names"], "xyxy"]
    there = [name for name in names if (port / f"{name}.npy").is_file()]
    wrong = []
    if "input" in there:
        wrong += check_input(as_pixels(np.load(port / "input.npy"), manifest["input"]), golden["input"])
    wrong += check_maps(port, golden, manifest)
    if "xyxy" in there:
        xyxy, confidence, class_id = (
            np.load(port / f"{name}.npy") for name in ("xyxy", "confidence", "class_id")
        )
        wrong += check_detections(xyxy, confidence, class_id, golden)
    return there, wrong


def first_stage(sentence: str, manifest: Json) -> str:
    """The stage of a port that the first sentence blames.

    What comes after it differs because of it.
    """
    name = sentence.partition(":")[0]
    if name in manifest["output"]["names"]:
        return f"running the file, or reading its map {name}"
    stages = {
        "input": "preparing the input",
        "detections": "decoding, suppression, or the way back to the image",
    }
    return stages.get(name, "the files")


def main(arguments: list[str]) -> int:
    """Check and print."""
    if len(arguments) not in (1, 2):
        print(__doc__)
        return 2
    folder = Path(arguments[0])
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    wrong = check_files(folder, manifest)
    there = ["files"]
    if not wrong:
        with np.load(folder / "golden.npz") as archive:
            golden = dict(archive)
        wrong += check_itself(golden, manifest)
        if len(arguments) == 2:
            there, told = check_port(Path(arguments[1]), golden, manifest)
            wrong += told
    for line in wrong:
        print(line)
    if wrong:
        print(f"the first stage that differs: {first_stage(wrong[0], manifest)}")
    print(f"{'wrong' if wrong else 'right'}: {', '.join(there) or 'nothing was there to check'}")
    return 1 if wrong or not there else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
