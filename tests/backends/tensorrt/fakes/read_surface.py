"""Reads names, arguments and enumeration values out of the real Python modules, for the fakes to be held against.

    python read_surface.py tensorrt surface.json            adds this environment's TensorRT bindings
    python read_surface.py cuda-python surface.json         adds this environment's cuda-python

`surface.json` was made with the bindings of TensorRT 8.5.3.1, 8.6.1, 10.3.0, 10.4.0, 10.16.1.11, 11.0.0.114 and
11.4.0.106 and with cuda-python 11.8.7, 12.6.0, 12.9.10 and 13.4.4. It holds facts about interfaces, no text of theirs.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path

CLASSES = (
    "Builder", "IBuilderConfig", "INetworkDefinition", "ITensor", "OnnxParser", "ParserError", "Runtime", "ICudaEngine",
    "IExecutionContext", "IOptimizationProfile", "ITimingCache", "IHostMemory", "ILogger", "IProgressMonitor",
)  # fmt: skip
ENUMS = (
    "ILogger.Severity", "BuilderFlag", "NetworkDefinitionCreationFlag", "MemoryPoolType", "TensorIOMode", "DataType",
    "DeviceType", "ErrorCode", "TensorLocation",
)  # fmt: skip
CUDA_FUNCTIONS = (
    "cudaGetDeviceCount", "cudaSetDevice", "cudaGetDeviceProperties", "cudaDriverGetVersion",
    "cudaStreamCreateWithFlags", "cudaStreamDestroy", "cudaStreamSynchronize",
    "cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost",
    "cudaMemcpyAsync", "cudaGetErrorName", "cudaGetErrorString", "cudaGetLastError", "cudaStreamBeginCapture",
    "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphInstantiateWithFlags", "cudaGraphLaunch",
    "cudaGraphExecDestroy", "cudaGraphDestroy",
)  # fmt: skip
CUDA_CONSTANTS = (
    "cudaError_t.cudaSuccess", "cudaError_t.cudaErrorInvalidValue", "cudaError_t.cudaErrorMemoryAllocation",
    "cudaError_t.cudaErrorInsufficientDriver", "cudaError_t.cudaErrorNoDevice", "cudaError_t.cudaErrorInvalidDevice",
    "cudaError_t.cudaErrorInvalidResourceHandle", "cudaError_t.cudaErrorIllegalAddress",
    "cudaError_t.cudaErrorStreamCaptureUnsupported", "cudaError_t.cudaErrorStreamCaptureInvalidated",
    "cudaMemcpyKind.cudaMemcpyHostToDevice", "cudaMemcpyKind.cudaMemcpyDeviceToHost",
    "cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal", "cudaStreamNonBlocking", "cudaHostAllocDefault",
)  # fmt: skip


def arguments(doc: str, name: str) -> list[list[str]]:
    """The argument names of each overload, `self` left out, from the signatures in a docstring."""
    found = []
    for line in doc.splitlines():
        match = re.match(rf"(?:\d+\. )?{re.escape(name)}\((.*)\)(?: -> .*)?$", line.strip())
        if match and match.group(1) != "*args, **kwargs":
            text = re.sub(r"<[^<>]*>", "", match.group(1))
            while (shorter := re.sub(r"\[[^\[\]]*\]", "", text)) != text:
                text = shorter
            parts = [part for part in text.split(",") if part.strip()]
            names = [part.split("=")[0].split(":")[0].split()[-1].lstrip("*") for part in parts]
            found.append([each for each in names if each not in ("self", "/")])
    return found


def members(kind: type) -> dict[str, str | list[list[str]]]:
    """Methods with the argument names of every overload; properties as "rw" or "ro"."""
    names = [name for name in dir(kind) if not name.startswith("_") and not name.startswith("add_")]
    names += ["add_optimization_profile"] if hasattr(kind, "add_optimization_profile") else []
    return {name: member(getattr(kind, name), name) for name in names}


def member(value: object, name: str) -> str | list[list[str]]:
    if isinstance(value, property):
        return "rw" if value.fset else "ro"
    return arguments(value.__doc__ or "", name)


def resolve(module: object, dotted: str) -> object:
    for part in dotted.split("."):
        module = getattr(module, part, None)
    return module


def tensorrt_surface(module: object) -> dict[str, object]:
    classes = {name: members(kind) for name in CLASSES if isinstance(kind := resolve(module, name), type)}
    enums = {
        name: {key: int(value) for key, value in kind.__members__.items()}  # type: ignore[attr-defined]
        for name in ENUMS
        if (kind := resolve(module, name)) is not None
    }
    return {"classes": classes, "enums": enums}


def cuda_surface(module: object) -> dict[str, object]:
    functions = {
        name: arguments((function.__doc__ or "").splitlines()[0], name)
        for name in CUDA_FUNCTIONS
        if (function := getattr(module, name, None)) is not None
    }
    return {
        "functions": functions,
        "constants": {name: int(resolve(module, name)) for name in CUDA_CONSTANTS},
    }  # type: ignore[call-overload]


def main(kind: str, file: str) -> None:
    path = Path(file)
    known = json.loads(path.read_text()) if path.is_file() else {}
    if kind == "tensorrt":
        module = import_module("tensorrt")
        known.setdefault(kind, {})[module.__version__] = tensorrt_surface(module)
    else:
        try:
            module = import_module("cuda.bindings.runtime")
        except ModuleNotFoundError:
            module = import_module("cuda.cudart")
        version = import_module(module.__package__ or "cuda").__version__
        known.setdefault(kind, {})[version] = cuda_surface(module) | {"module": module.__name__}
    path.write_text(json.dumps(known, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
