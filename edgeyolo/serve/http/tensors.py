"""Tensors of the KServe v2 protocol, as JSON and in its binary extension.

A request's binary tensors stand behind its JSON, in the order of its inputs. The header
`Inference-Header-Content-Length` says where the JSON ends; the parameter `binary_data_size` of each is its length.
Answers are built the same way.
Source: the Open Inference Protocol (KServe v2) and the binary tensor data extension.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo.runtime.detections import Detections
from edgeyolo.serve.http.exchange import json_object

INPUT = "images"
VERSION = "1"
"""The one version of a model; a reload replaces it."""
OUTPUTS = {
    "count": ("INT64", [-1]),
    "boxes": ("FP32", [-1, 4]),
    "confidence": ("FP32", [-1]),
    "class_id": ("INT64", [-1]),
    "name": ("BYTES", [-1]),
}
"""Outputs: `count` says how many rows of the others belong to each image, in order."""

JSON_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Inference:
    """A request for an inference.

    Attributes:
        id: the client's own name for it, given back; "" without.
        images: (n, height, width, 3) uint8 BGR.
        outputs: wanted outputs, name -> True where as binary data.
    """

    id: str
    images: NDArray[np.uint8]
    outputs: Mapping[str, bool]


def read_inference(body: bytes, json_length: str | None) -> Inference:
    """Read a request; UsageError where it does not follow the protocol."""
    end = len(body)
    if json_length is not None:
        if not json_length.isdecimal() or int(json_length) > len(body):
            raise UsageError(f"{JSON_LENGTH}: expected 0 to {len(body)}, got {json_length[:20]!r}")
        end = int(json_length)
    try:
        said = json_object(json.loads(body[:end]), "request")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected JSON, got what cannot be read ({error})") from error
    inputs = said.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise UsageError(f"inputs: expected one, {INPUT!r}", hint="GET /v2/models/NAME describes it.")
    images = _images(json_object(inputs[0], "inputs[0]"), body[end:])
    return Inference(str(said.get("id", "")), images, _wanted(said))


def _images(tensor: dict[str, Any], binary: bytes) -> NDArray[np.uint8]:
    name, kind, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if name != INPUT or kind != "UINT8":
        raise UsageError(f"inputs[0]: expected {INPUT!r} of UINT8, got {name!r} of {kind!r}")
    sizes = shape if isinstance(shape, list) else []
    if (
        not all(type(each) is int and each > 0 for each in sizes)
        or len(sizes) not in (3, 4)
        or sizes[-1] != 3
    ):
        raise UsageError(
            f"shape: expected [images, height, width, 3] or [height, width, 3], got {str(shape)[:100]}"
        )
    parameters = json_object(tensor.get("parameters", {}), "parameters")
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        if size != len(binary) or size != math.prod(sizes):
            raise UsageError(
                f"binary_data_size: expected {math.prod(sizes)} for this shape, got {size} and {len(binary)} bytes"
            )
        pixels = np.frombuffer(binary, np.uint8)
    else:
        pixels = _numbers(tensor.get("data"), math.prod(sizes))
    images = pixels.reshape(-1, *sizes[-3:])
    order = parameters.get("color_order", "BGR")
    if order not in ("BGR", "RGB"):
        raise UsageError(f"color_order: expected BGR or RGB, got {order!r}")
    return np.ascontiguousarray(images[..., ::-1]) if order == "RGB" else images


def _numbers(data: Any, count: int) -> NDArray[np.uint8]:
    """Flat or nested numbers 0..255 of JSON as an array."""
    try:
        values = np.asarray(data).reshape(-1)
    except ValueError as error:
        raise UsageError(f"data: expected numbers in rows of equal length ({error})") from error
    if values.dtype.kind not in "iu" or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise UsageError("data: expected whole numbers from 0 to 255")
    if values.size != count:
        raise UsageError(f"data: expected {count} numbers for this shape, got {values.size}")
    return values.astype(np.uint8)


def _wanted(said: dict[str, Any]) -> dict[str, bool]:
    """Outputs that a request asks for; True where as binary data.

    All of them by default.
    """
    binary = json_object(said.get("parameters", {}), "parameters").get("binary_data_output", False) is True
    outputs = said.get("outputs")
    if not outputs:
        return dict.fromkeys(OUTPUTS, binary)
    if not isinstance(outputs, list):
        raise UsageError("outputs: expected a list")
    wanted = {}
    for item in outputs:
        output = json_object(item, "outputs")
        name = output.get("name")
        if name not in OUTPUTS:
            raise UsageError(f"outputs: expected some of {', '.join(OUTPUTS)}, got {name!r}")
        parameters = json_object(output.get("parameters", {}), "parameters")
        wanted[name] = parameters.get("binary_data", binary) is True
    return wanted


def write_answer(
    model: str, inference: Inference, detections: Sequence[Detections]
) -> tuple[bytes, dict[str, str]]:
    """Body of an answer and its headers."""
    arrays = _arrays(detections)
    outputs, behind = [], b""
    for name, binary in inference.outputs.items():
        values = arrays[name]
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name][0], "shape": list(values.shape)}
        if binary:
            data = _bytes(values)
            output["parameters"] = {"binary_data_size": len(data)}
            behind += data
        else:
            output["data"] = values.reshape(-1).tolist()
        outputs.append(output)
    said: dict[str, Any] = {"model_name": model, "model_version": VERSION, "outputs": outputs}
    if inference.id:
        said["id"] = inference.id
    head = json.dumps(said).encode()
    if not any(inference.outputs.values()):
        return head, {"Content-Type": "application/json"}
    return head + behind, {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}


def _arrays(detections: Sequence[Detections]) -> dict[str, NDArray[Any]]:
    return {
        "count": np.array([len(each) for each in detections], np.int64),
        "boxes": np.concatenate([each.xyxy for each in detections]),
        "confidence": np.concatenate([each.confidence for each in detections]),
        "class_id": np.concatenate([each.class_id for each in detections]),
        "name": np.array([name for each in detections for name in each.names], object),
    }


def _bytes(values: NDArray[Any]) -> bytes:
    """Little-endian values; of texts each with its length, four bytes, before it."""
    if values.dtype != object:
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [str(text).encode() for text in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
