"""The strongly typed form of a graph with quantizers.

It is float16 wherever it is not int8.

TensorRT 11 has no flag that would let it compute in float16 what has no quantizers, and obeys the types of the graph.
Versions before 10 read no graph that says so, hence a package holds both forms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeyolo_tensorrt.facts import TYPED_OPSET
from edgeyolo_tensorrt.package.half import to_half

if TYPE_CHECKING:
    import onnx

QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def to_typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with float16 between its quantizers, and float16 scales.

    Inputs and outputs stay float32. The integers are those of `model`, but where a scale had to move to the next
    float16; it moves up, so that nothing is cut that was not.

    Raises:
        UnsupportedTargetError: as `to_half`.
    """
    import onnx

    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    for item in typed.opset_import:
        if not item.domain:
            item.version = max(
                item.version, TYPED_OPSET
            )  # `rules` knows no operator that changed its meaning
    typed.ir_version = max(
        typed.ir_version, onnx.helper.find_min_ir_version_for(list(typed.opset_import), True)
    )
    scales = _scales(typed.graph.node)
    for tensor in typed.graph.initializer:
        if tensor.name in scales:
            rounded = half_scales(onnx.numpy_helper.to_array(tensor)).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    return to_half(typed)


def half_scales(scales: NDArray[np.float32]) -> NDArray[np.float16]:
    """The smallest float16 that are not below `scales`, and above 0."""
    with np.errstate(over="ignore"):  # infinity is refused as any weight beyond float16
        nearest = np.asarray(scales, np.float16)
        return np.where(nearest < scales, np.nextafter(nearest, np.float16(np.inf)), nearest)


def _scales(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {node.input[1] for node in nodes if node.op_type in QUANTIZERS}
