"""coremltools, imported late and quietly."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.install import install_hint
from edgeyolo.support.silence import silence

INSTALL = install_hint("coreml")
FOREIGN = (
    "sklearn",
    "libsvm",
    "xgboost",
    "tensorflow",
    "torchvision",
    "torchaudio",
    "torchao",
    "transformers",
)
"""Packages that coremltools converts from and loads where it finds them; nothing here is made of theirs."""


def coremltools() -> Any:
    """The coremltools package; RuntimeMissingError says why it does not load."""
    try:
        with quiet(), _hidden(FOREIGN):
            import coremltools as package
    except Exception as error:  # a missing native part or a foreign protobuf shows as any kind of error
        raise RuntimeMissingError(
            f"coremltools does not load: {type(error).__name__}: {error}", hint=INSTALL
        ) from error
    return package


@contextmanager
def _hidden(packages: tuple[str, ...]) -> Iterator[None]:
    """Let imports of packages fail that are not loaded yet.

    They take half of the time that coremltools needs to load.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: such an import fails at once
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


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
