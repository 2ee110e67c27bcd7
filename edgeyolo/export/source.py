"""The network as an ONNX file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.contracts import GraphDetections, InputContract, OutputContract, RawMaps
from edgeyolo.artifact.trained_size import Size
from edgeyolo.backend.interface import Judge
from edgeyolo.backend.op_graph import Graph
from edgeyolo.backend.quantizer_options import DEFAULTS, QuantizerOptions

if TYPE_CHECKING:
    import onnx

    from edgeyolo.artifact.learned_ranges import LearnedRanges
    from edgeyolo.backend.interface import CalibrationSource, ExportSource


@dataclass
class NetworkSource:
    """A re-parameterized network with its contracts.

    Makes each form that a backend asks for once.

    Implements `edgeyolo.backend.interface.ExportSource`. `workspace` is a directory for the intermediate files.
    """

    network: Any
    input: InputContract
    output: RawMaps
    class_names: tuple[str, ...]
    workspace: Path
    calibration: CalibrationSource | None = None
    detections: GraphDetections | None = None
    pixels: bool = False
    opset: int | None = None  # what the user asked for
    learned: LearnedRanges | None = None
    quantizer: QuantizerOptions = DEFAULTS
    soc: str = ""
    judge: Judge | None = None
    model: str = ""  # the network's name
    trained: Size | None = None  # (height, width) of the training, where that is known
    traces: dict[InputContract, Graph] = field(default_factory=dict)
    _onnx: dict[int, Path] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The network's operations; traced once."""
        from edgeyolo.export import trace

        if self.input not in self.traces:
            self.traces[self.input] = trace.trace(self.network, self.input)
        return self.traces[self.input]

    def onnx(self, *, opset: int) -> Path:
        """The network as simplified ONNX with raw heads.

        At `opset` unless the user asked for another.
        """
        opset = self.opset or opset
        if opset not in self._onnx:
            path = self.workspace / f"opset{opset}.onnx"
            path.write_bytes(to_onnx(self, opset))
            _check(path)
            self._onnx[opset] = path
        return self._onnx[opset]


def to_onnx(source: NetworkSource, opset: int) -> bytes:
    """Bytes of an ONNX file of the trace with its weights.

    Equal networks give equal bytes. The graph carries its own contract in `metadata_props`, for users who take the file
    without the manifest.
    """
    import onnx

    model = _model(source, opset)
    onnx.helper.set_model_props(model, _metadata(source))
    model.producer_name = "edgeyolo"
    return bytes(model.SerializeToString(deterministic=True))


def _check(file: Path) -> None:
    """Let ONNX check a written file.

    Neither its bytes nor another model need then be in memory.
    """
    import onnx

    onnx.checker.check_model(file, full_check=True)


def _model(source: NetworkSource, opset: int) -> onnx.ModelProto:
    from edgeyolo.export.onnx_file import write_graph

    weights = {name: each.detach().numpy() for name, each in source.network.state_dict().items()}
    names, dynamic = source.output.names, source.input.dynamic_batch
    return write_graph(source.graph, weights, names, opset, dynamic_batch=dynamic)


def _metadata(source: NetworkSource) -> dict[str, str]:
    return {
        "class_names": json.dumps(source.class_names, ensure_ascii=False),
        "strides": json.dumps(source.output.strides),
        "anchors": json.dumps(source.output.anchors),
        "color_order": source.input.color_order,
        "scale": repr(source.input.scale),
        "output": "raw head maps before the sigmoid: anchor-major x, y, w, h, objectness, classes",
    }


def edge_contracts(source: ExportSource) -> tuple[InputContract, OutputContract]:
    """Contracts of a file for `source`.

    They hold where the backend follows all that was asked for.
    """
    return source.input.of_pixels() if source.pixels else source.input, source.detections or source.output
