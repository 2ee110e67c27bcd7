"""One query through the stages, each on the clock.

The costs of the clock and the loop themselves are measured too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.input_array import InputArray
from edgeyolo.runtime.pipeline import Pipeline, Pixels
from edgeyolo.runtime.planes import PlanarImage
from edgeyolo.runtime.preprocess import Letterbox
from edgeyolo_bench.measure.scenarios import Scenario, query_shape
from edgeyolo_bench.measure.workload import Workload, drawn
from edgeyolo_bench.values.measurement import ImageFacts

Decode = Callable[[bytes], Pixels]
_POOL_BYTES = 256 << 20  # of prepared input arrays
_POOL = 8
_HARNESS_SECONDS = 0.2


class Query(Protocol):
    """Runs the next query.

    Milliseconds of each of the scenario's stages, and the number of detections.
    """

    def __call__(self) -> tuple[tuple[float, ...], int]: ...


def make_query(
    pipeline: Pipeline, scenario: Scenario, workload: Workload, decode: Decode = read_image
) -> Query:
    """The queries of a scenario over its images, as they are drawn."""
    workload = drawn(workload, scenario.seed)
    images, _ = query_shape(scenario, pipeline.input)
    if scenario.inference_only:
        return _network_alone(pipeline, workload, images, decode)
    numbers = itertools.count()

    def query() -> tuple[tuple[float, ...], int]:
        encoded = workload.query(next(numbers), images)
        begin = perf_counter()
        pixels = [decode(data) for data in encoded]
        decoded = perf_counter()
        found, times = pipeline.timed(pixels)
        end = perf_counter()
        stages = ((decoded - begin) * 1e3, times.preprocess, times.inference, times.postprocess)
        return (*stages, (end - begin) * 1e3), sum(map(len, found))

    return query


def _network_alone(pipeline: Pipeline, workload: Workload, images: int, decode: Decode) -> Query:
    """Run the network alone, on arrays prepared beforehand.

    Different ones in turn, as far as memory allows.
    """
    prepared: list[NDArray[Any]] = []
    while len(prepared) < _POOL and (not prepared or (len(prepared) + 1) * prepared[0].nbytes <= _POOL_BYTES):
        pixels = [decode(data) for data in workload.query(len(prepared), images)]
        prepared.append(pipeline.preprocess(pixels)[0].copy())
    numbers = itertools.count()

    def query() -> tuple[tuple[float, ...], int]:
        batch = prepared[next(numbers) % len(prepared)]
        begin = perf_counter()
        pipeline.run(batch)
        return ((perf_counter() - begin) * 1e3,), 0

    return query


class _NoSession:
    """A network that does nothing."""

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        return {}

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class _Empty(Pipeline):
    """The pipeline's own loop and clock around stages that do nothing."""

    def preprocess(
        self,
        images: Sequence[Pixels | PlanarImage],
        *,
        size: tuple[int, int] | None = None,
        enlarge: bool = True,
        out: NDArray[Any] | InputArray | None = None,
    ) -> tuple[NDArray[Any], list[Letterbox]]:
        return _NOTHING, []

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return self.session.run(batch)

    def postprocess(
        self, maps: Mapping[str, NDArray[Any]], letterboxes: Sequence[Letterbox]
    ) -> list[Detections]:
        return []


_NOTHING: NDArray[np.uint8] = np.zeros((1, 1, 3), np.uint8)


def harness_cost(scenario: Scenario, input: InputContract, output: OutputContract) -> float:
    """Milliseconds that the harness adds to a query, by the median.

    The very same loop around an empty network, an empty decoder and empty stages.
    """
    names = tuple(str(number) for number in range(output.classes))
    empty = _Empty(_NoSession(), input, output, names)
    workload = Workload((b"",), ImageFacts("nothing", 1, "", (1.0, 1.0), ""))
    query = make_query(empty, scenario, workload, decode=lambda _: _NOTHING)
    times: list[float] = []
    end = perf_counter() + _HARNESS_SECONDS
    while perf_counter() < end:
        begin = perf_counter()
        query()
        times.append((perf_counter() - begin) * 1e3)
    return float(np.median(times))


def timer_cost(readings: int = 5000) -> float:
    """Milliseconds of one reading of the clock.

    The least of five means, as other processes only ever add.
    """
    means = []
    for _ in range(5):
        begin = perf_counter_ns()
        for _ in range(readings):
            perf_counter()
        means.append((perf_counter_ns() - begin) / readings / 1e6)
    return min(means)
