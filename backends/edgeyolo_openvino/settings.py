"""Settings of a session.

The device, the precision of the arithmetic, latency or throughput, threads, the cache.

OpenVINO computes float32 files in bfloat16 on processors that have it, unless told otherwise: faster, and 6e-3
away from torch instead of 1e-6 (yolov7-tiny). So the precision is always pinned:

    device   fp32 targets   fp16 targets
    CPU      f32            f32: the file halves, and every processor gives the same boxes; its f16 is slower
    GPU      f32            f16
    NPU      f16            f16: all it has

The target cpu-openvino-bf16 is the choice of who wants that speed, with a budget of its own;
EDGEYOLO_OPENVINO_PRECISION=bf16 asks it of any artifact, and `edgeyolo verify` then says what it costs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeyolo.artifact.target import Target
from edgeyolo.errors import UsageError
from edgeyolo.support.files import user_cache

VARIABLES = {
    "EDGEYOLO_OPENVINO_DEVICE": "OpenVINO's device: CPU, GPU, GPU.1, NPU, AUTO, AUTO:GPU,CPU, HETERO:..., MULTI:...",
    "EDGEYOLO_OPENVINO_HINT": "latency (default) or throughput",
    "EDGEYOLO_OPENVINO_PRECISION": "f32, f16 or bf16; by default what the target promises",
    "EDGEYOLO_NCS_PYTHON": "a Python 3.9 with OpenVINO 2021.4 for the Neural Compute Stick, `none` to do without",
}

_HINTS = ("latency", "throughput")
_PRECISIONS = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Settings:
    """OpenVINO settings of one session.

    `precision` is "f32", "f16" or "bf16"; None takes each device's own for `target`. `cache` is where compiled
    kernels are kept between starts; None keeps none.
    """

    device: str
    target: Target
    hint: str = "latency"
    precision: str | None = None
    threads: int | None = None
    cache: Path | None = None

    def device_properties(self, device: str) -> dict[str, Any]:
        """The properties of one real device, such as CPU or GPU.0."""
        kind = device.partition(".")[0]
        if kind == "MYRIAD":  # float16 is all it has, and it knows none of these names
            return {}
        chosen = "bf16" if self.target.precision == "bf16" else "f32"
        own = {"CPU": chosen, "GPU": "f32" if self.target.precision == "fp32" else "f16", "NPU": "f16"}.get(
            kind, "f32"
        )
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self.precision or own}
        if kind == "CPU" and self.threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self.threads
        return properties

    def compile_properties(self) -> dict[str, Any]:
        """The properties of compiling for `device`, which may be a choice of several."""
        if self.device == "MYRIAD":
            return {}
        properties: dict[str, Any] = {"PERFORMANCE_HINT": self.hint.upper()}
        if self.cache is not None:
            properties["CACHE_DIR"] = str(self.cache)
        return properties


def chosen_device(default: str, environment: Mapping[str, str] = os.environ) -> str:
    """EDGEYOLO_OPENVINO_DEVICE, else `default`."""
    return environment.get("EDGEYOLO_OPENVINO_DEVICE", "").strip().upper() or default


def from_environment(
    target: Target, default: str, threads: int | None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings for `target`, with what EDGEYOLO_OPENVINO_* overrides.

    Compiling for the CPU takes a fraction of a second; for other devices, up to minutes, so those are cached.
    """
    device = chosen_device(default, environment)
    cache = None if device in ("CPU", "MYRIAD") else _cache()
    hint = _word("EDGEYOLO_OPENVINO_HINT", _HINTS, environment) or "latency"
    precision = _word("EDGEYOLO_OPENVINO_PRECISION", _PRECISIONS, environment)
    return Settings(device, target, hint, precision, threads, cache)


def _cache() -> Path | None:
    """The folder for compiled kernels.

    None where it cannot be written: a read-only robot starts slower, but starts.
    """
    folder = user_cache() / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _word(name: str, allowed: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    value = environment.get(name, "").strip().lower()
    if value and value not in allowed:
        raise UsageError(
            f"{name}={value!r}: expected {' or '.join(allowed)}", hint=f"Correct or unset {name}."
        )
    return value or None
