"""Worth of integers on this processor."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from types import MappingProxyType

from edgeyolo.artifact.target import Target
from edgeyolo.support.machine import integer_instructions

GAINS: Mapping[bool, Mapping[str, float]] = MappingProxyType(
    {
        True: MappingProxyType({"openvino": 3.0, "onnx": 2.2}),
        False: MappingProxyType({"openvino": 1.8, "onnx": 1.1}),
    }
)
"""Times that INT8 is faster than float32 on x86, by whether the processor has VNNI: yolov7-tiny at 640 pixels on two
cores of AMD EPYC (benchmarks/results/integers-speed-640.md, integers-speed-640-avx2.md)."""

WORTH = 1.5
"""A smaller gain is not worth what integers cost in AP."""

Instructions = frozenset[str]


def integers_here(machine: str = platform.machine(), found: Instructions | None = None) -> str:
    """Sentence on the worth of INT8 on this kind of processor.

    It is "" where the system does not tell.

    `found` are its instructions for integers, by default as the system tells.
    """
    found = integer_instructions() if found is None else found
    if found is None:
        return ""
    if not _is_x86(machine):
        if found:
            return f"INT8: this processor has {', '.join(sorted(found))}; edgeyolo bench measures what that gains"
        return "INT8: this processor has no dot products of integers; float32 or float16 may be as fast"
    measured = ", ".join(f"{runtime} {gain:g}x" for runtime, gain in GAINS[bool(found)].items())
    poor = [runtime for runtime, gain in GAINS[bool(found)].items() if gain < WORTH]
    advice = f"; by {' and '.join(poor)} it is not worth its AP" if poor else ""
    kind = "with VNNI" if found else "without VNNI"
    return f"INT8 on a processor {kind}, as this one: {measured} the speed of float32{advice}"


def gain_here(
    target: Target, machine: str = platform.machine(), found: Instructions | None = None
) -> float | None:
    """Measured gain of an INT8 target over float32 on this kind of processor.

    How many times it is faster.

    None for other targets, and where nothing was measured.
    """
    found = integer_instructions() if found is None else found
    if found is None or target.device != "cpu" or target.precision != "int8" or not _is_x86(machine):
        return None
    return GAINS[bool(found)].get(target.runtime)


def gain_remark(target: Target, machine: str = platform.machine(), found: Instructions | None = None) -> str:
    """Remark for an INT8 target that gains little here; "" for others."""
    gain = gain_here(target, machine, found)
    if gain is None or gain >= WORTH:
        return ""
    gains = GAINS[bool(integer_instructions() if found is None else found)]
    better = max(gains, key=lambda runtime: gains[runtime])
    return (
        f"{target} gains little on processors like this one: {gain:g} times the speed of float32 was measured, and "
        f"{gains[better]:g} by cpu-{better}-int8"
    )


def _is_x86(machine: str) -> bool:
    return machine.lower() in {"x86_64", "amd64"}
