"""Static search for quantizers that keep TensorRT from fusing or from integers.

An engine is fast where integers go from kernel to kernel. Source: TensorRT documentation, "Working with Quantized
Types", placement of Q/DQ.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_ACTIVATIONS = frozenset({"Clip", "LeakyRelu", "Mul", "Relu", "Sigmoid"})
_MOVING = frozenset({"Concat", "MaxPool", "Resize", "Slice"})  # hand integers on where scales agree
_INTEGERS = _MOVING | {"Add", "Conv"}


def broken_fusions(model: onnx.ModelProto) -> list[str]:
    """A sentence for every pair of quantizers that costs more than it gains.

    Four kinds: one between a convolution and its activation function, one that no operator of integers takes, a
    convolution of which only pixels or only weights are quantized, and an operator that moves values between scales.
    """
    graph = _Quantized(model)
    found = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            found += graph.misplaced(node)
        elif node.op_type == "Conv":
            found += graph.half_quantized(node)
        elif node.op_type in _MOVING:
            found += graph.rescaled(node)
    return found


class _Quantized:
    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx

        self._values = {
            each.name: onnx.numpy_helper.to_array(each)
            for each in model.graph.initializer
            if each.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        }
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._takers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self._takers[name].append(node)

    def misplaced(self, restore: onnx.NodeProto) -> list[str]:
        quantize = self._makers[restore.input[0]]
        takers = self._takers[restore.output[0]]
        source = self._makers.get(quantize.input[0])
        name = quantize.input[0]
        if source is not None and source.op_type == "Conv" and {x.op_type for x in takers} & _ACTIVATIONS:
            return [f"{name}: quantizers between a convolution and its activation function"]
        if not any(taker.op_type in _INTEGERS for taker in takers):
            return [f"{name}: quantizers in front of {', '.join(x.op_type for x in takers) or 'an output'}"]
        return []

    def half_quantized(self, conv: onnx.NodeProto) -> list[str]:
        pixels, weights = (self._restored(name) for name in conv.input[:2])
        if (pixels is None) == (weights is None):
            return []
        return [f"{conv.output[0]}: only the {'weights' if pixels is None else 'pixels'} are quantized"]

    def rescaled(self, node: onnx.NodeProto) -> list[str]:
        given = [name for name in node.input if name and name not in self._values and name in self._makers]
        restored = [self._restored(name) for name in given]
        if not any(restored):
            return []
        behind = [each for each in self._takers[node.output[0]] if each.op_type == "QuantizeLinear"]
        nodes = [*restored, *behind]
        scales = {
            None if each is None else np.asarray(self._values[each.input[1]]).tobytes() for each in nodes
        }
        return [] if len(scales) == 1 else [f"{node.output[0]}: {node.op_type} between different scales"]

    def _restored(self, name: str) -> onnx.NodeProto | None:
        maker = self._makers.get(name)
        return maker if maker is not None and maker.op_type == "DequantizeLinear" else None
