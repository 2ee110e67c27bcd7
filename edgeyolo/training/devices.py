"""Devices and precisions of training.

They settle where a run computes, in which precision by default, and in which it is fast.
"""

from __future__ import annotations

import torch

from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.training.config import Precision


def find_device(name: str | None = None) -> str:
    """torch's name of a device that is there: "cpu", "cuda:0" (also as "0"), "mps".

    The default is the first GPU, else the CPU.
    """
    if name is None:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{name}" if name.isascii() and name.isdecimal() else name)
    except RuntimeError as error:
        raise UsageError(
            f"device {name!r} is not known", hint="Use cpu, mps, or the number of a GPU, such as 0."
        ) from error
    if device.type == "cpu":
        return "cpu"
    if device.type == "mps" and torch.backends.mps.is_available():
        return "mps"
    if device.type == "cuda" and torch.cuda.is_available():
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UsageError(f"device {name!r}: this machine has {count} GPUs, numbered from 0")
        return f"cuda:{device.index or 0}"
    raise RuntimeMissingError(
        f"device {name!r}: torch {torch.__version__} finds none here",
        hint="Use --device cpu, or install torch for this device.",
    )


def default_precision(device: str) -> Precision:
    """bf16 where the device computes fast in it; else fp16 on a GPU, fp32 elsewhere.

    On a CPU with AVX512-BF16 a step takes two thirds of the time (benchmarks/results/step-variants.md), and fine-tuning
    gave the same AP within 0.0013. Of other CPUs' bfloat16 nothing was measured, so they have fp32.
    """
    if device == "cpu":
        return "bf16" if _capabilities().get("avx512_bf16", False) else "fp32"
    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _capabilities() -> dict[str, bool]:
    """Instructions of the processor by name; empty where torch is too old to say."""
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}


def multiplies_bfloat16() -> bool:
    """Return True if the processor has instructions for bfloat16.

    Without them torch's convolutions in bf16 take about ten times as long as in fp32. True where torch is too
    old to say.
    """
    if not hasattr(torch.cpu, "get_capabilities"):
        return True
    found = _capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
