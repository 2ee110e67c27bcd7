"""Settings of a server: what it serves, and within which limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeyolo.artifact.contracts import MAX_BATCH
from edgeyolo.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Model:
    """A model to be served.

    Attributes:
        name: its name in addresses and metrics.
        path: directory of the artifact; read again when the model is reloaded.
        options: of `Detector`: conf, iou, max_det, threads ...
        classes: report these classes only, as texts of the command line: names or numbers, comma-separated.
    """

    name: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"model name {self.name!r}: expected letters, digits, '.', '_' and '-'",
                hint="Name it: edgeyolo serve NAME=PATH",
            )


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Attributes:
        queue: images of a model that are accepted and not yet answered; more are refused with 503.
        body: bytes of a request; larger ones are refused with 413.
        pixels: of an image, by its header, before it is decoded; larger ones are refused with 413.
        timeout: seconds from a request's first byte to its answer; then 504.
    """

    queue: int = 64
    body: int = 32 << 20
    pixels: int = 50_000_000
    timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("queue", "body", "pixels", "timeout"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name}: expected a number above 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        models: what it serves; the first one answers `/detect` that names none.
        limits: of requests.
        max_batch: most images in a batch; an artifact of fixed batch takes no more than its own.
        max_delay: seconds that an image waits for others, while a worker is free.
        workers: processes with a session each for every model; 0 runs one session in the server's process.
        tokens: a request must carry one of them; empty lets everybody in.
        live: camera or film to be watched with the first model, as `Detector.stream` takes it; None for none.
    """

    models: tuple[Model, ...]
    limits: Limits = Limits()
    max_batch: int = 8
    max_delay: float = 0.002
    workers: int = 0
    tokens: frozenset[str] = frozenset()
    live: str | None = None

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) < len(names):
            raise UsageError(
                f"models: expected names that differ, got {', '.join(names) or 'none'}",
                hint="Name them: edgeyolo serve day=PATH night=PATH",
            )
        if not 1 <= self.max_batch <= MAX_BATCH:
            raise UsageError(f"max_batch: expected 1 to {MAX_BATCH}, got {self.max_batch}")
        if not 0 <= self.max_delay <= self.limits.timeout:
            raise UsageError(
                f"max_delay: expected 0 to the time limit of a request ({self.limits.timeout:g} s), "
                f"got {self.max_delay:g} s"
            )
        if self.workers < 0:
            raise UsageError(f"workers: expected a number from 0, got {self.workers}")


def read_tokens(path: Path) -> frozenset[str]:
    """Tokens of a file, one a line.

    Blank lines and lines that begin with # do not count.

    Raises UsageError where the file holds none, or one that a header cannot carry.
    """
    from edgeyolo.support.reading import read_text

    if not path.is_file():
        raise UsageError(f"{path}: expected a file with tokens, there is none")
    lines = [line.strip() for line in read_text(path, error=UsageError).splitlines()]
    tokens = frozenset(line for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise UsageError(f"{path}: expected a token on a line of its own, the file holds none")
    for token in tokens:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(f"{path}: a token has characters other than ASCII letters, digits and signs")
    return tokens
