"""Sources of facts: files and the output of commands.

Files lie below a root; both can be replaced by recorded ones.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PATIENCE = 5.0  # seconds; a tool that hangs must not hold up a measurement


def run_command(command: Sequence[str]) -> str | None:
    """Standard output of a command.

    None where it is not installed, fails or answers in no reasonable time.

    A tool that reports for ever (tegrastats) is stopped after a second; what it printed so far is returned.
    """
    place = shutil.which(command[0])
    if place is None:
        return None
    endless = command[0] == "tegrastats"
    try:
        done = subprocess.run(
            [place, *command[1:]], capture_output=True, text=True, check=False, errors="replace",
            timeout=1.0 if endless else _PATIENCE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        return (text or None) if endless else None
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True)
class Machine:
    """The machine that facts are read from.

    Tests give a folder with recorded /proc, /sys and /dev trees and recorded outputs of commands. `system`
    and `processor` are `platform`'s words ("Linux", "x86_64").
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], str | None] = run_command
    system: str = field(default_factory=platform.system)
    processor: str = field(default_factory=platform.machine)

    def read(self, path: str) -> str | None:
        """A file's text without the white space around it, None where it cannot be read."""
        try:
            text = (self.root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace")
        except OSError:  # absent, not ours to read, or a sensor that is asleep
            return None
        return text.replace("\0", " ").strip()

    def number(self, path: str) -> float | None:
        """A file that holds one number, None where it does not."""
        return to_number(self.read(path))

    def exists(self, path: str) -> bool:
        """Return True if there is something at `path`."""
        return (self.root / path.lstrip("/")).exists()

    def glob(self, pattern: str) -> Iterator[str]:
        """Absolute paths that match, in order; none where the folder may not be read."""
        try:
            found = sorted(self.root.glob(pattern.lstrip("/")))
        except OSError:
            return
        for path in found:
            yield "/" + path.relative_to(self.root).as_posix()


def to_number(text: str | None) -> float | None:
    """A number, or None for anything else ("[N/A]", "max", "")."""
    try:
        return float(text) if text else None
    except ValueError:
        return None
