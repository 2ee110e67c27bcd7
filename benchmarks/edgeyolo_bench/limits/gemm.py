"""Speed of matrix products on this machine.

Each arithmetic, by every library that is installed.

A limit must not be set too low, so the fastest library and the fastest run count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

Multiply = Callable[[], object]

# A product that takes milliseconds is interrupted wherever anything else runs, and one interrupted thread holds up all:
# on two cores at loads of 2.6 to 5.9 those of side 1024 reached 47 to 189 billion operations a second in float32, those
# of side 384 209 to 218. Large ones keep many cores busy; no powers of two, as 1024 reached 188 at most where 768
# reached 215 and 1536 207.
SIDES = (384, 768, 1536)
_ELEMENT = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}  # onnx.TensorProto.DataType


@dataclass(frozen=True)
class Peak:
    """Peak speed of a library.

    `gops` are billions of operations a second, two per multiply-add, reached by library `by`.
    """

    gops: float
    by: str


def gemm_peaks(
    threads: int, *, sides: tuple[int, ...] = SIDES, seconds: float = 0.3
) -> dict[str, tuple[Peak, ...]]:
    """Peaks of each arithmetic by library, fastest first.

    Keys are "fp32", "bf16", "int8"; a peak is the most that a library reaches at any of the sizes.

    Square matrices of each of `sides`; numpy's own threads are set by the environment before it is loaded.
    """
    found: dict[str, dict[str, float]] = {}
    for side in sides:
        for arithmetic, by, multiply in _multiplications(threads, side):
            rate, reached = 2 * side**3 / fastest(multiply, seconds) / 1e9, found.setdefault(arithmetic, {})
            reached[by] = max(rate, reached.get(by, 0.0))
    return {
        name: tuple(sorted((Peak(rate, by) for by, rate in reached.items()), key=lambda peak: -peak.gops))
        for name, reached in found.items()
    }


def fastest(call: Callable[[], object], seconds: float, least: int = 5) -> float:
    """Seconds of the fastest of several calls.

    At least `least` calls are made, which take at least `seconds` together.
    """
    call()
    best, done, end = float("inf"), 0, time.perf_counter() + seconds
    while done < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best, done = min(best, time.perf_counter() - start), done + 1
    return best


def _multiplications(threads: int, side: int) -> Iterator[tuple[str, str, Multiply]]:
    rng = np.random.default_rng(0)
    a = rng.random((side, side), np.float32)
    out = np.empty_like(a)
    yield "fp32", "numpy", lambda: np.matmul(a, a, out=out)
    for library in (_onnxruntime, _openvino, _torch):
        try:
            made = list(library(threads, a))
        except ImportError:  # not installed: the limit is what the others reach
            continue
        yield from made
        if library is _openvino:
            return  # torch takes seconds to load and multiplies with the same library underneath, oneDNN


def _onnxruntime(threads: int, a: Any) -> Iterator[tuple[str, str, Multiply]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    pixels, weights = (a * 255).astype(np.uint8), (a * 254 - 127).astype(np.int8)
    for arithmetic, operator, feed in (
        ("fp32", "MatMul", {"a": a, "b": a}),
        ("int8", "MatMulInteger", {"a": pixels, "b": weights}),
    ):
        types = tuple(str(value.dtype) for value in feed.values())
        model = matmul_model(operator, types, "float32" if arithmetic == "fp32" else "int32", len(a))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        yield arithmetic, "onnxruntime", partial(session.run, None, feed)


def _openvino(threads: int, a: Any) -> Iterator[tuple[str, str, Multiply]]:
    import openvino
    from openvino import opset13 as operators

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    for arithmetic, hint in (("fp32", "f32"), ("bf16", "bf16"), ("int8", "f32")):
        if arithmetic == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            continue
        x: Any = operators.parameter(a.shape, np.float32)
        left, right = x, operators.constant(a - 0.5)
        if arithmetic == "int8":  # the plugin multiplies in integers what stands between such quantizers
            left = operators.fake_quantize(x, *map(np.float32, (0, 1, 0, 1)), 256)
            right = operators.fake_quantize(right, *map(np.float32, (-0.5, 0.5, -0.5, 0.5)), 255)
        model = openvino.Model([operators.matmul(left, right, False, False)], [x])
        request = core.compile_model(model, "CPU", settings | {"INFERENCE_PRECISION_HINT": hint})
        request = request.create_infer_request()
        request.set_input_tensor(openvino.Tensor(a))
        yield arithmetic, "openvino", request.infer


def _torch(threads: int, a: Any) -> Iterator[tuple[str, str, Multiply]]:
    import torch

    torch.set_num_threads(threads)
    floats = torch.from_numpy(a)
    half = floats.bfloat16()
    yield "fp32", "torch", lambda: floats @ floats
    yield "bf16", "torch", lambda: half @ half


def matmul_model(operator: str, types: tuple[str, ...], result: str, side: int) -> bytes:
    """ONNX file of one matrix product of square inputs "a" and "b".

    It is made without the onnx package.

    Field numbers are those of onnx.proto; `types` and `result` are numpy's names.
    """

    def value(name: str, kind: str) -> bytes:
        shape = _field(2, _field(1, _field(1, side)) * 2)
        return _field(1, name.encode()) + _field(2, _field(1, _field(1, _ELEMENT[kind]) + shape))

    node = _field(1, b"a") + _field(1, b"b") + _field(2, b"c") + _field(4, operator.encode())
    inputs = b"".join(_field(11, value(name, kind)) for name, kind in zip("ab", types, strict=True))
    graph = _field(1, node) + _field(2, b"product") + inputs + _field(12, value("c", result))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))


def _field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])
