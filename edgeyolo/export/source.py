"""The network as an ONNX file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.contracts import GraphDetections, InputContract, OutputContract, RawMaps
from edgeyolo.artifact.trained_size import Size
from edgeyolo.backend.interface import Judge
from edgeyolo.backend.quantizer_options import DEFAULTS, QuantizerOptions
from edgeyolo.errors import EdgeYoloError
from edgeyolo.support.silence import silence

if TYPE_CHECKING:
    import onnx

    from edgeyolo.artifact.learned_ranges import LearnedRanges
    from edgeyolo.backend.interface import CalibrationSource, ExportSource

# Asked for an older opset, torch's exporter converts back, and quietly keeps this one where it cannot.
OLDEST_DYNAMO_OPSET = 18


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
    _onnx: dict[int, Path] = field(default_factory=dict)

    def onnx(self, *, opset: int) -> Path:
        """The network as simplified ONNX with raw heads.

        At `opset` unless the user asked for another.
        """
        opset = self.opset or opset
        if opset not in self._onnx:
            path = self.workspace / f"opset{opset}.onnx"
            path.write_bytes(to_onnx(self, opset))
            self._onnx[opset] = path
        return self._onnx[opset]


def to_onnx(source: NetworkSource, opset: int) -> bytes:
    """Trace, simplify, name and check the graph; equal networks give equal bytes.

    The graph carries its own contract in `metadata_props`, for users who take the file without the manifest.
    """
    import onnx
    import onnxsim

    with silence("torch.onnx", "onnxscript", "onnx_ir"):
        model = _trace(source, opset) if opset >= OLDEST_DYNAMO_OPSET else _trace_script(source, opset)
        simplified, same = onnxsim.simplify(model)
    if not same:
        raise EdgeYoloError("onnxsim changed what the graph computes; this is a defect, please report it")
    if (found := simplified.opset_import[0].version) != opset:
        raise EdgeYoloError(f"the exporter wrote opset {found} where {opset} was asked for")
    _anonymise(simplified)
    onnx.helper.set_model_props(simplified, _metadata(source))
    simplified.producer_name, simplified.producer_version = "edgeyolo", ""
    # The oldest file version that can hold this opset: runtimes refuse newer ones than they know.
    simplified.ir_version = onnx.helper.find_min_ir_version_for(list(simplified.opset_import))
    onnx.checker.check_model(simplified, full_check=True)
    return bytes(simplified.SerializeToString(deterministic=True))


def _trace(source: NetworkSource, opset: int) -> onnx.ModelProto:
    import torch

    contract, shapes = source.input, None
    batch = contract.batch
    if contract.dynamic_batch:
        # An example batch of 1 would make torch.export take the batch for a constant.
        batch = max(2, batch)
        shapes = ({0: torch.export.Dim("batch", min=1, max=contract.max_batch)},)
    program = torch.onnx.export(
        source.network,
        (torch.zeros(contract.shape(batch)),),
        dynamo=True,
        opset_version=opset,
        external_data=False,
        input_names=[contract.name],
        output_names=list(source.output.names),
        dynamic_shapes=shapes,
        verbose=False,
    )
    assert program is not None  # only a traced program to a file returns None
    return program.model_proto


def _trace_script(source: NetworkSource, opset: int) -> onnx.ModelProto:
    """Trace with torch's older exporter.

    It writes the opsets that runtimes of 2022 read.
    """
    import onnx
    import torch

    contract, file = source.input, source.workspace / f"traced{opset}.onnx"
    ports = [contract.name, *source.output.names]
    torch.onnx.export(
        source.network,
        (torch.zeros(contract.shape()),),
        file,
        dynamo=False,
        opset_version=opset,
        input_names=ports[:1],
        output_names=ports[1:],
        dynamic_axes={name: {0: "batch"} for name in ports} if contract.dynamic_batch else None,
    )
    return onnx.load(file)


def _metadata(source: NetworkSource) -> dict[str, str]:
    return {
        "class_names": json.dumps(source.class_names, ensure_ascii=False),
        "strides": json.dumps(source.output.strides),
        "anchors": json.dumps(source.output.anchors),
        "color_order": source.input.color_order,
        "scale": repr(source.input.scale),
        "output": "raw head maps before the sigmoid: anchor-major x, y, w, h, objectness, classes",
    }


def _anonymise(model: onnx.ModelProto) -> None:
    """Drop what the tracer notes of the machine it ran on.

    Stack traces with paths, and doc strings.
    """
    for holder in [
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        model.graph,
    ]:
        del holder.metadata_props[:]
        holder.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


def edge_contracts(source: ExportSource) -> tuple[InputContract, OutputContract]:
    """Contracts of a file for `source`.

    They hold where the backend follows all that was asked for.
    """
    return source.input.of_pixels() if source.pixels else source.input, source.detections or source.output
