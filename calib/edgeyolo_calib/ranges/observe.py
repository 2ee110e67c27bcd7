"""One streaming pass over the calibration images.

Every tensor's distribution, in bounded memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.backend.ort_options import cpu_options
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo_calib.onnx_graph import Graph, constants_as_weights, split
from edgeyolo_calib.ranges.histogram import Histogram
from edgeyolo_calib.ranges.statistics import Origin, Statistics

if TYPE_CHECKING:
    import onnxruntime as ort

LIMIT = 128 << 20
"""Bytes of observed tensors that are held at a time. With weights, a copy of them that the runtime repacks, and the
tensors on their way between parts, yolov7 at 640 stays below 1.5 GB."""

SAVE_EVERY_S = 30.0


def observe(
    model: Path,
    contract: InputContract,
    source: CalibrationSource,
    *,
    keep: Path | None = None,
    threads: int | None = None,
    limit: int = LIMIT,
    progress: Callable[[int, int | None], None] | None = None,
) -> Statistics:
    """Run the images through an ONNX model and collect the statistics of every tensor.

    Args:
        model: an ONNX file that takes the arrays of `contract` in float32.
        source: the images; each is seen once.
        keep: a file for the statistics. Where it holds complete ones of the same model and images, they are returned;
            unfinished ones are continued. It is written every half minute and at the end.
        threads: CPU threads, None for the runtime's default.
        limit: bytes of tensors to hold at a time.
        progress: called with (images done, images in all).

    Raises:
        UsageError: `keep` holds statistics of something else.
        DatasetError: no image can be read.
        EdgeYoloError: a tensor holds values that are infinite or no numbers.
    """
    import onnx

    graph = Graph(constants_as_weights(onnx.load(model)), contract.batch)
    origin = Origin(graph.identity, source.sha256, source.count, source.described, contract.size)
    found = _resume(keep, origin)
    if found.complete:
        return found
    runner = _Runner.load(graph, threads, limit)
    saved = time.monotonic()
    # Batches already counted are skipped, so that an interrupted run ends with the statistics of a whole one.
    for batch in islice(source.batches(contract), found.done, None):
        for name, values in runner.tensors(batch):
            try:
                found.tensors.setdefault(name, Histogram()).add(values)
            except EdgeYoloError as error:
                raise EdgeYoloError(f"calibration batch {found.done}: {name}: {error.message}") from error
        found.done += 1
        if progress:
            progress(min(found.done * contract.batch, source.count), source.count)
        if keep and time.monotonic() - saved > SAVE_EVERY_S:
            found.save(keep)
            saved = time.monotonic()
    result = Statistics(
        Origin(origin.graph, origin.images, source.count, origin.described, origin.size),
        found.tensors,
        found.done,
        complete=True,
        floats=found.floats,
        scheme=found.scheme,
        tried=found.tried,
    )
    if keep:
        result.save(keep)
    return result


def _resume(keep: Path | None, origin: Origin) -> Statistics:
    if keep is None or not keep.exists():
        return Statistics(origin)
    kept = Statistics.load(keep)
    if not kept.origin.same(origin):
        raise UsageError(
            f"{keep}: holds ranges of another network, other images or another size ({kept.origin.described}, "
            f"{kept.origin.size[0]}x{kept.origin.size[1]})",
            hint="Name another file, or remove this one.",
        )
    return kept


@dataclass(frozen=True)
class _Stage:
    session: ort.InferenceSession
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    done_with: frozenset[str]  # tensors that no later stage takes


@dataclass(frozen=True)
class _Runner:
    """The model's parts, each as a session that gives its inner tensors too."""

    input: str
    stages: tuple[_Stage, ...]

    @classmethod
    def load(cls, graph: Graph, threads: int | None, limit: int) -> _Runner:
        parts = split(graph, graph.shapes, limit)
        stages = []
        later: set[str] = set()
        for part in reversed(parts):
            done_with = frozenset({*part.takes, *part.gives} - later)
            later |= set(part.takes)
            stages.append(_Stage(_session(part.model, threads), part.takes, part.gives, done_with))
        return cls(graph.inputs[0], tuple(reversed(stages)))

    def tensors(self, batch: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every tensor's name and values for one batch, the input first."""
        held = {self.input: batch}
        yield self.input, batch
        for stage in self.stages:
            results = stage.session.run(list(stage.gives), {name: held[name] for name in stage.takes})
            held.update(zip(stage.gives, results, strict=True))
            for name, values in zip(stage.gives, results, strict=True):
                yield name, values
            del results
            for name in stage.done_with:
                held.pop(name, None)


def _session(model: Any, threads: int | None) -> ort.InferenceSession:
    import onnxruntime as ort

    options = cpu_options(threads)
    # The arena keeps the most that a session ever used; with a session for each part, that adds up.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
