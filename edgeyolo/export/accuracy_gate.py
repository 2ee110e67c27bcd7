"""The accuracy gate.

AP of the artifact beside that of the network it was made from, on the same images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Accuracy
from edgeyolo.datasets import Dataset
from edgeyolo.errors import GateError
from edgeyolo.evaluation.bootstrap import ap_difference
from edgeyolo.evaluation.validate import validate
from edgeyolo.export.parity_gate import reference_maps
from edgeyolo.runtime.pipeline import Pipeline


class TorchSession:
    """The re-parameterized network in torch, fed and read as the artifact is."""

    def __init__(self, network: Any, input: InputContract, output: RawMaps) -> None:
        self._network, self._input, self._output = network, input, output

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """The input array -> raw maps by name."""
        return reference_maps(self._network, batch, self._input, self._output)

    def close(self) -> None:
        """Nothing to release."""


def measure_accuracy(reference: Pipeline, artifact: Pipeline, dataset: Dataset, allowed: float) -> Accuracy:
    """AP of `artifact` and `reference` on `dataset`, and their difference.

    Both use the same thresholds; the difference comes with its confidence interval.

    `allowed`: AP points that may be lost. Raises DatasetError where classes do not match or no image can be read.
    """
    made = validate(artifact, dataset)
    by = made.protocol  # a graph that suppresses has thresholds of its own
    exact = validate(
        reference, dataset, conf=by.conf, iou=by.iou, max_det=by.max_det, multi_label=by.multi_label
    )
    lost = ap_difference(exact.data, exact.predictions, made.predictions)
    before, after = exact.metrics["AP"] or 0.0, made.metrics["AP"] or 0.0
    return Accuracy(
        data=dataset.name,
        images=len(exact.data.images),
        reference=before,
        measured=after,
        lost=100 * (before - after),
        interval=(100 * lost.low, 100 * lost.high),
        confidence=lost.confidence,
        allowed=allowed,
    )


def require_accuracy(accuracy: Accuracy, target: str) -> None:
    """Raise GateError where more AP is lost than allowed."""
    if accuracy.holds:
        return
    low, high = accuracy.interval
    raise GateError(
        f"{target} loses {accuracy.lost:.2f} AP points on {accuracy.images} images of {accuracy.data} "
        f"({100 * accuracy.reference:.2f} -> {100 * accuracy.measured:.2f}; {accuracy.confidence:.0%} interval of the "
        f"loss {low:.2f} to {high:.2f}); {accuracy.allowed:g} are allowed",
        hint="Nothing was written. Calibrate on more, and more typical, images; allow more with --max-ap-drop; or take "
        "an fp16 target.",
    )
