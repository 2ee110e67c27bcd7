"""Devices by the names that users give them: auto, cpu, cuda:1, intel:gpu, tpu ...

| name                        | is                                           | targets                          |
|-----------------------------|----------------------------------------------|----------------------------------|
| auto                        | the fastest that is usable here              | all                              |
| cpu                         | the processor                                | cpu-*                            |
| cuda, cuda:N, N, nvidia     | an NVIDIA GPU, Jetson's too                  | cuda-*, gpu-trt-*, jetson-*, v100-* |
| gpu, gpu:N                  | any GPU, NVIDIA's or Intel's                 | those, and gpu-openvino-*        |
| intel:gpu, intel:gpu:N      | Intel graphics                               | gpu-openvino-*                   |
| intel:npu, npu              | the neural processor of Intel Core Ultra     | npu-*                            |
| tpu, tpu:N                  | a Coral edge TPU                             | edgetpu-*                        |
| ane                         | the Apple Neural Engine                      | ane-*                            |
| dla:N                       | a deep-learning accelerator of a Jetson      | jetson-*                         |
| ncs                         | a Neural Compute Stick                       | ncs-*                            |
| hexagon                     | the NPU of a Qualcomm chip                   | hexagon-*                        |

A backend of a third party brings the device of its own targets: `hailo` for `hailo-hailort-int8`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgeyolo.artifact.target import Target
from edgeyolo.errors import UsageError

NAMES = {
    "auto": "auto",
    "cpu": "cpu",
    "cuda": "cuda",
    "nvidia": "cuda",
    "gpu": "gpu",
    "intel:gpu": "intel:gpu",
    "intel:npu": "intel:npu",
    "npu": "intel:npu",
    "tpu": "tpu",
    "edgetpu": "tpu",
    "ane": "ane",
    "dla": "dla",
    "ncs": "ncs",
    "myriad": "ncs",
    "hexagon": "hexagon",
}
_SINGLE = ("auto", "cpu", "intel:npu", "ane", "ncs", "hexagon")  # there is one of them, so it has no number
_TARGET_DEVICES = {"intel:npu": "npu", "tpu": "edgetpu", "dla": "jetson"}  # others are called as in targets
EXAMPLES = "auto, cpu, cuda, cuda:1, gpu, intel:gpu, intel:npu, tpu, ane, dla:0, ncs, hexagon"


@dataclass(frozen=True)
class Device:
    """A kind of device and, where there may be several of it, the number of one.

    "cuda:1" -> ("cuda", 1).
    """

    kind: str
    index: int | None = None

    @classmethod
    def parse(cls, value: str | int | Device, *, others: Collection[str] = ()) -> Device:
        """Read a name of the table, or one of `others`.

        A number alone is an NVIDIA GPU's, as torch counts them.

        `registry.parse_device` gives the devices of third parties' targets as `others`.

        Raises UsageError for a name that is none, with the nearest ones.
        """
        if isinstance(value, Device):
            return value
        text = str(value).strip().lower()
        if text.isdecimal() and not isinstance(value, bool):
            return cls("cuda", int(text))
        name, _, number = text.rpartition(":")
        if not number.isdecimal():
            name, number = text, ""
        kind = NAMES.get(name) or (name if name in others else None)
        if kind is None or (number and kind in _SINGLE):
            raise UsageError(f"device {value!r}: {_complaint(name, kind)}", hint=_hint(text))
        return cls(kind, int(number) if number else 0 if kind == "dla" else None)

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    def admits(self, target: Target) -> bool:
        """Return True if artifacts for `target` run on this device."""
        nvidia = target.runtime == "trt" or target.device == "cuda"
        if self.kind == "auto":
            return True
        if self.kind in ("cuda", "gpu", "intel:gpu"):
            intel = target.device == "gpu" and not nvidia
            return (nvidia and self.kind != "intel:gpu") or (intel and self.kind != "cuda")
        return target.device == _TARGET_DEVICES.get(self.kind, self.kind)


def device_of(target: Target) -> Device:
    """The device that a target is for."""
    if target.runtime == "trt" or target.device == "cuda":
        return Device("cuda")
    names = {"gpu": "intel:gpu", "npu": "intel:npu", "edgetpu": "tpu"}
    return Device(names.get(target.device, target.device))


def _complaint(name: str, kind: str | None) -> str:
    return f"there is one {name} only, and it has no number" if kind else "there is no device of that name"


def _hint(text: str) -> str:
    import difflib

    near = difflib.get_close_matches(text, NAMES, n=2, cutoff=0.6)
    return (f"Did you mean {' or '.join(near)}? " if near else "") + f"Devices are {EXAMPLES}."
