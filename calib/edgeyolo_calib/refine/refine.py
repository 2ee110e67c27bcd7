"""Changes to a plain network before any quantizer sees it.

Each is kept only where integers then lose less.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import CalibrationSource, ExportSource
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo_calib.onnx_graph import OPSET, Graph, constants_as_weights, module_of, with_constants
from edgeyolo_calib.quantize.qdq import settle
from edgeyolo_calib.quantize.rules import Rules, place, rules_of
from edgeyolo_calib.quantize.schemes import best_scheme
from edgeyolo_calib.quantize.simulate import rounded_weights, simulated
from edgeyolo_calib.quantize.variants import Compared
from edgeyolo_calib.ranges.observe import observe
from edgeyolo_calib.ranges.ranges import Scheme
from edgeyolo_calib.ranges.statistics import Statistics
from edgeyolo_calib.refine.channels import flow
from edgeyolo_calib.refine.equalize import equalized, peaks

if TYPE_CHECKING:
    import onnx
    from torch import nn

FIT, HELD_OUT = 32, 24
"""Calibration images that changes are made from, and others that decide whether they stay."""

STRENGTHS = (0.5, 0.75, 1.0)
LESS = 0.99
"""Share of the error before that a change has to come below."""


@dataclass(frozen=True)
class Tried:
    """A change that was tried.

    `error` is the relative error of the raw maps of held-out images with it.
    """

    name: str
    error: float
    kept: bool


@dataclass(frozen=True)
class Refined:
    """A network with the changes that were kept.

    `tried` begins with the error before any.
    """

    network: nn.Module
    tried: tuple[Tried, ...]


@dataclass(frozen=True)
class _State:
    """A network with its ranges and the error of its integers."""

    network: nn.Module
    graph: Graph
    statistics: Statistics
    error: float


def refine(source: ExportSource, target: Target, *, step: Callable[[str], None] = lambda _: None) -> Refined:
    """Equalize channels, correct biases and round weights for a target's integers.

    Each is tried on the first `FIT` calibration images and kept where it brings the error of the next `HELD_OUT`, in
    the target's simulated arithmetic, below `LESS` of what it was.

    Raises:
        UsageError: there are ranges but no images, or too few images to hold some out.
        UnsupportedTargetError: nothing of the kind helps the target.
    """
    images = source.calibration
    if images is None or images.count < FIT + HELD_OUT:
        count = images.count if images else 0
        raise UsageError(
            f"refining needs {FIT + HELD_OUT} calibration images, some to fit and others to judge by; got {count}",
            hint="Give more of them with --calib, or leave out --refine.",
        )
    rules, corrected = _rules_for(target)
    return _Trial.begin(source, images, rules, step).run(corrected=corrected)


def _rules_for(target: Target) -> tuple[Rules, bool]:
    """Rules whose simulation comes nearest to the target's.

    With them: whether its quantizer leaves biases as they are.
    """
    if target.precision != "int8" or target.runtime == "coreml":
        raise UnsupportedTargetError(
            f"{target}: only weights, or none, are integers, and there is nothing to refine",
            hint="Leave out --refine.",
        )
    return rules_of(target), target.runtime != "openvino"  # NNCF corrects biases itself


@dataclass(frozen=True)
class _Trial:
    """The images and the rules that changes are tried with."""

    contract: InputContract
    fit: tuple[NDArray[np.float32], ...]
    sample: CalibrationSource
    held_out: Compared
    rules: Rules
    scheme: Scheme
    first: _State
    step: Callable[[str], None]

    @classmethod
    def begin(
        cls, source: ExportSource, images: CalibrationSource, rules: Rules, step: Callable[[str], None]
    ) -> _Trial:
        """Measure the network as it is."""
        import onnx

        contract = replace(source.input, batch=1, dynamic_batch=False)
        path = source.onnx(opset=OPSET)
        graph = Graph(constants_as_weights(onnx.load(path)), contract.batch)
        sample = _Sample(images, 0, FIT)
        step("refining: measuring ranges")
        statistics = observe(path, contract, sample)
        near = Compared.take(graph, sample, contract, reach=rules.reach)
        scheme = rules.scheme
        if rules.search:
            scheme, _ = best_scheme(graph, statistics, rules, near, 255 * contract.scale)
        held_out = Compared.take(graph, _Sample(images, FIT, FIT + HELD_OUT), contract, reach=rules.reach)
        fit = tuple(sample.batches(contract))
        empty = _State(source.network, graph, statistics, float("inf"))
        trial = cls(contract, fit, sample, held_out, rules, scheme, empty, step)
        return replace(trial, first=replace(empty, error=trial._error(graph, statistics)))

    def run(self, *, corrected: bool) -> Refined:
        """Try one change after another on what is kept of those before."""
        state, tried = self.first, [Tried("as it was", self.first.error, True)]
        for name, change in self._changes(corrected):
            self.step(f"refining: {name}")
            found = change(state)
            if found is None:
                continue
            kept = found.error < LESS * state.error
            tried.append(Tried(name, found.error, kept))
            state = found if kept else state
        return Refined(state.network, tuple(tried))

    def _changes(self, corrected: bool) -> Iterator[tuple[str, Callable[[_State], _State | None]]]:
        for strength in STRENGTHS:
            yield f"channels equalized by {strength:g}", lambda state, s=strength: self._equalize(s)  # type: ignore[misc]
        if corrected:
            yield "biases corrected", lambda state: self._reconstruct(state, biases=True, weights=False)
        yield "weights rounded", lambda state: self._reconstruct(state, biases=corrected, weights=True)

    def _equalize(self, strength: float) -> _State | None:
        """The network as it was, equalized; None where no channel may be scaled."""
        graph = self.first.graph
        channels = flow(graph)
        if not channels.scalable:
            return None
        weights = equalized(graph, channels, self._peaks(graph), strength=strength)
        return self._measured(_with_weights(self.first.network, weights), weights)

    def _peaks(self, graph: Graph) -> dict[str, NDArray[np.float64]]:
        from edgeyolo_calib.quantize.variants import opened

        names = [node.output[0] for node in graph.nodes if node.op_type == "Conv"]
        with opened(_giving(graph, names)) as session:
            return peaks({name: maps[name] for name in names} for maps in map(session.run, self.fit))

    def _reconstruct(self, state: _State, *, biases: bool, weights: bool) -> _State:
        from edgeyolo_calib.qat.simulated import Quantizers
        from edgeyolo_calib.refine.reconstruct import Changes, reconstructed

        placement = place(state.graph, self.rules)
        ranges = self._ranges(state.graph, state.statistics)
        quantizers = Quantizers(self.rules, placement, ranges, state.graph.inputs)
        made = reconstructed(
            state.network,
            state.graph,
            quantizers,
            self.fit,
            Changes(biases, weights),
        )
        return self._measured(made, weights_of(made, state.graph))

    def _measured(self, network: nn.Module, weights: dict[str, NDArray[np.float32]]) -> _State:
        import tempfile

        import onnx

        graph = Graph(with_constants(self.first.graph.model, weights), self.contract.batch)
        with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
            path = Path(folder) / "changed.onnx"
            onnx.save(graph.model, path)
            statistics = observe(path, self.contract, self.sample)
        return _State(network, graph, statistics, self._error(graph, statistics))

    def _ranges(self, graph: Graph, statistics: Statistics) -> dict[str, tuple[float, float]]:
        fixed = dict.fromkeys(graph.inputs, (0.0, 255 * self.contract.scale))
        return settle(place(graph, self.rules), statistics, self.rules, self.scheme, fixed)

    def _error(self, graph: Graph, statistics: Statistics) -> float:
        """Error of the integers against the maps of the network as it was."""
        weights = rounded_weights(graph, self.rules)
        ranges = self._ranges(graph, statistics)
        model = simulated(graph, place(graph, self.rules), ranges, self.rules, weights)
        return self.held_out.error(model)


@dataclass(frozen=True)
class _Sample:
    """Images `start` to `stop` of a calibration source."""

    whole: CalibrationSource
    start: int
    stop: int
    ranges: Path | None = None
    floats: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        return self.whole.sha256

    @property
    def count(self) -> int:
        return self.stop - self.start

    @property
    def described(self) -> str:
        return f"images {self.start} to {self.stop} of {self.whole.described}"

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        return islice(self.whole.batches(contract), self.start, self.stop)

    def pictures(self, count: int) -> list[NDArray[np.uint8]]:
        return self.whole.pictures(self.stop)[self.start : self.start + count]


def weights_of(network: nn.Module, graph: Graph) -> dict[str, NDArray[np.float32]]:
    """Weights and biases of a network by the graph's initializers."""
    found = {}
    for node in graph.nodes:
        if node.op_type == "Conv":
            module = network.get_submodule(module_of(node.input[1]))
            for name, part in zip(node.input[1:], ("weight", "bias"), strict=False):
                found[name] = getattr(module, part).detach().cpu().numpy().copy()
    return found


def _with_weights(network: nn.Module, weights: dict[str, NDArray[np.float32]]) -> nn.Module:
    """A copy of the network with these; a convolution's are named by its module."""
    import torch

    made = copy.deepcopy(network)
    with torch.no_grad():
        for name, values in weights.items():
            made.get_parameter(name).copy_(torch.from_numpy(values))
    return made


def _giving(graph: Graph, names: Iterable[str]) -> onnx.ModelProto:
    """The model with these tensors as outputs."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(graph.model)
    del made.graph.output[:]
    made.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, graph.shapes[name]) for name in names
    )
    return made
