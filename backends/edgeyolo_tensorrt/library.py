"""Getting hold of the `tensorrt` module, and hearing what it says."""

from __future__ import annotations

import logging
import platform
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo_tensorrt.facts import (
    JETPACKS,
    MINIMUM,
    Generation,
    Version,
    generation_of,
    version_text,
    version_tuple,
)

_LOG = logging.getLogger("edgeyolo_tensorrt")


@dataclass(frozen=True)
class Library:
    """The imported `tensorrt` module and its version, as text and as numbers."""

    module: Any
    text: str

    @property
    def version(self) -> Version:
        """(10, 3, 0) for "10.3.0"."""
        return version_tuple(self.text)


def load_library() -> Library:
    """Import TensorRT.

    Raises:
        RuntimeMissingError: it is not installed, does not load, or is older than 8.5.
    """
    try:
        import tensorrt
    except Exception as error:  # a missing driver or library may surface as any exception
        absent = isinstance(error, ModuleNotFoundError) and error.name == "tensorrt"
        reason = "the package tensorrt is not installed" if absent else f"tensorrt does not load: {error}"
        raise RuntimeMissingError(reason, hint=install_hint()) from error
    text = str(getattr(tensorrt, "__version__", ""))
    if version_tuple(text) < MINIMUM:
        raise RuntimeMissingError(
            f"TensorRT {text or 'of unknown version'} is too old: {version_text(MINIMUM)} or newer is needed",
            hint=install_hint(),
        )
    return Library(tensorrt, text)


def install_hint() -> str:
    """Hint for installing TensorRT on this kind of machine."""
    if platform.machine() == "aarch64":
        own = ", ".join(
            f"{item.versions}: TensorRT {item.tensorrt}, Python {item.python}" for item in JETPACKS
        )
        return (
            "On a Jetson TensorRT comes with JetPack: sudo apt install python3-libnvinfer, in a virtual environment "
            f"made with --system-site-packages. JetPack {own}."
        )
    return "pip install tensorrt cuda-python   (for a V100: pip install 'tensorrt<10.5')"


def refuse_unsupported_gpu(library: Library, gpu_name: str, compute_capability: tuple[int, int]) -> None:
    """Raise RuntimeMissingError where this TensorRT no longer runs on that GPU.

    It gives the source.
    """
    if reason := unsupported_gpu(library.version, gpu_name, compute_capability):
        last = generation_of(compute_capability)
        assert last is not None  # there is a reason only for these
        hint = f"Install an older version: pip install 'tensorrt<{version_text(last.removed)}'"
        raise RuntimeMissingError(f"TensorRT {library.text} {reason}", hint=hint)


def unsupported_gpu(version: Version, gpu_name: str, compute_capability: tuple[int, int]) -> str:
    """Reason why this version does not run on that GPU; "" where it does.

    It is the end of a sentence.
    """
    generation: Generation | None = generation_of(compute_capability)
    if generation is None or version < generation.removed:
        return ""
    what = f"{gpu_name} ({generation.name}, compute capability {version_text(compute_capability)})"
    return f"does not run on {what}: {generation.source}"


@cache
def logger_for(module: Any) -> Any:
    """The one logger of this process.

    TensorRT keeps the first logger that it is given and sends everything there, whichever logger a later builder or
    runtime names. So there is one, and it lives as long as the module.
    """

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.listeners: list[Heard] = []

        def log(self, severity: Any, msg: str) -> None:
            _LOG.debug("TensorRT: %s", msg)
            levels = module.ILogger.Severity
            for heard in tuple(self.listeners):  # TensorRT writes from threads of its own
                if severity in (levels.ERROR, levels.INTERNAL_ERROR):
                    heard.errors.append(msg.strip())
                elif severity == levels.WARNING:
                    heard.warnings.append(msg.strip())

    return Logger()


@dataclass(frozen=True, eq=False)
class Heard:
    """The last messages of a stretch of time."""

    errors: deque[str] = field(default_factory=lambda: deque(maxlen=50))
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=50))

    def complaint(self) -> str:
        """TensorRT's errors, one a line.

        Its warnings where it calls nothing an error, as it does without a driver.
        """
        unique = list(dict.fromkeys(self.errors or self.warnings))
        return "\n".join(f"  {text}" for text in unique[-10:]) or "  (it gave no reason)"


@contextmanager
def listening(module: Any) -> Iterator[Heard]:
    """Collect what TensorRT says during the block."""
    logger, heard = logger_for(module), Heard()
    logger.listeners.append(heard)
    try:
        yield heard
    finally:
        logger.listeners.remove(heard)


def make(library: Library, kind: Any, heard: Heard) -> Any:
    """A Builder or Runtime.

    Where CUDA does not start, TensorRT gives no object, which Python sees as a TypeError.
    """
    try:
        return kind(logger_for(library.module))
    except TypeError as error:
        raise RuntimeMissingError(
            f"TensorRT {library.text} does not start:\n{heard.complaint()}",
            hint="`nvidia-smi` (on a Jetson `tegrastats`) shows GPU and driver; TensorRT needs one that fits its CUDA.",
        ) from error
