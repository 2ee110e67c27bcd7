"""coremltools, imported late and quietly."""

from __future__ import annotations

import io
import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from edgeyolo.errors import RuntimeMissingError

INSTALL = "pip install 'edgeyolo[coreml]'"


def coremltools() -> Any:
    """The coremltools package; RuntimeMissingError says why it does not load."""
    try:
        with quiet():
            import coremltools as package
    except Exception as error:  # a missing native part or a foreign protobuf shows as any kind of error
        raise RuntimeMissingError(
            f"coremltools does not load: {type(error).__name__}: {error}", hint=INSTALL
        ) from error
    return package


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars and advice off the terminal; errors are exceptions and still arrive."""
    loggers = [logging.getLogger(name) for name in ("coremltools", "torch")]  # it imports what extends torch
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def number_names_anew() -> None:
    """Let coremltools number the names it makes from 0; a conversion that failed leaves its numbers behind."""
    with quiet():
        from coremltools.converters.mil.mil import Builder
    Builder.name_count.clear()


def macos() -> int:
    """The major version of macOS, 0 on other systems."""
    return int(platform.mac_ver()[0].partition(".")[0] or 0)
