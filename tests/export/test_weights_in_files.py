"""Integers of weights in the files of several runtimes: their errors cancel, whoever rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.backend import registry  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo_bench.measure.random_weights import save_random  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph  # noqa: E402
from edgeyolo_calib.quantize.even_sums import to_nearest, with_even_sums  # noqa: E402
from edgeyolo_calib.ranges.ranges import weight_scales  # noqa: E402

from ..narrow import NARROW  # noqa: E402

Weights = Iterator[NDArray[np.int8]]


def in_onnx(folder: Path) -> Weights:
    graph = Graph(onnx.load(next(folder.glob("*.onnx"))))
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in graph.constants:
            values = graph.array(node.input[0])
            if values.ndim == 4:
                yield values


def in_openvino(folder: Path) -> Weights:
    ov = pytest.importorskip("openvino")
    for node in ov.Core().read_model(next(folder.glob("*.xml"))).get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.i8:
            yield node.data.reshape(-1, *node.data.shape[-3:])


def in_tflite(folder: Path) -> Weights:
    flatbuffer = pytest.importorskip("edgeyolo_tflite.flatbuffer", reason="needs the tflite extra")
    model = flatbuffer.read(next(folder.glob("*.tflite")).read_bytes())
    axes = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}
    for kind, operator in flatbuffer.operators(model):
        if kind in axes:
            _, weight, *_ = flatbuffer.tensors(model, operator.inputs)
            if flatbuffer.TYPES[weight.type] == "INT8":
                values = np.frombuffer(bytes(model.buffers[weight.buffer].data), np.int8)
                yield values.reshape(weight.shape).transpose(axes[kind])


def integers(weight: NDArray[np.float32], scales: NDArray[np.float32], round_to: Callable[..., Any]) -> bytes:
    levels = round_to(weight, scales) / scales.reshape(-1, 1, 1, 1)
    return bytes(np.rint(levels).astype(np.int8).tobytes())


@pytest.mark.parametrize(
    ("target", "read"),
    [("cpu-onnx-int8", in_onnx), ("cpu-openvino-int8", in_openvino), ("cpu-tflite-int8", in_tflite)],
)
def test_errors_cancel_in_what_the_file_holds(
    target: str, read: Callable[[Path], Weights], calibration: CalibrationSource, tmp_path: Path
) -> None:
    _, backend = registry.find_target(target)
    if not backend.can_compile().ok:
        pytest.skip(backend.can_compile().reason)
    weights = tmp_path / "narrow.safetensors"
    save_random(weights, NARROW, classes=3)
    floats = export(
        weights, "cpu-onnx-fp32", tmp_path / "floats", ExportOptions(size=(96, 96), unjudged=True)
    )
    options = ExportOptions(size=(96, 96), calibration=calibration, unjudged=True)
    made = export(weights, target, tmp_path / target, options)
    graph = Graph(onnx.load(floats.file(".onnx")))
    ours, nearest = set(), set()
    for weight in (graph.array(node.input[1]) for node in graph.nodes if node.op_type == "Conv"):
        ours.add(integers(weight, weight_scales(weight), with_even_sums))
        nearest.add(integers(weight, weight_scales(weight), to_nearest))
    # NNCF has another grid for what meets pixels.
    found = [each.tobytes() for each in read(made.path) if each.shape[1] != 3]
    assert len(found) >= 12
    assert set(found) <= ours
    assert len(set(found) & nearest) < len(found) / 2  # of small ones both may be the same
