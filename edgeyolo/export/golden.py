"""Golden vectors: what a port to another language needs to test itself against.

`golden.npz` holds, for one generated picture:
    image            (h, w, 3) uint8 BGR, the picture
    input            (height, width, 3) uint8 RGB, the letterboxed picture; times `scale`, it is the input tensor
    <map>.index      (k,) int64 flat positions in the raw map, in C order
    <map>.value      (k,) float32 values there
    xyxy, confidence, class_id    detections at confidence 0.25 and IoU 0.45 (more than none where there are any)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.contracts import InputContract, OutputContract
from edgeyolo.preprocess import preprocess
from edgeyolo.protocols import Session

SAMPLES = 4096  # values kept of each map: enough to find any mistake of layout, colour or scale


def write_golden(
    path: Path, session: Session, contract: InputContract, output: OutputContract, image: NDArray[np.uint8]
) -> None:
    """Run the artifact on `image` (BGR) and save input, sampled maps and detections."""
    from edgeyolo.postprocess import postprocess

    batch, boxes = preprocess([image] * contract.batch, contract)
    maps = {name: each[:1] for name, each in session.run(batch).items()}
    found = postprocess(maps, output, boxes[:1])[0]
    arrays: dict[str, NDArray[Any]] = {
        "image": image,
        "input": _pixels(batch[0], contract),
        "xyxy": found.xyxy,
        "confidence": found.confidence,
        "class_id": found.class_id,
    }
    rng = np.random.default_rng(0)
    for name in output.names:
        values = maps[name].ravel()
        index = np.sort(rng.choice(values.size, min(SAMPLES, values.size), replace=False))
        arrays[f"{name}.index"], arrays[f"{name}.value"] = index, values[index].astype(np.float32)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _pixels(tensor: NDArray[Any], contract: InputContract) -> NDArray[np.uint8]:
    """The input tensor of one image back as (height, width, 3) uint8."""
    rows = tensor.transpose(1, 2, 0) if contract.layout == "NCHW" else tensor
    if rows.dtype == np.uint8:
        return np.ascontiguousarray(rows)
    return np.rint(rows / contract.scale).astype(np.uint8)
