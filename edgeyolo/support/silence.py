"""Keeping converters' chatter off the terminal, where only results belong."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def silence(*loggers: str) -> Iterator[None]:
    """Drop warnings, what Python code prints, and the named loggers' messages.

    Errors are exceptions and still arrive.

    What native code writes goes past Python to standard error, and stays.
    """
    quieted = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in quieted]
    for logger in quieted:
        logger.setLevel(logging.CRITICAL)  # a named level: JAX takes no other
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(quieted, levels, strict=True):
            logger.setLevel(level)
