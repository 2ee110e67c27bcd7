"""Conversion of a torch network to a float32 TFLite file.

Channels last, raw maps out, no transpositions in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.backend.interface import ExportSource
from edgeyolo_tflite import flatbuffer, toolkit

METADATA = "edgeyolo"  # the entry of the file's metadata that holds the contract, as JSON


class ChannelsLast(nn.Module):
    """A network with channels-last images and maps.

    Images are (N, H, W, 3), maps (N, H / stride, W / stride, channels), by name.
    """

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.network(images.permute(0, 3, 1, 2))
        return {name: each.permute(0, 2, 3, 1) for name, each in zip(self.names, maps, strict=True)}


def contracts(source: ExportSource) -> tuple[InputContract, RawMaps]:
    """Contracts of the file.

    They are the source's contracts, channels last, with a fixed batch.
    """
    return (
        replace(source.input, layout="NHWC", dynamic_batch=False),
        replace(source.output, layout="NHWC"),
    )


def to_flatbuffer(source: ExportSource) -> bytes:
    """Convert, name and describe the network; equal networks give equal bytes.

    Tensors at the edges have the names of the contracts, so that they are found in files whose signature an older
    tool has dropped. The metadata entry "edgeyolo" says what the maps mean, for users without the manifest.
    """
    given, output = contracts(source)
    litert_torch = toolkit.load("litert_torch")
    wrapped = ChannelsLast(source.network, output.names).eval()
    with toolkit.quiet(), torch.inference_mode():
        converted = litert_torch.convert(
            wrapped, sample_kwargs={given.name: torch.zeros(given.shape())}, strict_export=False
        )
        data = converted.model_content()
    model = flatbuffer.read(data)
    name_edges(model, output.names)
    use_plain_resize(model)
    describe(model, METADATA, metadata(source, given, output))
    return flatbuffer.write(model)


def name_edges(model: Any, outputs: tuple[str, ...]) -> None:
    """Name the input and output tensors as the signature does.

    The outputs also get their order.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for entry in [*signature.inputs, *signature.outputs]:
        graph.tensors[entry.tensorIndex].name = flatbuffer.name(entry)
    place = {flatbuffer.name(entry): entry.tensorIndex for entry in signature.outputs}
    graph.outputs = [place[name] for name in outputs]


def use_plain_resize(model: Any) -> None:
    """Let nearest-neighbour enlargements start at pixel corners instead of centres.

    For a whole factor k, floor((i + 0.5) / k) = floor(i / k): the same pixels. The flag alone asks for version 3 of
    the operator, which compilers for the edge TPU have called an "Operation version not supported".
    """
    found = [operator for kind, operator in flatbuffer.operators(model) if kind == "RESIZE_NEAREST_NEIGHBOR"]
    if not all(_whole_factor(model, operator) for operator in found):
        return
    for operator in found:
        operator.builtinOptions.halfPixelCenters = False
        model.operatorCodes[operator.opcodeIndex].version = 1


def _whole_factor(model: Any, operator: Any) -> bool:
    (before, *_), (after,) = (flatbuffer.tensors(model, each) for each in (operator.inputs, operator.outputs))
    return not any(large % small for small, large in zip(before.shape[1:3], after.shape[1:3], strict=True))


def describe(model: Any, entry: str, values: Mapping[str, Any]) -> None:
    """Add a metadata entry with `values` as JSON.

    Runtimes skip entries that they do not know.
    """
    buffer, item = schema.BufferT(), schema.MetadataT()
    text = json.dumps(values, ensure_ascii=False, sort_keys=True)
    buffer.data = text.encode()
    item.name, item.buffer = entry, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), item]


def metadata(source: ExportSource, given: InputContract, output: RawMaps) -> dict[str, Any]:
    """The contract under the names that the ONNX files carry too."""
    return {
        "class_names": list(getattr(source, "class_names", ())),
        "strides": output.strides,
        "anchors": output.anchors,
        "color_order": given.color_order,
        "scale": given.scale,
        "output": "raw head maps before the sigmoid, channels last: anchor-major x, y, w, h, objectness, classes",
    }
