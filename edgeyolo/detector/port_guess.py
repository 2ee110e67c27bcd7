"""Guess a foreign file's contracts from its inputs and outputs.

What they cannot tell stays open in a spec to fill in.

Nothing is guessed: what is recognised is said, and used only once the user has confirmed it in a spec.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from edgeyolo.artifact.trained_size import as_size
from edgeyolo.backend.interface import Port

FILL_IN = "FILL IN"
MOST_ROWS = 1000  # detections of a picture; arrays of more rows are boxes that are still to be suppressed

Ports = tuple[Port, ...]


@dataclass(frozen=True)
class Recognised:
    """Sentences about a file, and a spec to fill in.

    `FILL_IN` stands for what the file does not tell.
    """

    sentences: tuple[str, ...]
    template: dict[str, Any]


def recognise(
    inputs: Ports, outputs: Ports, metadata: Mapping[str, str] = MappingProxyType({})
) -> Recognised:
    """Read the ports of a file.

    They tell which image it takes, and whether it gives one of the known layouts; `metadata` the class names and the
    size, where the exporter left them there.
    """
    told, given = _input(inputs)
    known = class_names_of(metadata)
    if FILL_IN in (given["height"], given["width"]) and (
        sides := as_size(_literal(metadata.get("imgsz", "")))
    ):
        given |= {"height": sides[0], "width": sides[1]}
    size = (given["height"], given["width"])
    count = len(known) if known else None
    # The first layout that fits is taken: (rows, 6) may be detections, or boxes of one class with objectness.
    found = (
        _raw_maps(outputs, size)
        or _ranked(outputs, count)
        or _decoded(outputs, count)
        or _end_to_end(outputs)
    )
    if found is None:
        listed = ", ".join(f"{port.name} {_shape(port)} {port.dtype}" for port in outputs)
        sentence = f"its outputs are of no layout that is known here: {listed}"
        output: dict[str, Any] = {"kind": f"{FILL_IN}: raw maps, decoded boxes or detections"}
        output |= {"names": [port.name for port in outputs], "classes": FILL_IN}
    else:
        sentence, output = found
    if known and output["classes"] == FILL_IN:
        output["classes"] = len(known)
    classes = output["classes"]
    names: Any = f"{FILL_IN}: a name for each class"
    if isinstance(classes, int):
        names = [f"{FILL_IN} {index}" for index in range(min(classes, 3))] + (["..."] if classes > 3 else [])
    sentences = [told, sentence]
    if known and classes == len(known):
        names = list(known)
        sentences.append(
            f"its metadata names {len(known)} classes: {', '.join(known[:5])}{' ...' if count and count > 5 else ''}"
        )
    return Recognised(tuple(sentences), {"class_names": names, "input": given, "output": output})


def class_names_of(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Class names in the metadata of a file.

    Either `names` as ultralytics writes it, or our own `class_names`.
    """
    for key in ("class_names", "names"):
        value = _literal(metadata.get(key, ""))
        if isinstance(value, dict) and set(value) == set(range(len(value))):
            value = [value[index] for index in range(len(value))]
        if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
            names = tuple(name.strip() for name in value)
            if all(name and name.isprintable() for name in names):
                return names
    return None


def _literal(text: str) -> Any:
    """A list or dict of numbers and strings as JSON or Python writes it.

    None for anything else. Nothing is run.
    """
    if not 0 < len(text) <= 1 << 20:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _input(inputs: Ports) -> tuple[str, dict[str, Any]]:
    own: dict[str, Any] = {
        "name": FILL_IN, "layout": FILL_IN, "dtype": "float32", "height": FILL_IN, "width": FILL_IN, "batch": 1,
        "color_order": f"{FILL_IN}: RGB or BGR", "scale": f"{FILL_IN}: 1/255 where pixels are 0..1", "pad_value": 114,
    }  # fmt: skip
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return (
            f"it takes {', '.join(_shape(port) for port in inputs) or 'nothing'}, which is no batch of images",
            own,
        )
    port = inputs[0]
    shape = port.shape
    own |= {"name": port.name, "dtype": port.dtype, "batch": shape[0] or 1}
    if shape[0] is None:
        own["dynamic_batch"] = True
    layouts = [name for name, axis in (("NCHW", 1), ("NHWC", 3)) if shape[axis] == 3]
    if len(layouts) != 1:
        return f"it takes {_shape(port)}, in which the colours are not to be found", own
    sides = shape[2:] if layouts[0] == "NCHW" else shape[1:3]
    own |= {"layout": layouts[0], "height": sides[0] or FILL_IN, "width": sides[1] or FILL_IN}
    if port.dtype == "uint8":
        own["scale"] = 1.0
    if port.quantization is not None:
        own["quantization"] = asdict(port.quantization)
    return f"it takes images {port.name!r} as {port.dtype} {_shape(port)} in {layouts[0]}", own


def _raw_maps(outputs: Ports, size: tuple[Any, Any]) -> tuple[str, dict[str, Any]] | None:
    """Three or four raw maps, each half the size of the one before.

    They have 3 * (5 + classes) channels.
    """
    if len(outputs) not in (3, 4) or any(len(port.shape) != 4 for port in outputs) or FILL_IN in size:
        return None
    for layout, axis in (("NCHW", 1), ("NHWC", 3)):
        channels = {port.shape[axis] for port in outputs}
        (count,) = channels if len(channels) == 1 else (None,)
        if count is None or count % 3 or count // 3 < 6:
            continue
        rows = 2 if layout == "NCHW" else 1
        strides = {}
        for port in outputs:
            grid = port.shape[rows : rows + 2]
            if None in grid or any(side % cells for side, cells in zip(size, grid, strict=True)):
                break
            both = {side // cells for side, cells in zip(size, grid, strict=True)}
            if len(both) == 1:
                strides[port.name] = both.pop()
        order = sorted(strides, key=lambda name: strides[name])
        if [strides[name] for name in order] != [8 << level for level in range(len(outputs))]:
            continue
        classes = count // 3 - 5
        sentence = (
            f"it gives {len(order)} raw head maps in {layout} (3 anchors, {classes} classes), strides "
            f"{', '.join(str(strides[name]) for name in order)}; the anchors are not in it"
        )
        return sentence, {
            "kind": "raw maps", "names": order, "strides": [strides[name] for name in order], "classes": classes,
            "layout": layout, "anchors": [[[FILL_IN, FILL_IN]] * 3] * len(order),
        }  # fmt: skip
    return None


def _ranked(outputs: Ports, known: int | None) -> tuple[str, dict[str, Any]] | None:
    """One array (batch, rows, 6), of no more rows than a picture has detections."""
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return None
    _, rows, columns = outputs[0].shape
    if rows is None or columns != 6 or not 6 < rows <= MOST_ROWS:
        return None
    sentence = (
        f"it gives {rows} detections of 6 numbers: corners, score and class, as YOLOv10 does and others that suppress "
        "in the file; how many classes there are is not in it"
    )
    classes: Any = FILL_IN if known is None else known
    return sentence, {"kind": "ranked boxes", "names": [outputs[0].name], "rows": rows, "classes": classes}


def _scored(name: str, columns: int, boxes: int) -> tuple[str, dict[str, Any]]:
    """One array (batch, 4 + classes, boxes)."""
    sentence = (
        f"it gives {boxes} decoded boxes of {columns} numbers, a column each: centre, size and {columns - 4} classes "
        "without objectness, as YOLOv8, v9 and v11 do"
    )
    return sentence, {
        "kind": "decoded boxes", "names": [name], "boxes": boxes, "classes": columns - 4,
        "objectness": False, "transposed": True,
    }  # fmt: skip


def _decoded(outputs: Ports, known: int | None) -> tuple[str, dict[str, Any]] | None:
    """One array (batch, boxes, 5 + classes) or (batch, 4 + classes, boxes).

    `known` is the number of classes that the file's metadata names.
    """
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return None
    _, boxes, columns = outputs[0].shape
    if boxes is None or columns is None:
        return None
    if 5 <= boxes < columns:
        return _scored(outputs[0].name, boxes, columns)
    if not 6 <= columns < boxes:
        return None
    if known is not None and columns == 4 + known:
        name, sentence = (
            outputs[0].name,
            f"it gives {boxes} decoded boxes: centre, size and {known} classes, no objectness",
        )
        return sentence, {
            "kind": "decoded boxes", "names": [name], "boxes": boxes, "classes": known, "objectness": False,
        }  # fmt: skip
    classes = columns - 5
    sentence = (
        f"it gives {boxes} decoded boxes of {columns} numbers: centre, size, objectness and {classes} classes, if they "
        "are those of the published YOLOv7 export; networks without objectness have as many columns with a class more"
    )
    return sentence, {"kind": "decoded boxes", "names": [outputs[0].name], "boxes": boxes, "classes": classes}


def _end_to_end(outputs: Ports) -> tuple[str, dict[str, Any]] | None:
    """Count, boxes, scores and labels, as TensorRT's EfficientNMS gives them."""
    if len(outputs) != 4:
        return None
    boxes = [port for port in outputs if len(port.shape) == 3 and port.shape[2] == 4]
    counts = [port for port in outputs if len(port.shape) == 2 and port.shape[1] == 1]
    if len(boxes) != 1 or len(counts) != 1:
        return None
    rest = [
        port for port in outputs if port not in (*boxes, *counts) and port.shape[1:] == boxes[0].shape[1:2]
    ]
    scores = [port for port in rest if port.dtype.startswith("float")]
    labels = [port for port in rest if port.dtype.startswith("int")]
    if len(scores) != 1 or len(labels) != 1:
        return None
    order = [counts[0], boxes[0], scores[0], labels[0]]
    sentence = "it gives detections: count, boxes, scores and labels; by which thresholds is not in it"
    return sentence, {
        "kind": "detections", "names": [port.name for port in order], "classes": FILL_IN,
        "max_det": boxes[0].shape[1] or FILL_IN, "conf": FILL_IN, "iou": FILL_IN,
    }  # fmt: skip


def _shape(port: Port) -> str:
    return "x".join("?" if side is None else str(side) for side in port.shape) or "a number"
