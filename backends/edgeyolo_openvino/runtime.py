"""The openvino package of any generation, and the devices it sees."""

from __future__ import annotations

import importlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from importlib.util import find_spec
from typing import Any

from edgeyolo.backend.interface import Availability
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.install import install_hint

OLDEST_RUN = (2022, 1)  # API 2.0
OLDEST_COMPILE = (2023, 1)  # `save_model`
INSTALL = install_hint("openvino")

_VIRTUAL = ("AUTO", "MULTI", "HETERO", "BATCH")  # names that stand for a choice of real devices
_DRIVERS = {
    "GPU": "Intel graphics need the OpenCL runtime (Debian: intel-opencl-icd) and the user in the group `render`.",
    "NPU": "Intel NPUs need the driver from https://github.com/intel/linux-npu-driver and the group `render`.",
    "MYRIAD": "The Neural Compute Stick needs a host with the archive release of OpenVINO 2022.3 LTS, built with "
    "the MYRIAD plugin (Python 3.10 at most), and the stick plugged in; copy the artifact there.",
}


def installed(oldest: tuple[int, int] = OLDEST_RUN) -> Availability:
    """Availability of OpenVINO in version `oldest` or newer.

    It is looked up, not imported.
    """
    if find_spec("openvino") is None:
        return Availability(False, "the package openvino is not installed", INSTALL)
    try:
        found = package_version("openvino")
    except PackageNotFoundError:  # archive releases put the module on PYTHONPATH, without metadata
        found = loaded_version(load())
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < oldest:
        return Availability(False, f"openvino {found} is older than {oldest[0]}.{oldest[1]}", INSTALL, found)
    return Availability(True, version=found)


def load() -> Any:
    """The module that holds `Core`: `openvino`, or `openvino.runtime` up to 2023.0."""
    try:
        module = importlib.import_module("openvino")
        return module if hasattr(module, "Core") else importlib.import_module("openvino.runtime")
    except ImportError as error:
        raise RuntimeMissingError(f"the package openvino does not load: {error}", hint=INSTALL) from error


def loaded_version(module: Any) -> str:
    """The version of what `load` gave, such as "2026.4.1", without its build."""
    return str(module.get_version()).split("-")[0]


@lru_cache(maxsize=1)
def devices() -> tuple[str, ...]:
    """The devices OpenVINO sees, such as ("CPU", "GPU.0").

    Asked once, because it loads every plugin.
    """
    return tuple(load().Core().available_devices)


def real_devices(device: str) -> list[str]:
    """The devices that a name stands for.

    "GPU" is itself, "AUTO:GPU,CPU" is two, "AUTO" every one there is.
    """
    kind, _, chosen = device.partition(":")
    if kind not in _VIRTUAL:
        return [device]
    named = [name.split("(")[0] for name in chosen.split(",") if name and not name.startswith("-")]
    excluded = {name[1:] for name in chosen.split(",") if name.startswith("-")}
    return named or [name for name in devices() if name.partition(".")[0] not in excluded]


def reachable(device: str) -> Availability:
    """Availability of OpenVINO with `device`."""
    found = installed()
    if not found.ok or device == "CPU":
        return found
    seen = devices()
    for name in real_devices(device):
        kind = name.partition(".")[0]
        if name not in seen and not (name == kind and any(each.startswith(f"{kind}.") for each in seen)):
            reason = f"OpenVINO {found.version} sees no device {name}, only {', '.join(seen) or 'none'}"
            hint = _DRIVERS.get(kind, "EDGEYOLO_OPENVINO_DEVICE=CPU runs it on the CPU.")
            return Availability(False, reason, hint, found.version)
    return found


def reason(error: Exception) -> str:
    """Text of an OpenVINO exception, without the source files in it."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return " ".join(told[-3:]) or type(error).__name__
