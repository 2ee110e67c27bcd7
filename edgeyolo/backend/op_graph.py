"""A network as a list of operations with shapes, and no weights.

Questions about a target are answered by it before anything is built.

Operations have the names of ONNX operators. `edgeyolo.export.trace` makes such a list from torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

Shape = tuple[int, ...]
TENSORRT_NMS = "EfficientNMS_TRT"
"""TensorRT's plugin for suppression, an operator that ONNX does not have."""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind: the ONNX operator, such as "Conv"; what has no counterpart there is called as torch calls it, "aten::x".
        name: the module of the network that asks for it, such as "backbone.0.down.conv".
        inputs: tensors that are computed; weights are not among them.
        output: the tensor it gives.
        shape: of the output, batch first, (batch, channels, height, width) for images.
        attributes: under ONNX's names: kernel_shape, strides, pads (one number a side), dilations, group, alpha, axis,
            scales, steps, start, end.
        parameters: names of the weights that it reads, in the order of its inputs.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    shape: Shape
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A whole network: its operations in the order of execution.

    `parameters` is the number of weights and biases, `largest_weight` the largest absolute value among them.
    """

    input: str
    input_shape: Shape
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    parameters: int
    largest_weight: float = 0.0

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every tensor by name."""
        return {self.input: self.input_shape} | {each.output: each.shape for each in self.operations}

    @cached_property
    def takers(self) -> Mapping[str, tuple[Operation, ...]]:
        """The operations that read a tensor, by its name."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in dict.fromkeys(operation.inputs):
                found.setdefault(name, []).append(operation)
        return {name: tuple(each) for name, each in found.items()}

    def counts(self) -> Counter[str]:
        """Number of operations of each kind."""
        return Counter(operation.kind for operation in self.operations)

    def peak_elements(self) -> int:
        """The largest number of values that are alive at one operation.

        Read, written or kept for a later one.
        """
        last = {name: place for place, each in enumerate(self.operations) for name in each.inputs}
        last |= dict.fromkeys(self.outputs, len(self.operations))
        alive, peak = {self.input}, 0
        for place, operation in enumerate(self.operations):
            alive.add(operation.output)
            peak = max(peak, sum(prod(self.shapes[name]) for name in alive))
            alive = {name for name in alive if last.get(name, -1) > place}
        return peak
