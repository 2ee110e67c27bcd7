"""The packages that convert and quantize, imported late and quietly."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.protocols import Availability

INSTALL = "pip install 'edgeyolo[tflite]'"

# module -> package, in the order in which a missing one is reported
CONVERTER = {"torch": "torch", "litert_torch": "litert-torch", "ai_edge_litert": "ai-edge-litert"}
QUANTIZER = {**CONVERTER, "ai_edge_quantizer": "ai-edge-quantizer"}

_LOUD = ("torch", "torchao", "absl", "jax", "root")


def installed(packages: dict[str, str]) -> Availability:
    """Whether all of them are here; looked up without importing any."""
    for module, package in packages.items():
        if find_spec(module) is None:
            return Availability(False, f"the package {package} is not installed", INSTALL)
    last = list(packages.values())[-1]
    return Availability(True, version=version(last))


def load(module: str) -> Any:
    """Import one of the packages above, or a module in it; RuntimeMissingError says why it does not load."""
    try:
        with quiet():
            return importlib.import_module(module)
    except Exception as error:  # a missing native part or a foreign version shows as any kind of error
        raise RuntimeMissingError(
            f"{module} does not load: {type(error).__name__}: {error}", hint=INSTALL
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress lines and advice off the terminal; errors are exceptions and still arrive.

    What the native parts write goes to standard error, past Python, and stays.
    """
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
