"""Golden vectors: what a port to another language needs to test itself against.

`golden.npz` holds, for one generated picture:
    image            (h, w, 3) uint8 BGR, the picture
    input            (height, width, 3) uint8, the letterboxed picture in the input contract's colour order; times
                     `scale` where the contract's type is float, it is the input tensor
    <map>.index      (k,) int64 flat positions in the raw map, in C order
    <map>.value      (k,) float32 values there
    xyxy, confidence, class_id    detections at confidence 0.25 and IoU 0.45 (more than none where there are any)

Of an artifact that suppresses in its graph there are, in place of map values, its outputs for the picture whole, under
their names (count, boxes, scores, labels); the detections are by its own thresholds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import GraphDetections, InputContract, OutputContract
from edgeyolo.backend.interface import Session
from edgeyolo.runtime.postprocess import postprocess
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.preprocess import preprocess

SAMPLES = 4096  # values kept of each map: enough to find any mistake of layout, colour or scale


def write_golden(
    path: Path, session: Session, contract: InputContract, output: OutputContract, image: NDArray[np.uint8]
) -> None:
    """Run the artifact on `image` and save its golden vectors.

    They are the input, sampled outputs and detections; `image` is BGR.
    """
    batch, boxes = preprocess([image] * contract.batch, contract)
    outputs = {name: each[:1] for name, each in session.run(batch).items()}
    found = postprocess(outputs, output, boxes[:1], settle(output))[0]
    arrays: dict[str, NDArray[Any]] = {
        "image": image,
        "input": _pixels(batch[0], contract),
        "xyxy": found.xyxy,
        "confidence": found.confidence,
        "class_id": found.class_id,
    }
    if not isinstance(output, GraphDetections):
        arrays |= _samples({name: outputs[name] for name in output.names})
    else:
        arrays |= {name: outputs[name][0] for name in output.names}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _samples(maps: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    rng = np.random.default_rng(0)
    for name, each in maps.items():
        values = each.ravel()
        index = np.sort(rng.choice(values.size, min(SAMPLES, values.size), replace=False))
        arrays[f"{name}.index"], arrays[f"{name}.value"] = index, values[index].astype(np.float32)
    return arrays


def _pixels(tensor: NDArray[Any], contract: InputContract) -> NDArray[np.uint8]:
    """The input tensor of one image back as (height, width, 3) uint8."""
    rows = tensor.transpose(1, 2, 0) if contract.layout == "NCHW" else tensor
    if rows.dtype == np.uint8:
        return np.ascontiguousarray(rows)
    return np.rint(rows / contract.scale).astype(np.uint8)
