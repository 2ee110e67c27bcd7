"""The choice between two graphs for MultimediaTechLab/YOLO's yolov7.

One edge of its graph differs from the published one; AP on labelled images decides.

Weights fit both graphs in shape, and only one of them was trained; see `models.other_names`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.datasets import Dataset
from edgeyolo.errors import UsageError
from edgeyolo.evaluation.validate import open_to_judge, validate
from edgeyolo.export import export
from edgeyolo.models.topology import ModelSpec

if TYPE_CHECKING:
    from edgeyolo.models.importer import Imported

Measure = Callable[["Imported", Dataset], "float | None"]
_TARGET = "cpu-onnx-fp32"


@dataclass(frozen=True)
class Choice:
    """Imported weights with the edge that detects better, and the AP with each.

    None: nothing to judge by."""

    imported: Imported
    inner: float | None
    outer: float | None


def choose_lateral(imported: Imported, dataset: Dataset, measure: Measure | None = None) -> Choice:
    """Measure AP with either source of the finest lateral, and keep the better.

    The sources are the concatenation and the block's output.

    The file's own graph (the concatenation) stays where they are equal. Class names are the data set's where the file
    has none. Raises UsageError for a network without that choice, and for data of another number of classes.
    """
    spec = imported.network.spec
    if not isinstance(spec, ModelSpec) or not spec.inner_lateral:
        raise UsageError(
            f"{imported.origin.file}: {spec.name} leaves nothing to choose by labelled images",
            hint="--data is for MultimediaTechLab/YOLO's v7.pt; `edgeyolo val` measures AP.",
        )
    classes = imported.network.classes
    if len(dataset.class_names) != classes:
        raise UsageError(f"{dataset.source}: {len(dataset.class_names)} classes, the weights have {classes}")
    if any(note.startswith("the file has no class names") for note in imported.notes):
        imported = replace(imported, class_names=dataset.class_names)
    other = _with_lateral(imported, inner=False)
    ap_of = measure or measure_ap
    inner, outer = ap_of(imported, dataset), ap_of(other, dataset)
    kept = other if (outer or 0.0) > (inner or 0.0) else imported
    said = " and ".join("-" if ap is None else f"{ap:.1%}" for ap in (inner, outer))
    where = "the block's output" if kept is other else "the concatenation"
    if (inner or 0.0) == (outer or 0.0):
        where += ", the file's own graph, as these images do not tell"
    note = f"AP with the finest lateral from the concatenation and from the block's output: {said}; kept: {where}"
    return Choice(replace(kept, notes=(*kept.notes, note)), inner, outer)


def _with_lateral(imported: Imported, *, inner: bool) -> Imported:
    from edgeyolo.models.build import build
    from edgeyolo.models.network import load_state

    network = imported.network
    assert isinstance(network.spec, ModelSpec)
    changed = build(replace(network.spec, inner_lateral=inner), network.classes, network.form, device="meta")
    return replace(imported, network=load_state(changed, network.state_dict()))


def measure_ap(imported: Imported, dataset: Dataset) -> float | None:
    """AP of a network on labelled images, run by ONNX Runtime at its own size."""
    from edgeyolo.models.weights import save

    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        weights = Path(folder) / "weights.safetensors"
        save(weights, imported.network, imported.class_names, imported.provenance, size=imported.size)
        with open_to_judge(export(weights, _TARGET, Path(folder) / "artifact")) as (pipeline, _):
            return validate(pipeline, dataset).metrics["AP"]
