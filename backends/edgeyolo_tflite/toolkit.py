"""The packages that convert and quantize, imported late and quietly."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from edgeyolo.backend.interface import Availability
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.install import install_hint
from edgeyolo.support.silence import silence

INSTALL = install_hint("tflite")

# module -> package, in the order in which a missing one is reported
CONVERTER = {"torch": "torch", "litert_torch": "litert-torch", "ai_edge_litert": "ai-edge-litert"}
QUANTIZER = {**CONVERTER, "ai_edge_quantizer": "ai-edge-quantizer"}


def installed(packages: dict[str, str]) -> Availability:
    """Availability of all packages, without importing any."""
    for module, package in packages.items():
        if find_spec(module) is None:
            return Availability(False, f"the package {package} is not installed", INSTALL)
    last = list(packages.values())[-1]
    return Availability(True, version=version(last))


def load(module: str) -> Any:
    """Import one of the packages above, or a module in it.

    RuntimeMissingError says why it does not load.
    """
    try:
        with quiet():
            return importlib.import_module(module)
    except Exception as error:  # a missing native part or a foreign version shows as any kind of error
        raise RuntimeMissingError(
            f"{module} does not load: {type(error).__name__}: {error}", hint=INSTALL
        ) from error


def quiet() -> AbstractContextManager[None]:
    """Keep progress lines and advice off the terminal."""
    return silence("torch", "torchao", "absl", "jax", "root")
