"""Golden vectors: what a port tests itself against, and `verify` a machine.

`golden.npz` holds, for one generated picture:
    image            (h, w, 3) uint8 BGR, the picture
    input            (height, width, 3) uint8, the letterboxed picture in the input contract's colour order; what the
                     contract makes of these pixels is the input tensor
    <map>.index      (k,) int64 flat positions in the raw map, in C order
    <map>.value      (k,) float32 values there; of integer maps what they stand for, by the contract's quantization
    xyxy, confidence, class_id    detections at confidence 0.25 and IoU 0.45 (more than none where there are any)
    weak.conf        () float32, a confidence that more boxes exceed
    weak.xyxy, weak.confidence, weak.class_id    detections at `weak.conf` and IoU 0.45

Of an artifact that suppresses in its graph there are, in place of map values and weak detections, its outputs for the
picture whole, under their names (count, boxes, scores, labels); the detections are by its own thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import GraphDetections, InputContract, OutputContract
from edgeyolo.backend.interface import Session
from edgeyolo.errors import DamagedFileError
from edgeyolo.runtime.golden_file import read_arrays
from edgeyolo.runtime.postprocess import Boxes, postprocess
from edgeyolo.runtime.postprocess_config import PostprocessConfig, settle
from edgeyolo.runtime.preprocess import preprocess

GOLDEN = "golden.npz"
SAMPLES = 4096  # values kept of each map: enough to find any mistake of layout, colour or scale
WEAK = (0.25, 0.05, 0.01, 1e-3, 1e-4)  # confidences, of which the first that ENOUGH boxes exceed is taken
ENOUGH = 10

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Golden:
    """Contents of `golden.npz`, checked against the contracts.

    `samples` maps each raw map to positions and values; `outputs` are the arrays of a graph that suppresses. `found`
    are the detections at `conf`, the weak ones where the file has them.
    """

    image: NDArray[np.uint8]
    input: NDArray[np.uint8]
    samples: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]
    outputs: Arrays
    found: Boxes
    conf: float


def write_golden(
    path: Path, session: Session, contract: InputContract, output: OutputContract, image: NDArray[np.uint8]
) -> None:
    """Run the artifact on `image` and save its golden vectors.

    They are the input, sampled outputs and detections; `image` is BGR.
    """
    batch, letterboxes = preprocess([image] * contract.batch, contract)
    outputs = {name: each[:1] for name, each in session.run(batch).items()}
    arrays: Arrays = {"image": image, "input": pixels_of(batch[0], contract)}
    arrays |= _named(postprocess(outputs, output, letterboxes[:1], settle(output))[0])
    if isinstance(output, GraphDetections):
        arrays |= {name: outputs[name][0] for name in output.names}
    else:
        arrays |= _samples({name: outputs[name] for name in output.names})
        for conf in WEAK:
            found = postprocess(outputs, output, letterboxes[:1], weak_config(output, conf))[0]
            if len(found) >= ENOUGH or conf == WEAK[-1]:
                arrays |= {"weak.conf": np.array(conf, np.float32)} | _named(found, "weak.")
                break
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def read_golden(path: Path, contract: InputContract, output: OutputContract) -> Golden:
    """Read and check golden vectors.

    Whatever does not fit the contracts raises DamagedFileError; nothing larger than they allow is allocated.
    """
    arrays = read_arrays(path)

    def take(name: str, kinds: str, *shape: int | None) -> NDArray[Any]:
        found = arrays.get(name)
        if found is None:
            raise DamagedFileError(f"{path}: {name} is missing")
        fits = found.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, found.shape, strict=True)
        )
        if not fits or found.dtype.kind not in kinds:
            raise DamagedFileError(f"{path}: {name} is {found.dtype} {found.shape}, expected {kinds} {shape}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise DamagedFileError(f"{path}: {name} holds values that are no numbers")
        return found

    image = take("image", "u", None, None, 3)
    if image.dtype != np.uint8 or not image.size:
        raise DamagedFileError(f"{path}: image is {image.dtype} {image.shape}, expected a picture of uint8")
    prefix = "weak." if "weak.conf" in arrays else ""
    conf = float(take("weak.conf", "f")) if prefix else settle(output).conf
    count = len(take(f"{prefix}confidence", "f", None))
    found = Boxes(
        take(f"{prefix}xyxy", "f", count, 4).astype(np.float32),
        take(f"{prefix}confidence", "f", count).astype(np.float32),
        take(f"{prefix}class_id", "i", count).astype(np.int64),
    )
    if not 0 <= conf <= 1 or (
        count and not 0 <= found.class_id.min() <= found.class_id.max() < output.classes
    ):
        raise DamagedFileError(f"{path}: detections of classes or of a confidence that there are not")
    samples, outputs = {}, {}
    for name, shape in zip(output.names, output.shapes(1, contract.size), strict=True):
        if isinstance(output, GraphDetections):
            outputs[name] = take(name, "fi", *shape[1:])
            continue
        index = take(f"{name}.index", "i", None)
        if not len(index) or not 0 <= index.min() <= index.max() < np.prod(shape):
            raise DamagedFileError(f"{path}: {name}.index points outside the map")
        samples[name] = index.astype(np.int64), take(f"{name}.value", "f", len(index)).astype(np.float32)
    return Golden(
        image, take("input", "u", *contract.size, 3).astype(np.uint8), samples, outputs, found, conf
    )


def weak_config(output: OutputContract, conf: float) -> PostprocessConfig:
    """The thresholds of golden detections at `conf`."""
    base = settle(output)
    return base if isinstance(output, GraphDetections) else replace(base, conf=conf)


def pixels_of(tensor: NDArray[Any], contract: InputContract) -> NDArray[np.uint8]:
    """The input tensor of one image back as (height, width, 3) uint8."""
    rows = tensor.transpose(1, 2, 0) if contract.layout == "NCHW" else tensor
    if rows.dtype == np.uint8:
        return np.ascontiguousarray(rows)
    pixels = np.rint(contract.real_values(rows) / np.float32(contract.scale))
    found: NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)
    return found


def _named(found: Boxes, prefix: str = "") -> Arrays:
    return {
        f"{prefix}xyxy": found.xyxy,
        f"{prefix}confidence": found.confidence,
        f"{prefix}class_id": found.class_id,
    }


def _samples(maps: Arrays) -> Arrays:
    arrays: Arrays = {}
    rng = np.random.default_rng(0)
    for name, each in maps.items():
        values = each.ravel()
        index = np.sort(rng.choice(values.size, min(SAMPLES, values.size), replace=False))
        arrays[f"{name}.index"], arrays[f"{name}.value"] = index, values[index].astype(np.float32)
    return arrays
