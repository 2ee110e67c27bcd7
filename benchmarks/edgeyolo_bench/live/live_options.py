"""Options of `edgeyolo bench` that measure streams and servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--source", metavar="FILM|CAMERA",
        help="Measure the stream of a film or camera: frames a second, latency from capture, drops.",
    ),
    click.option("--server", metavar="URL", help="Load a running server: http://127.0.0.1:8000."),
    click.option(
        "--connections", type=click.IntRange(1, 10000), default=8, show_default=True,
        help="With --server: clients that each send a picture when the last one is answered.",
    ),
    click.option(
        "--rate", type=click.FloatRange(min=0, min_open=True),
        help="With --server: pictures a second instead, whatever becomes of those before.",
    ),
    click.option(
        "--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="With --server: its token, the first line of a file.",
    ),
)  # fmt: skip
_COMMON = {"min_duration", "device", "output", "as_json"}
STREAM = _COMMON | {"models", "targets", "sizes", "threads", "calib", "source"}
SERVER = _COMMON | {"images", "server", "connections", "rate", "token_file"}


@dataclass(frozen=True)
class Live:
    """A source or a server to measure, and the load on it."""

    source: str | None = None
    server: str | None = None
    connections: int = 8
    rate: float | None = None
    token_file: Path | None = None

    @property
    def asked(self) -> bool:
        """True if a stream or a server is to be measured."""
        return bool(self.source or self.server)

    def token(self) -> str:
        """The server's token, "" without one."""
        if self.token_file is None:
            return ""
        return next(iter(self.token_file.read_text(encoding="utf-8").split()), "")


def live_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it gets them by name, for `Live`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settle_live(live: Live, models: Sequence[str]) -> None:
    """Refuse what does nothing beside --source or --server, or without them."""
    from edgeyolo.cli.idle_options import refuse_all_but, refuse_idle
    from edgeyolo.errors import UsageError

    if live.source and live.server:
        raise UsageError("--source and --server: one of them", hint="Measure one after the other.")
    if not live.server:
        refuse_idle(
            {"connections", "rate", "token_file"},
            "for --server, which is not given",
            hint="Add --server URL.",
        )
    if live.source:
        refuse_all_but(STREAM, "does nothing beside --source", hint="Measure without --source for it.")
        if not models:
            raise UsageError("--source: expected a MODEL", hint="edgeyolo bench MODEL --source film.mp4")
    if live.server:
        refuse_all_but(SERVER, "does nothing beside --server", hint="The server has its own settings.")
        if models:
            raise UsageError("--server measures the server's own model, not MODEL", hint="Leave MODEL out.")
        if live.rate is not None:
            refuse_idle({"connections"}, "does nothing beside --rate", hint="Give one of them.")
