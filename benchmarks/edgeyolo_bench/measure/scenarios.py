"""Scenarios of measurement.

They say what a query is, which figure it is measured for, and how long is long enough. After MLPerf Inference
(edge): single-stream, multi-stream and offline; `paper` is the protocol of the YOLOv7 paper's Tables 1, 2 and
9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.errors import UsageError
from edgeyolo_bench.values.measurement import STAGES, ScenarioFacts

TURNS = 10
"""A run is taken in so many turns; artifacts that are compared take them alternately."""


@dataclass(frozen=True)
class Scenario:
    """Scenario: its queries, percentile and length.

    A query has `query_images` images (None: as many as the artifact takes at once). `percentile` is reported
    with its interval, None where only the rate counts. `inference_only` leaves out what comes before and
    after the network. A run ends when it has lasted `min_duration` seconds and `min_count` queries, whichever
    is later. Images are drawn with `seed`, or come one after the other where it is None.
    """

    name: str
    about: str
    query_images: int | None
    percentile: float | None
    min_duration: float
    min_count: int
    inference_only: bool = False
    seed: int | None = 0

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that are timed, in their order."""
        return ("inference",) if self.inference_only else STAGES

    @property
    def judged(self) -> str:
        """The stage that the reported figures are of."""
        return "inference" if self.inference_only else "end-to-end"

    @property
    def turns(self) -> int:
        """Number of turns that a run is taken in."""
        return max(1, min(TURNS, self.min_count))

    def facts(self, contract: InputContract) -> ScenarioFacts:
        """The scenario as it is for a network of this input."""
        images, batch = query_shape(self, contract)
        return ScenarioFacts(
            self.name,
            images,
            batch,
            self.percentile,
            self.judged,
            self.min_duration,
            self.min_count,
            self.seed,
        )


# 64 queries for p90 and 662 for p99 are MLPerf's least counts; the paper's FPS is a mean, 30 queries steady it.
SCENARIOS = {
    item.name: item
    for item in (
        Scenario("single-stream", "one image at a time, p90", 1, 0.9, 10.0, 64),
        Scenario("multi-stream", "eight images a query, p99", 8, 0.99, 10.0, 662),
        Scenario("offline", "all images at once, images a second", None, None, 10.0, 30),
        Scenario(
            "paper",
            "the network alone, one image at a time",
            1,
            0.5,
            10.0,
            30,
            inference_only=True,
            seed=None,
        ),
    )
}


def choose(
    name: str,
    *,
    batch: int | None = None,
    min_duration: float | None = None,
    min_count: int | None = None,
    seed: int | None = None,
) -> Scenario:
    """A scenario with what the user changed.

    `batch` sets the images of a query (offline and paper only).
    """
    scenario = SCENARIOS[name]
    if batch is not None:
        if name in ("single-stream", "multi-stream"):
            raise UsageError(
                f"--batch {batch}: a query of {name} has {scenario.query_images} image(s)",
                hint="--scenario offline or --scenario paper take --batch.",
            )
        scenario = replace(scenario, query_images=batch)
    if seed is not None and scenario.seed is not None:
        scenario = replace(scenario, seed=seed)
    if min_duration is not None:
        scenario = replace(scenario, min_duration=min_duration)
    return scenario if min_count is None else replace(scenario, min_count=min_count)


def query_shape(scenario: Scenario, contract: InputContract) -> tuple[int, int]:
    """Images of a query, and images the network takes at a time.

    They are for a network of this input.

    Raises UsageError where the `paper` scenario asks for a batch that the artifact does not take in one piece.
    """
    largest = contract.max_batch if contract.dynamic_batch else contract.batch
    images = scenario.query_images or largest
    if scenario.inference_only:
        fits = images <= largest if contract.dynamic_batch else images == contract.batch
        if not fits:
            takes = f"1 to {largest}" if contract.dynamic_batch else str(contract.batch)
            raise UsageError(
                f"batch {images}: the artifact takes {takes} images at a time",
                hint=f"Export it with --batch {images} or --batch dynamic, or give bench the weights.",
            )
    return images, min(images, largest) if contract.dynamic_batch else contract.batch
