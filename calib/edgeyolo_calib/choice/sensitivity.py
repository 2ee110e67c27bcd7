"""Sensitivity of layers to integers.

Each layer alone in integers, its output error and, for the worst, the AP it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.datasets import Dataset
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo_calib.choice.ledger import Ledger
from edgeyolo_calib.quantize.variants import Compared, Maps, Variants, opened

if TYPE_CHECKING:
    import onnx

    from edgeyolo.evaluation.result import ValidationResult

WORST = 8
"""How many layers, the worst by output error, AP is measured for: one layer's loss is near what AP can tell."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Lost:
    """AP points (hundredths) lost against float, with an interval.

    It holds them with `confidence`.
    """

    points: float
    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True)
class Layer:
    """Cost of one layer's integers.

    `error` as in `Compared.error`; AP lost, None where it was not measured. `place` says where in the network
    it is.
    """

    name: str
    error: float
    lost: Lost | None = None
    place: str = ""


@dataclass(frozen=True)
class Sensitivity:
    """Every quantized layer, worst first.

    `whole` is the network with all of them in integers.
    """

    layers: tuple[Layer, ...]
    whole: Layer
    images: int
    data: str = ""
    reference: float | None = None  # AP in float, a fraction of 1


class Judge:
    """AP of variants, on one labelled data set."""

    def __init__(
        self, graph: onnx.ModelProto, dataset: Dataset, contracts: tuple[InputContract, RawMaps], names: tuple[str, ...]
    ) -> None:  # fmt: skip
        self.dataset = dataset
        self._graph, self._contracts, self._names = graph, contracts, names

    @cached_property
    def exact(self) -> ValidationResult:
        """The float network's result; measured when it is first needed."""
        return self._validate(self._graph)

    def lost(self, model: onnx.ModelProto) -> list[float]:
        """AP points lost, the ends of the interval, its confidence; see `Lost`."""
        from edgeyolo.evaluation.bootstrap import ap_difference

        made = self._validate(model)
        difference = ap_difference(self.exact.data, self.exact.predictions, made.predictions)
        before, after = self.exact.metrics["AP"] or 0.0, made.metrics["AP"] or 0.0
        return [100 * (before - after), 100 * difference.low, 100 * difference.high, difference.confidence]

    def _validate(self, model: onnx.ModelProto) -> ValidationResult:
        from edgeyolo.evaluation.validate import validate

        with opened(model) as session:
            return validate(self._pipeline(session), self.dataset)

    def _pipeline(self, session: Maps) -> Pipeline:
        return Pipeline(session, *self._contracts, self._names)


def measure(
    variants: Variants,
    compared: Compared,
    judge: Judge | None,
    ledger: Ledger,
    *,
    worst: int = WORST,
    progress: Progress = lambda _, __: None,
) -> Sensitivity:
    """Measure every layer.

    `judge` None: output errors only. `progress` is told (layers done, in all).
    """
    names = variants.layers
    total = len(names) + 1 + (min(worst, len(names)) + 1 if judge else 0)
    errors: dict[str, float] = {}
    for done, name in enumerate(names):
        progress(done, total)
        errors[name] = ledger.of(f"error, only {name}", partial(_error_of, variants, compared, name))
    whole = Layer("", ledger.of(key_of("error", ()), lambda: compared.error(variants.without(()))))
    order = sorted(names, key=lambda name: -errors[name])
    losses: dict[str, Lost] = {}
    if judge:
        whole = Layer("", whole.error, lost_without(variants, judge, ledger, ()))
        for done, name in enumerate(order[:worst], start=len(names) + 2):
            progress(done, total)
            found = ledger.of(f"AP, only {name}", partial(_loss_of, variants, judge, name))
            losses[name] = Lost(*found)
    progress(total, total)
    layers = tuple(Layer(name, errors[name], losses.get(name), variants.place_of(name)) for name in order)
    images = sum(len(batch) for batch in compared.batches)
    if judge is None:
        return Sensitivity(layers, whole, images)
    reference = ledger.of("AP, float", lambda: judge.exact.metrics["AP"] or 0.0)
    return Sensitivity(layers, whole, images, judge.dataset.name, reference)


def _error_of(variants: Variants, compared: Compared, layer: str) -> float:
    return compared.error(variants.only(layer))


def _loss_of(variants: Variants, judge: Judge, layer: str) -> list[float]:
    return judge.lost(variants.only(layer))


def key_of(what: str, floats: tuple[str, ...]) -> str:
    """The name of a measurement with these layers in float, in any order."""
    return f"{what}, all but {' '.join(sorted(floats))}" if floats else f"{what}, all"


def lost_without(variants: Variants, judge: Judge, ledger: Ledger, floats: tuple[str, ...]) -> Lost:
    """AP lost where all but `floats` are integers."""
    found: Any = ledger.of(key_of("AP", floats), lambda: judge.lost(variants.without(floats)))
    return Lost(*found)
