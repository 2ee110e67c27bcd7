"""Facts of NVIDIA's devices and TensorRT's versions, each with its source.

Release notes: https://docs.nvidia.com/deeplearning/tensorrt/ ("Archives" for the older ones).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]

# The first version with execute_async_v3, set_tensor_address and num_io_tensors, on which everything here stands.
# Source: TensorRT 8.5.1 release notes (enqueueV3 and I/O tensors by name); the bindings of 8.5.3 have them.
MINIMUM: Version = (8, 5)

# The ONNX parsers of 8.5 and 8.6 read operators up to opset 17, 10.15 up to 24, 11.x up to 25.
# Source: onnx/onnx-tensorrt, docs/operators.md of each release; TensorRT 11 documentation, "ONNX Opset Guide".
OPSET = 17

# From this opset on a QuantizeLinear takes float16 and a DequantizeLinear gives it, by their scale's type; parsers of
# TensorRT 10 and newer read it and keep that type. Source: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html
# (version 19); onnx/onnx-tensorrt, onnxOpImporters.cpp, QuantDequantLinearHelper, and docs/operators.md of 10.0-GA.
TYPED_OPSET = 19


@dataclass(frozen=True)
class Generation:
    """GPUs that TensorRT left behind.

    TensorRT does not run on `lowest` ... `highest` from version `removed` on.

    `lowest` and `highest` are compute capabilities (major, minor), both included.
    """

    name: str
    lowest: tuple[int, int]
    highest: tuple[int, int]
    removed: Version
    source: str

    def covers(self, compute_capability: tuple[int, int]) -> bool:
        """Return True if a GPU of this compute capability is one of these."""
        return self.lowest <= compute_capability <= self.highest


VOLTA = Generation(
    "Volta (V100)", (7, 0), (7, 0), (10, 5),
    'TensorRT 10.5.0 release notes: "NVIDIA Volta support (GPUs with compute capability 7.0) has been removed '
    'starting with TensorRT 10.5"; the last version for it is 10.4',
)  # fmt: skip
GENERATIONS = (
    Generation(
        "Kepler", (3, 0), (3, 7), (8, 6),
        'TensorRT 8.5.2 release notes: "8.5 will be the last release supporting NVIDIA Kepler (SM 3.x)"',
    ),
    Generation(
        "Maxwell", (5, 0), (5, 3), (9, 0),
        'TensorRT 8.5.2 release notes: "Support for Maxwell (SM 5.x) devices will be dropped in TensorRT 9.0"',
    ),
    Generation(
        "Pascal", (6, 0), (6, 2), (10, 0),
        'TensorRT 10.1.0 support matrix: "compiled to support all NVIDIA hardware with capability SM 7.0 or higher"',
    ),
    VOLTA,
)  # fmt: skip


@dataclass(frozen=True)
class JetPack:
    """Software of a JetPack release.

    `python` is the version its own `tensorrt` module is built for.
    """

    versions: str
    tensorrt: str
    python: str
    source: str


JETPACKS = (
    JetPack("5.1", "8.5.2", "3.8", "JetPack 5.1 release notes; Ubuntu 20.04"),
    JetPack("6.0", "8.6.2", "3.10", "JetPack 6.0 release notes; Ubuntu 22.04"),
    JetPack("6.1 and 6.2", "10.3.0", "3.10", "Torch-TensorRT documentation, 'Torch-TensorRT in JetPack'"),
    JetPack("7.2.2", "11.4.1", "3.12", "TensorRT 11.4.1 release notes; Ubuntu 24.04"),
)

# The deep-learning accelerators of Xavier and Orin. "TensorRT 10.7 was the last 10.x release that supported DLA";
# "TensorRT 11.4.1 supports DLA on NVIDIA Jetson AGX Orin when using NVIDIA JetPack 7.2.2 or later", strongly typed.
# Source: TensorRT 11.4.1 documentation, "Working with DLA".
DLA_VERSIONS: tuple[tuple[Version, Version], ...] = (((8, 5), (10, 8)), ((11, 4, 1), (12,)))


def version_tuple(text: str) -> Version:
    """ "10.14.1.48.post1" -> (10, 14, 1, 48): the leading numbers.

    () where there is none.
    """
    numbers = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()


def version_text(version: Version) -> str:
    """(10, 5) -> "10.5"."""
    return ".".join(str(part) for part in version)


def generation_of(compute_capability: tuple[int, int]) -> Generation | None:
    """The generation of a GPU that TensorRT has left behind or will have.

    None for those it still serves.
    """
    return next((item for item in GENERATIONS if item.covers(compute_capability)), None)


def supports_dla(version: Version) -> bool:
    """Return True if this TensorRT version builds for DLA at all.

    The device must have one too.
    """
    return any(first <= version < end for first, end in DLA_VERSIONS)
