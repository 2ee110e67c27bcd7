"""Putting fake modules where `import` finds them."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from tensorrt_fakes.cuda_python_fake import make_cuda_python
from tensorrt_fakes.machine import Machine
from tensorrt_fakes.pycuda_fake import make_pycuda
from tensorrt_fakes.surface import CUDA_PYTHON
from tensorrt_fakes.tensorrt_fake import make_tensorrt

NAMES = (
    "cuda",
    "cuda.bindings",
    "cuda.bindings.runtime",
    "cuda.cudart",
    "pycuda",
    "pycuda.driver",
    "tensorrt",
)


def install(patch: pytest.MonkeyPatch, machine: Machine, *, tensorrt: str | None, cuda: str | None) -> None:
    """Make `import tensorrt` and the CUDA packages give fakes on `machine`, or nothing where None.

    `tensorrt` and "cuda-python VERSION" are versions in surface.json; `cuda` may be "pycuda".
    """
    modules: dict[str, ModuleType | None] = dict.fromkeys(NAMES)
    if tensorrt:
        modules["tensorrt"] = make_tensorrt(machine, tensorrt)
    if cuda == "pycuda":
        modules |= make_pycuda(machine)
    elif cuda:
        version = cuda.removeprefix("cuda-python ")
        assert version in CUDA_PYTHON
        modules |= make_cuda_python(machine, version)
    for name, module in modules.items():
        if module is not None:
            module.__spec__ = ModuleSpec(name, None)
        patch.setitem(sys.modules, name, module)
