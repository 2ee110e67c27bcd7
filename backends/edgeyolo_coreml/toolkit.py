"""coremltools, imported late and quietly."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager
from typing import Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.install import install_hint
from edgeyolo.support.silence import silence

INSTALL = install_hint("coreml")


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


def quiet() -> AbstractContextManager[None]:
    """Keep progress bars and advice off the terminal.

    Coremltools imports what extends torch.
    """
    return silence("coremltools", "torch")


def number_names_anew() -> None:
    """Let coremltools number the names it makes from 0.

    A conversion that failed leaves its numbers behind.
    """
    with quiet():
        from coremltools.converters.mil.mil import Builder
    Builder.name_count.clear()


def macos() -> int:
    """The major version of macOS, 0 on other systems."""
    return int(platform.mac_ver()[0].partition(".")[0] or 0)
