"""A network with any of its layers quantized, and its error.

It is made in a moment; the error says how far its raw maps are from float.

The images and their float maps are kept, so that measuring a variant is a handful of inferences.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.backend.ort_options import cpu_options
from edgeyolo_calib.onnx_graph import Graph, module_of
from edgeyolo_calib.quantize.qdq import settle
from edgeyolo_calib.quantize.rules import Placement, Rules, Unit, place, units
from edgeyolo_calib.quantize.simulate import rounded_weights, simulated
from edgeyolo_calib.ranges.ranges import Scheme
from edgeyolo_calib.ranges.statistics import Statistics

if TYPE_CHECKING:
    import onnx
    import onnxruntime as ort

IMAGES, LEAST_IMAGES = 24, 4
"""Images that maps are compared on, fewer where they are large: with their maps they are kept in memory."""

MEMORY = 128 << 20
"""Bytes that images and maps may take."""


@dataclass(frozen=True)
class Variants:
    """Every mixture of integer and float layers of one network.

    A layer is named by its unit's output tensor (see `rules.Unit`); `pixels` is the input's largest value.
    """

    graph: Graph
    statistics: Statistics
    rules: Rules
    scheme: Scheme
    pixels: float = 1.0
    _settled: dict[frozenset[str], tuple[float, float]] = field(default_factory=dict, repr=False)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The layers that the rules quantize, in the graph's order."""
        return tuple(name for name in self._units if name not in self._whole.floats)

    def place_of(self, layer: str) -> str:
        """Place of a layer in the network.

        It is named as its weights are named: "backbone.0.elan.twins.0.enter".
        """
        return module_of(self._units[layer].conv.input[1]).removesuffix(".conv")

    @cached_property
    def _units(self) -> dict[str, Unit]:
        return {unit.output: unit for unit in units(self.graph)}

    @cached_property
    def _whole(self) -> Placement:
        return place(self.graph, self.rules)

    @cached_property
    def _ranges(self) -> dict[str, tuple[float, float]]:
        return self._settle(self._whole)

    @cached_property
    def _weights(self) -> dict[str, NDArray[np.float32]]:
        return rounded_weights(self.graph, self.rules)

    def only(self, layer: str) -> onnx.ModelProto:
        """The float network with this layer alone in integers.

        It has the ranges that it has where all are.
        """
        placement = place(self.graph, self.rules, [each for each in self.layers if each != layer])
        return simulated(self.graph, placement, self._ranges, self.rules, self._weights)

    def without(self, floats: Collection[str]) -> onnx.ModelProto:
        """The network in integers, but for these layers.

        Tensors that now share a scale with fewer get their own.
        """
        placement = place(self.graph, self.rules, floats)
        return simulated(self.graph, placement, self._settle(placement), self.rules, self._weights)

    def _settle(self, placement: Placement) -> dict[str, tuple[float, float]]:
        """Settle as `qdq.settle` does; settled groups are not searched again."""
        groups: dict[str, set[str]] = {}
        for name, group in placement.tensors.items():
            groups.setdefault(group, set()).add(name)
        new = {name for names in groups.values() if frozenset(names) not in self._settled for name in names}
        fixed = dict.fromkeys(self.graph.inputs, (0.0, self.pixels))
        missing = replace(placement, tensors={k: v for k, v in placement.tensors.items() if k in new})
        found = settle(missing, self.statistics, self.rules, self.scheme, fixed)
        for group, names in groups.items():
            self._settled.setdefault(frozenset(names), found.get(group, (0.0, 0.0)))
        return {name: self._settled[frozenset(names)] for names in groups.values() for name in names}


@dataclass(frozen=True)
class Compared:
    """Images (input arrays) with the raw maps that the float network gives for them.

    What lies further from zero than `reach` counts as if it were there.
    """

    batches: tuple[NDArray[Any], ...]
    maps: tuple[tuple[NDArray[np.float32], ...], ...]
    reach: float = math.inf

    @classmethod
    def take(
        cls, graph: Graph, source: CalibrationSource, contract: InputContract, images: int = IMAGES, *,
        reach: float = math.inf,
    ) -> Compared:  # fmt: skip
        """The first `images` of a source, run in float.

        Fewer where they would take more than `MEMORY`.
        """
        each = graph.bytes_of([*graph.inputs, *graph.outputs]) // contract.batch
        count = min(images, max(LEAST_IMAGES, MEMORY // each))
        batches = tuple(islice(source.batches(contract), -(-count // contract.batch)))
        exact = tuple(tuple(each.clip(-reach, reach) for each in maps) for maps in _run(graph.model, batches))
        return cls(batches, exact, reach)

    def error(self, model: onnx.ModelProto) -> float:
        """Relative error of the raw maps.

        The root of the squared difference to the float maps over their own squares, all maps and images
        together: 0 for an exact copy, 1 where everything is lost.
        """
        wrong = right = 0.0
        for exact, found in zip(self.maps, _run(model, self.batches), strict=True):
            for one, other in zip(exact, found, strict=True):
                near = other.clip(-self.reach, self.reach)
                wrong += float(np.square(one - near, dtype=np.float64).sum())
                right += float(np.square(one, dtype=np.float64).sum())
        return float(np.sqrt(wrong / right)) if right else 0.0


class Maps:
    """A `Session` on a model in memory: input array -> raw maps by name."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._names = [each.name for each in session.get_outputs()]
        self._input = session.get_inputs()[0].name

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Run one input array."""
        return dict(zip(self._names, self._session.run(self._names, {self._input: batch}), strict=True))

    def close(self) -> None:
        """Do nothing: the session goes with the last reference to it."""


EXACT: Mapping[str, str] = {"session.disable_quant_qdq": "1"}
"""Q and DQ round, and nothing else does: left to itself ONNX Runtime computes activation functions and concatenations
between them by integer kernels, whose roundings are its own."""


@contextmanager
def opened(model: onnx.ModelProto) -> Iterator[Maps]:
    """The model in ONNX Runtime on the CPU, without integer kernels."""
    import onnxruntime as ort

    data = model.SerializeToString()
    yield Maps(ort.InferenceSession(data, cpu_options(settings=EXACT), providers=["CPUExecutionProvider"]))


def _run(
    model: onnx.ModelProto, batches: tuple[NDArray[Any], ...]
) -> Iterator[tuple[NDArray[np.float32], ...]]:
    with opened(model) as session:
        for batch in batches:
            yield tuple(session.run(batch).values())
