"""Report on this machine and edgeyolo's abilities on it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgeyolo.backend import registry, variables
from edgeyolo.backend.integers_here import integers_here
from edgeyolo.support import environment, opencv
from edgeyolo.support.files import user_cache
from edgeyolo.support.install import install_hint
from edgeyolo.support.machine import cores, processor_name
from edgeyolo.version import __version__

# package -> (what it serves, the extra that brings it)
PACKAGES = {
    "torch": ("reading weights, exporting, training", "export"),
    "safetensors": ("weights files", "export"),
    "onnx": ("exporting", "export"),
    "onnxsim": ("exporting", "export"),
    "faster-coco-eval": ("val", "eval"),
    "pycocotools": ("val, as a second opinion", "eval"),
    "matplotlib": ("the plots of val", "eval"),
    "PyYAML": ("data.yaml", "eval"),
    "scipy": ("tracking", "video"),
}


def examine() -> dict[str, Any]:
    """Facts of the machine, its runtimes and the optional packages.

    Runtimes that are not usable have the reason.
    """
    vision, advice = opencv.describe()
    return {
        "machine": {
            "edgeyolo": __version__,
            "Python": platform.python_version(),
            "system": platform.platform(),
            "processor": processor_name(),
            "cores": cores(),
            "cache": str(user_cache()),
            "OpenCV": vision,
        },
        "notes": [text for text in (advice, integers_here()) if text],
        "environment": _environment(),
        "runtimes": _runtimes(),
        "packages": [_package(name, *facts) for name, facts in PACKAGES.items()],
    }


def _environment() -> list[dict[str, str]]:
    """The variables of edgeyolo.

    `value` is "" for one that is not set, `meaning` "" for one that nothing reads.
    """
    known, here = variables.known(), environment.set_here()
    names = [*known, *(name for name in here if name not in known)]
    return [{"name": name, "value": here.get(name, ""), "meaning": known.get(name, "")} for name in names]


def _runtimes() -> list[dict[str, Any]]:
    found = []
    for name, backend in registry.backends().items():
        runs = backend.can_run()
        found.append(
            {"name": name, "ok": runs.ok, "version": runs.version, "reason": runs.reason, "hint": runs.hint}
        )
    for item in registry.broken():
        hint = "Install the package again, or remove it."
        found.append({"name": item.name, "ok": False, "version": "", "reason": item.reason, "hint": hint})
    return found


def _package(name: str, serves: str, extra: str) -> dict[str, str]:
    try:
        return {"name": name, "version": version(name), "for": serves, "hint": ""}
    except PackageNotFoundError:
        return {"name": name, "version": "", "for": serves, "hint": install_hint(extra)}
