"""Choice of the layers that stay in float on a target.

`edgeyolo calibrate` and `edgeyolo export --ap-budget` go this way both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import CalibrationSource, ExportSource
from edgeyolo.backend.registry import find_target
from edgeyolo.datasets import Dataset
from edgeyolo_calib.choice.budget import (
    Budget,
    require_points,
    require_reached,
    require_something_to_lose,
    search,
)
from edgeyolo_calib.choice.ledger import Ledger
from edgeyolo_calib.choice.sensitivity import WORST, Judge, Progress, Sensitivity, measure
from edgeyolo_calib.images.content import identify_labelled
from edgeyolo_calib.onnx_graph import OPSET, Graph, constants_as_weights
from edgeyolo_calib.quantize.rules import Rules, rules_of
from edgeyolo_calib.quantize.schemes import settle_scheme
from edgeyolo_calib.quantize.variants import Compared, Variants
from edgeyolo_calib.ranges.measured import ChosenImages
from edgeyolo_calib.ranges.observe import observe
from edgeyolo_calib.ranges.ranges import Scheme
from edgeyolo_calib.ranges.statistics import Statistics

RANGES, MEASUREMENTS = "ranges.json", "measurements.json"


@dataclass(frozen=True)
class Findings:
    """Costs of integers by layer, and the float layers for a budget.

    The latter where a budget was given.
    """

    sensitivity: Sensitivity
    budget: Budget | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        budget = self.budget.to_json() if self.budget else None
        return asdict(self.sensitivity) | {"budget": budget}


def read_graph(source: ExportSource, target: Target) -> Path:
    """The ONNX file that the target's backend will start from, or look at."""
    profile, _ = find_target(target)
    return source.onnx(opset=profile.opset or OPSET)


def investigate(
    source: ExportSource, model: Path, statistics: Statistics, images: CalibrationSource, *,
    rules: Rules, scheme: Scheme, data: Dataset | None = None, points: float | None = None, worst: int = WORST,
    keep: Path | None = None, progress: Progress = lambda _, __: None,
) -> Findings:  # fmt: skip
    """Measure the layers of `model`, and keep to a budget if there is one.

    It is of `points` AP points on `data`.

    `keep` is a file for what was measured: a run that was stopped goes on with it. Measurements on another network,
    other images, other data or by other rules are not taken from it.
    """
    import onnx

    contract = (
        replace(source.input, batch=1, dynamic_batch=False) if source.input.dynamic_batch else source.input
    )
    graph = Graph(constants_as_weights(onnx.load(model)), contract.batch)
    variants = Variants(graph, statistics, rules, scheme, 255 * contract.scale)
    compared = Compared.take(graph, images, contract, reach=rules.reach)
    judge = Judge(graph.model, data, (contract, source.output), source.class_names) if data else None
    about = {
        "graph": statistics.origin.graph, "images": statistics.origin.images, "size": list(contract.size),
        "rules": rules.name, "scheme": asdict(scheme),
        "data": identify_labelled(data) if data else None,
    }  # fmt: skip
    ledger = Ledger(keep, about)
    found = measure(variants, compared, judge, ledger, worst=worst, progress=progress)
    if points is None or judge is None:
        return Findings(found)
    require_something_to_lose(judge, ledger, points)
    return Findings(
        found, search(variants, compared, judge, ledger, sensitivity=found, points=points, progress=progress)
    )


def keep_within_budget(
    source: ExportSource, target: Target, data: Dataset, points: float, *, step: Callable[[str], None]
) -> CalibrationSource:
    """The source's images with ranges and the fewest layers in float.

    They lose at most `points` on `data`.

    Raises GateError where too many layers would have to be in float, UsageError for a source without images.
    """
    require_points(points)
    images = source.calibration
    assert images is not None  # the pipeline gives calibrated targets one
    rules, model = rules_of(target), read_graph(source, target)
    keep = model.with_name(f"{target}-{RANGES}")
    seen = replace(source.input, batch=1) if source.input.dynamic_batch else source.input
    step("measuring ranges")
    statistics = observe(model, seen, images, keep=images.ranges or keep)
    scheme = settle_scheme(model, seen, statistics, rules, images)

    def tell(done: int, total: int | None) -> None:
        step(f"choosing layers that stay in float: {done} of {total}")

    found = investigate(
        source,
        model,
        statistics,
        images,
        rules=rules,
        scheme=scheme,
        data=data,
        points=points,
        worst=0,
        progress=tell,
    )
    assert found.budget is not None
    require_reached(found.budget)
    statistics.floats = found.budget.floats
    statistics.save(keep)
    return ChosenImages(images, keep, statistics.floats)
