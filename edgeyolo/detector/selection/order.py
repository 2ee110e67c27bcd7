"""Targets that are possible on a device, and their documented order.

The one expected to be fastest comes first.

Between classes the order decides: a GPU or an accelerator before the processor. Within the best class that is
usable, the first few are measured (`edgeyolo.detector.selection.measure`), and the order decides only where
nothing was.

    1  NVIDIA GPUs, by an engine built for the GPU             *-trt-fp16
    2  NVIDIA GPUs, by torch                                   cuda-torch-fp16
    3  Apple Neural Engine                                     ane-coreml-fp16
    4  Intel graphics                                          gpu-openvino-fp16
    5  others of third parties
    6  the processor: OpenVINO, ONNX Runtime, torch, LiteRT on x86; ONNX Runtime, LiteRT, OpenVINO, torch on ARM
    7  Neural Compute Stick: slower than any processor of today

Integers are never chosen: their ranges come from images of the user's, and what they cost is for the user to judge.
Neither are compressed weights (int8 or palettes without calibration), which pay in accuracy what they save in memory.
Of a device's targets on one runtime, accelerators take float16, which they compute faster, and processors float32,
which they compute in any case.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry
from edgeyolo.backend.devices import Device, device_of
from edgeyolo.backend.integers_here import gain_here
from edgeyolo.backend.interface import Availability, Backend
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.detector.selection.explanation import Considered

_CLASSES = {"cuda": 1, "ane": 3, "intel:gpu": 4, "cpu": 6, "ncs": 7}
_OTHERS = 5
_ON_X86 = ("openvino", "onnx", "torch", "tflite")
_ON_ARM = ("onnx", "tflite", "openvino", "torch")
_FLOATS = ("fp32", "fp16")


def class_of(target: Target) -> int:
    """The class in the table above; lower is expected to be faster."""
    kind = device_of(target).kind
    return 2 if kind == "cuda" and target.runtime == "torch" else _CLASSES.get(kind, _OTHERS)


def rank(target: Target, machine: str = platform.machine()) -> tuple[int, int, str]:
    """Sort key of a target."""
    runtimes = _ON_ARM if machine.lower().startswith(("arm", "aarch")) else _ON_X86
    place = runtimes.index(target.runtime) if target.runtime in runtimes else len(runtimes)
    return class_of(target), place, str(target)


def candidates(device: Device) -> tuple[list[Target], list[Considered]]:
    """Possible targets on `device` in order, and the others with reasons."""
    states: dict[tuple[str, Device], tuple[Availability, Availability]] = {}
    takes: list[Target] = []
    refused: list[Considered] = []
    everything = registry.profiles()
    for profile, backend in everything:
        target = profile.target
        if reason := _unwanted(profile, device, everything):
            refused.append(Considered(str(target), False, reason, unwanted=True))
        elif reason := _unavailable(backend, device, states):
            refused.append(Considered(str(target), False, reason))
        else:
            takes.append(target)
    refused += [
        Considered(item.name, False, f"the backend does not load: {item.reason}")
        for item in registry.broken()
    ]
    return sorted(takes, key=rank), refused


def _unwanted(profile: TargetProfile, device: Device, everything: list[tuple[TargetProfile, Backend]]) -> str:
    """Reason why a target is not considered; "" where it is.

    It holds whatever is installed.
    """
    target = profile.target
    if not device.admits(target):
        return f"not for the device {device}"
    if profile.calibrated:
        gain = gain_here(target)
        faster = f" (on processors like this one {gain:g} times as fast as float32)" if gain else ""
        return (
            "quantized from calibration images, so it is never chosen without being asked for: "
            f"edgeyolo export WEIGHTS --target {target} --calib DATA{faster}"
        )
    if target.precision not in _FLOATS:
        return f"{target.precision} costs accuracy, so it is never chosen without being asked for"
    return _other_machine(target) or _dominated(target, everything)


def _other_machine(target: Target) -> str:
    """Targets of one device whose engines would be built for a GPU of another kind."""
    if target.device == "jetson" and not _is_jetson():
        return "for a Jetson, which this is not"
    if target.runtime == "trt" and target.device != "jetson" and _is_jetson():
        return "for GPUs on cards; this is a Jetson"
    if target.runtime == "trt" and target.device == "v100":
        return "gpu-trt-fp16 builds the same engine on this machine"
    return ""


def _dominated(target: Target, everything: list[tuple[TargetProfile, Backend]]) -> str:
    better = "fp32" if target.device == "cpu" else "fp16"
    same = f"{target.device}-{target.runtime}-{better}"
    known = {str(profile.target) for profile, _ in everything}
    return f"{same} is as fast or faster" if target.precision != better and same in known else ""


def _unavailable(
    backend: Backend, device: Device, states: dict[tuple[str, Device], tuple[Availability, Availability]]
) -> str:
    key = (backend.name, device)
    if key not in states:
        states[key] = backend.can_compile(), registry.placed(backend, device).can_run()
    makes, runs = states[key]
    for verb, found in (("run", runs), ("be made", makes)):
        if not found.ok:
            return f"cannot {verb} here: {found.reason}" + (f" ({found.hint})" if found.hint else "")
    return ""


def versions(targets: list[Target], device: Device) -> Mapping[str, str]:
    """Versions of the runtimes of some targets, by backend.

    GPUs share the one version that there is.
    """
    found = {}
    for target in targets:
        backend = registry.placed(registry.find_target(target)[1], device)
        found[backend.name] = backend.can_run().version
    return dict(sorted(found.items()))


def _is_jetson() -> bool:
    """NVIDIA's boards say so in the device tree, and every JetPack leaves this file."""
    return Path("/etc/nv_tegra_release").exists() or Path("/proc/device-tree/nvidia,dtsfilename").exists()
