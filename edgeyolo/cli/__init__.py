"""The command line.

Each command is a thin file here or a third party's entry point `edgeyolo.commands`.

Importing this package imports next to nothing, so that Ctrl-C while the rest loads still ends in one word. Before that
it is Python's: while the interpreter starts it ends without a word, and while it loads `site`, and what the script that
pip wrote imports before this (`re`, in pips of 2023), it shows Python's traceback.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from edgeyolo.cli.program import cli

__all__ = ["cli", "main"]

_INTERRUPTED = 130  # as in edgeyolo.errors, which is not loaded yet


def main() -> None:
    """Run the command line and turn errors into messages and exit codes.

    The entry point of the program.
    """
    # The module below `signal`: that one takes a hundred times as long to import, in which Ctrl-C is a traceback.
    import _signal

    try:
        _signal.signal(_signal.SIGINT, _leave)
        _signal.signal(_signal.SIGTERM, _leave)
    except ValueError:  # outside the main thread signals do not arrive
        pass
    from edgeyolo.cli.program import run

    run()


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once, before there is anything to clean up."""
    os.write(2, b"interrupted\n")
    if "--json" in sys.argv:
        text = '{"error": {"code": %d, "kind": "Interrupted", "message": "interrupted", "hint": ""}}\n'
        os.write(1, (text % _INTERRUPTED).encode())
    os._exit(_INTERRUPTED)


def __getattr__(name: str) -> object:
    if name == "cli":
        from edgeyolo.cli.program import cli

        return cli
    raise AttributeError(f"module 'edgeyolo.cli' has no attribute {name!r}")
