"""Errors that edgeyolo raises on purpose, and their exit codes.

EdgeYoloError                1   the run failed
 ├─ UsageError               2   an argument does not fit
 ├─ RuntimeMissingError      3   a runtime or toolchain is not installed, or is the wrong version
 ├─ GateError                4   an export missed its parity or accuracy budget
 ├─ UnsupportedTargetError   5   the network cannot run on the target
 ├─ ForeignFileError         5   a sound file of another project or tool, which is not read here
 ├─ FileRefusedError         6   a file is not what it should be
 │   ├─ UntrustedFileError       it asks for something outside the allow-list
 │   └─ DamagedFileError         truncated, changed, or of another schema
 ├─ NotFiniteError           1   a network that gives NaN, or a run whose loss or weights became that
 ├─ ImageError               1   an image that cannot be read
 │   └─ MissingImageError    2   it is not there: an argument that does not fit
 ├─ SourceError              1   a film or camera that cannot be opened or read
 │   ├─ DeniedError              a camera that asks for another login
 │   └─ SilentError              a camera that sends nothing
 ├─ DatasetError             1   a data set that cannot be read
 │   └─ MissingDatasetError  2   it, or the part of it that was asked for, is not there
 ├─ RequestRefusedError      1   a request that a server refuses or cannot finish
 └─ FrameError           as its cause   a frame of a stream that preparing or detecting failed on

A message says what was expected and what came; `hint` says what to type or do next.
Interrupts (Ctrl-C) end a command with 130.
"""

from __future__ import annotations

from typing import Any

INTERRUPTED = 130


class EdgeYoloError(Exception):
    """The base of every deliberate error.

    `str()` gives the message and the hint on two lines.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(EdgeYoloError, ValueError):
    """An argument that does not fit, from Python or from the command line."""

    exit_code = 2


class RuntimeMissingError(EdgeYoloError):
    """A runtime or toolchain is missing or of a version that cannot do this."""

    exit_code = 3


class GateError(EdgeYoloError):
    """An export outside its parity or accuracy budget; nothing was written."""

    exit_code = 4


class UnsupportedTargetError(EdgeYoloError):
    """The network, or a part of it, cannot run on the target."""

    exit_code = 5


class ForeignFileError(EdgeYoloError):
    """A file of another project or tool.

    Nothing is wrong with it, but no network that is built here is in it.
    """

    exit_code = 5


class FileRefusedError(EdgeYoloError):
    """A file that is refused; use one of its two subclasses."""

    exit_code = 6


class UntrustedFileError(FileRefusedError):
    """A file that asks for something outside the allow-list. Nothing in it was run."""


class DamagedFileError(FileRefusedError):
    """A damaged file: truncated, changed since it was sealed, or of an unknown schema."""


class NotFiniteError(EdgeYoloError):
    """A network whose output holds NaN, or a run that diverged."""


class ImageError(EdgeYoloError):
    """An image that cannot be read.

    The message names the file and what is wrong with it.
    """


class SourceError(EdgeYoloError):
    """A film, camera or stream that cannot be opened or read.

    The message names it and what is wrong with it.
    """


class DeniedError(SourceError):
    """A camera or server that asks for a login, or for another one.

    Trying again would not help.
    """


class SilentError(SourceError):
    """A camera or stream that is connected and sends nothing."""


class FrameError(EdgeYoloError):
    """A frame that preparing it, the network or what follows failed on.

    Attributes:
        frame: the edgeyolo.stream.Frame; of a batch its first one.
        cause: the error itself, also as `__cause__`.
    """

    def __init__(self, cause: Exception, frame: Any) -> None:
        text = cause.message if isinstance(cause, EdgeYoloError) else f"{type(cause).__name__}: {cause}"
        hint = cause.hint if isinstance(cause, EdgeYoloError) else ""
        super().__init__(f"{frame.source}, frame {frame.index}: {text}", hint=hint)
        self.frame, self.cause, self.__cause__ = frame, cause, cause
        self.exit_code = cause.exit_code if isinstance(cause, EdgeYoloError) else 1


class DatasetError(EdgeYoloError):
    """A data set that cannot be read, or whose parts contradict each other."""


class MissingImageError(ImageError, UsageError):
    """An image, or a folder of images, that is not where the argument says."""


class MissingDatasetError(DatasetError, UsageError):
    """A data set, or a part of one, that is not where the argument says."""


class RequestRefusedError(EdgeYoloError):
    """A request that a server refuses, or cannot finish.

    Attributes:
        status: of the HTTP answer.
        cause: one word or two for the metrics, such as "queue_full".
        retry_after: seconds after which to try again; None where that does not help.
    """

    def __init__(
        self, message: str, *, status: int, cause: str, retry_after: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status, self.cause, self.retry_after = status, cause, retry_after
