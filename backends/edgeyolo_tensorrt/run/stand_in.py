"""A package on a machine without GPU.

Its graph through ONNX Runtime on the CPU, for the export's parity gate.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.backend.ort_options import cpu_options
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError
from edgeyolo.support.install import install_hint
from edgeyolo_tensorrt.plugin import without_plugin

if TYPE_CHECKING:
    import onnx

# These move numbers without changing them, so there is nothing to round.
_MOVES = {
    "Concat",
    "Identity",
    "MaxPool",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}

# Quantizers round and convolutions accumulate exactly; no integer kernels of the CPU in their place.
_EXACT = {"session.disable_quant_qdq": "1"}


class StandIn:
    """Stand-in for a GPU, on the CPU.

    It runs a network as a GPU does that accumulates in float32 and stores what the graph's types say.

    ONNX Runtime has hardly a float16 kernel for CPUs. It would compute a float16 graph in float32 from end to end, and
    neither roundings nor overflows would be seen; so they are put into the graph as operators of their own.
    A plugin is replaced by operators that do the same.
    """

    def __init__(self, graph: Path, input: InputContract, output: OutputContract) -> None:
        self._path, self._input, self._output = graph, input, output
        try:
            import onnx
            import onnxruntime as ort
        except ImportError as error:
            raise RuntimeMissingError(
                f"looking into a TensorRT package without a GPU needs the package {error.name}",
                hint=f"{install_hint('export')}, or do it on the device.",
            ) from error
        options = cpu_options(settings=_EXACT)
        try:
            data = with_roundings(without_plugin(onnx.load(str(graph)))).SerializeToString()
            session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # neither package's errors share a base class
            raise DamagedFileError(
                f"{graph}: ONNX Runtime {ort.__version__} cannot load it: {error}"
            ) from error
        given = {item.name for item in session.get_outputs()}
        if given != set(output.names):
            raise DamagedFileError(
                f"{graph}: the graph gives {sorted(given)}, the manifest says {output.names}"
            )
        self._session: ort.InferenceSession | None = session

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map an input array to the outputs by name."""
        self._input.check(batch)
        if self._session is None:
            raise EdgeYoloError(f"{self._path}: the session is closed")
        given = self._session.run(list(self._output.names), {self._input.name: batch})
        return {
            name: np.asarray(each, np.float32) for name, each in zip(self._output.names, given, strict=True)
        }

    def layers(self, batch: NDArray[Any], names: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """The float tensors inside that are called so, for looking into a missed gate.

        Loads the file again.
        """
        import onnx

        from edgeyolo.export.for_backends import tensors_of

        self._input.check(batch)
        model = with_roundings(without_plugin(onnx.load(str(self._path))))
        return tensors_of(model, {self._input.name: batch}, names, _EXACT)

    def close(self) -> None:
        """Release the graph."""
        self._session = None


def with_roundings(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph that rounds as `model` does between its operators.

    It computes what `model` does with float16 between its operators. A float32 model is returned unchanged.
    """
    import onnx

    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    stored = {value.name for value in typed.graph.value_info if value.type.tensor_type.elem_type == half}
    explicit = onnx.ModelProto()
    explicit.CopyFrom(model)
    for tensor in explicit.graph.initializer:
        if tensor.data_type == half:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    # Behind each operator a cast to float16 and back; those that only move values have nothing to round.
    nodes: list[onnx.NodeProto] = []
    for node in explicit.graph.node:
        nodes.append(node)
        names = [] if node.op_type in _MOVES else [name for name in node.output if name in stored]
        for name in names:
            exact, rounded = f"{name}.exact", f"{name}.rounded"
            node.output[list(node.output).index(name)] = exact
            if node.op_type == "Cast":
                node.attribute[0].i = single
            nodes.append(onnx.helper.make_node("Cast", [exact], [rounded], to=half))
            nodes.append(onnx.helper.make_node("Cast", [rounded], [name], to=single))
    del explicit.graph.node[:]
    explicit.graph.node.extend(nodes)
    del explicit.graph.value_info[:]
    return explicit
