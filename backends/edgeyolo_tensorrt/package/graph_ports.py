"""Inputs and outputs of a package's graph.

It may hold TensorRT's plugins, and so load in no runtime here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeyolo.backend.interface import Port


def graph_ports(graph: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs as the ONNX file itself types them."""
    import onnx

    model = onnx.load(graph, load_external_data=False).graph
    weights = {tensor.name for tensor in model.initializer}
    given = tuple(_port(value) for value in model.input if value.name not in weights)
    return given, tuple(map(_port, model.output))


def _port(value: Any) -> Port:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(side.dim_value or None for side in kind.shape.dim)
    return Port(value.name, shape, str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)))
