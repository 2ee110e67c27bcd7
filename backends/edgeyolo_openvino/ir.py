"""ONNX to OpenVINO's own format.

`model.xml` with the graph and `model.bin` with the weights.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.errors import EdgeYoloError
from edgeyolo_openvino import runtime

FILES = ("model.xml", "model.bin")


def write_ir(
    onnx: Path,
    into: Path,
    contract: InputContract,
    *,
    half: bool,
    fold: bool = True,
    change: Callable[[Any], Any] = lambda model: model,
    finish: Callable[[Any], Any] = lambda model: model,
) -> tuple[str, ...]:
    """Write `model.xml` and `model.bin` to `into`; equal ONNX files give equal bytes.

    With `half` the weights are stored in float16, and the input and output stay float32. `change` gets the model
    (`ov.Model`) with float32 weights, `finish` gets it with those that are written; both return it as it shall be.
    `fold` computes what depends on constants alone; a quantized model's weights would become floats by it.
    """
    ov = runtime.load()
    core = ov.Core()
    try:
        # Not `convert_model`: it records where the file lay, and has a usage reporter at hand.
        model = core.read_model(str(onnx))
        if contract.dynamic_batch:
            batch = ov.Dimension(1, contract.max_batch)
            model.reshape({contract.name: ov.PartialShape([batch, *contract.shape()[1:]])})
        if fold:
            _fold_constants(model)
        _lower_interpolate(model)
        _name_by_place(model)
        model = change(model)
        if half:
            _compress(model)
        model = finish(model)
        _name_by_place(model)  # of what was put in since: NNCF leaves constants numbered
        ov.save_model(model, str(into / FILES[0]), compress_to_fp16=False)
    except RuntimeError as error:
        raise EdgeYoloError(
            f"OpenVINO {runtime.loaded_version(ov)} cannot convert the network: {runtime.reason(error)}"
        ) from error
    return FILES


def _compress(model: Any) -> None:
    """Store the weights in float16.

    What is put around the network afterwards keeps its float32.
    """
    importlib.import_module("openvino._offline_transformations").compress_model_transformation(model)


def _fold_constants(model: Any) -> None:
    """Fold the operations that the ONNX reader builds around each bias.

    They are shapes of constants; the bias alone is left.
    """
    passes = importlib.import_module("openvino.passes")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)


def _lower_interpolate(model: Any) -> None:
    """Replace Interpolate-11 by Interpolate-4.

    It says the same here, and OpenVINO 2022 reads it as well.
    """
    opset = importlib.import_module("openvino.opset10")
    for node in model.get_ordered_ops():
        info = node.get_type_info()
        if info.name != "Interpolate" or info.version_id != "opset11":
            continue
        attributes = node.get_attributes()
        scales = node.input_value(1)
        if attributes["shape_calculation_mode"] != "scales" or not scales.get_partial_shape().is_static:
            raise EdgeYoloError(f"{node.get_friendly_name()}: expected a resize by constant scales")
        rank = scales.get_shape()[0]
        # Sizes are ignored where scales decide; with a dynamic batch there are none to give.
        sizes = opset.constant([1] * rank, dtype=np.int64)
        axes = opset.constant(list(range(rank)), dtype=np.int64)
        lower = opset.interpolate(node.input_value(0), sizes, scales, axes=axes, **attributes)
        lower.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(lower.output(0))


def _name_by_place(model: Any) -> None:
    """Name the nodes that have a number for a name after their place.

    `Constant_10569` gets its name from its user and the input it feeds (`node_conv2d/1`).

    The numbers count every node the process has made, so the second file a process writes would differ.
    """
    for node in reversed(model.get_ordered_ops()):  # users before what they use
        if not re.fullmatch(r"[A-Z][A-Za-z]*_\d+", node.get_friendly_name()):
            continue
        users = [
            (port.get_node().get_friendly_name(), port.get_index())
            for output in node.outputs()
            for port in output.get_target_inputs()
        ]
        if users:
            name, index = min(users)
            node.set_friendly_name(f"{name}/{index}")
