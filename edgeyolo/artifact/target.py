"""Targets: where a network is going, in one word such as `cpu-onnx-fp32`."""

from __future__ import annotations

from dataclasses import dataclass

from edgeyolo.errors import UsageError


@dataclass(frozen=True)
class Target:
    """A device, the runtime on it and the precision.

    "jetson-trt-fp16" -> ("jetson", "trt", "fp16").
    """

    device: str
    runtime: str
    precision: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `device-runtime-precision`.

        Whether the target exists is for `registry.find_target` to say.
        """
        parts = text.strip().lower().split("-")
        if len(parts) != 3 or not all(parts):
            raise UsageError(
                f"target {text!r}: expected device-runtime-precision, for example cpu-onnx-fp32",
                hint="`edgeyolo targets` lists the targets.",
            )
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.device}-{self.runtime}-{self.precision}"
