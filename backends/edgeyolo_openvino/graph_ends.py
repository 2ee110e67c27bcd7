"""The edges of an `ov.Model`.

Preprocessing by OpenVINO, and the suppression that every runtime gets.

They come behind NNCF and behind float16: see `edgeyolo.export.graph_ends`.
"""

from __future__ import annotations

import importlib
from typing import Any

from edgeyolo.artifact.contracts import GraphDetections, InputContract
from edgeyolo.backend.interface import ExportSource
from edgeyolo_openvino import runtime


def with_graph_ends(model: Any, source: ExportSource, opset: int) -> Any:
    """A network whose contracts are those of `edge_contracts(source)`.

    It starts as one of the contracts `source.input` and `source.output`.
    """
    if source.detections:
        model = _with_suppression(model, source, source.detections, opset)
    if source.pixels:
        model = _with_pixels(model, source.input)
    return model


def _with_suppression(model: Any, source: ExportSource, given: GraphDetections, opset: int) -> Any:
    """Join the suppression to the network.

    Where it takes a map, it gets what the network gives under that name.
    """
    from edgeyolo.export.for_backends import suppression_graph

    ov = runtime.load()
    tail = read_suppression(suppression_graph(source.output, given, source.input, opset).SerializeToString())
    for parameter in tail.get_parameters():
        (name,) = parameter.output(0).get_names()
        maps = model.output(name).get_node().input_value(0)
        parameter.output(0).replace(maps)
        maps.get_tensor().set_names({name})
    return ov.Model(tail.get_results(), model.get_parameters(), model.get_friendly_name())


def read_suppression(graph: bytes) -> Any:
    """The graph as an `ov.Model`.

    ONNX says that of equal values the first come first; OpenVINO's reader forgets it.
    """
    model = runtime.load().Core().read_model(graph)
    opset = importlib.import_module("openvino.opset11")
    for node in model.get_ordered_ops():
        if node.get_type_name() != "TopK" or node.get_attributes()["stable"]:
            continue
        said = node.get_attributes() | {"stable": True}
        stable = opset.topk(node.input_value(0), node.input_value(1), **said)
        stable.set_friendly_name(node.get_friendly_name())
        for old, new in zip(node.outputs(), stable.outputs(), strict=True):
            new.get_tensor().set_names(old.get_tensor().get_names())
            old.replace(new)
    return model


def _with_pixels(model: Any, contract: InputContract) -> Any:
    """Let the network take `contract.of_pixels()`.

    OpenVINO folds the conversion into its first operators.
    """
    ov = runtime.load()
    given, layouts = contract.of_pixels(), ov.preprocess
    ports = layouts.PrePostProcessor(model)
    port = ports.input(contract.name)
    port.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout(given.layout))
    port.tensor().set_color_format(_format(given.color_order))
    port.model().set_layout(ov.Layout(contract.layout))
    steps = port.preprocess().convert_color(_format(contract.color_order)).convert_element_type(ov.Type.f32)
    steps.scale(1 / contract.scale)
    return ports.build()


def _format(order: str) -> Any:
    return getattr(runtime.load().preprocess.ColorFormat, order)
