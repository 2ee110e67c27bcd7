"""Launcher that runs on the device.

It is sent to the device and run there by its own Python, before edgeyolo is known to be there: so it stands
alone, and keeps to what Python 3.6 has.

Standard input: eight bytes of length (big endian) and that many of a JSON order, then the same of a tar archive; after
that it stays open for as long as the report is wanted. When it closes, because of Ctrl-C or a lost connection, the
measurement is interrupted. The folder that everything lives in is removed however this ends.

Exit codes of its own: 90 Python too old, 91 edgeyolo not installed, 92 the wheel could not be installed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

PATIENCE = 20.0  # seconds an interrupted measurement has to write its report
OLDEST = (3, 10)
INTERRUPTED, PYTHON_OLD, NOT_INSTALLED, NOT_INSTALLABLE = 130, 90, 91, 92


def read(count: int) -> bytes:
    """Exactly so many bytes of standard input."""
    pieces = []
    while count:
        piece = os.read(0, min(count, 1 << 20))
        if not piece:
            sys.exit(INTERRUPTED)
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def unpack(folder: Path) -> None:
    """The archive that follows on standard input, written below `folder`."""
    place = folder / "sent.tar"
    count = int.from_bytes(read(8), "big")
    with place.open("wb") as file:
        while count:
            piece = read(min(count, 1 << 20))
            file.write(piece)
            count -= len(piece)
    with tarfile.open(str(place)) as archive:
        if hasattr(tarfile, "data_filter"):  # newer ones ask for it
            archive.extractall(str(folder), filter="data")
        else:
            archive.extractall(str(folder))
    place.unlink()


def say(text: str) -> None:
    """A line for the other side."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Children:
    """The commands, one after another, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = False
        self.current = None  # type: subprocess.Popen[bytes] | None

    def run(self, *command: str, quiet: bool = False) -> int:
        """The exit code of a command.

        If `quiet`, its standard output goes where its errors go.
        """
        if self.stopped:
            sys.exit(INTERRUPTED)
        self.current = subprocess.Popen(
            command,
            cwd=str(self.folder),
            env=dict(os.environ, TMPDIR=str(self.folder)),  # what runtimes leave there goes with the folder
            stdin=subprocess.DEVNULL,
            stdout=2 if quiet else None,
            start_new_session=True,
        )
        return self.current.wait()

    def stop_at_end_of_input(self) -> None:
        """Runs in a thread.

        When standard input closes, interrupt the command, and kill it after a while.
        """
        while os.read(0, 1024):
            continue
        self.stop()

    def stop(self) -> None:
        """End the command, and let no other begin."""
        self.stopped = True
        child = self.current
        for number, patience in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, 1.0)):
            if child is None or child.poll() is not None:
                return
            try:
                os.killpg(child.pid, number)
                child.wait(patience)
            except ProcessLookupError:  # it has just ended
                return
            except subprocess.TimeoutExpired:
                continue


def install(wheel: str, children: Children) -> str:
    """A virtual environment with the wheel in it, over what the device has already.

    Its Python.
    """
    place = children.folder / "venv"
    say("making a virtual environment")
    if children.run(sys.executable, "-m", "venv", "--system-site-packages", str(place), quiet=True):
        sys.exit(NOT_INSTALLABLE)
    python = str(place / "bin" / "python")
    say("installing " + wheel)
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if children.run(*pip, wheel, quiet=True):
        sys.exit(NOT_INSTALLABLE)
    return python


def leave(number: int, frame: object) -> None:
    """End the command when the connection is gone."""
    sys.exit(INTERRUPTED)


def main() -> None:
    """Unpack, install if asked to, measure, clean up."""
    order = json.loads(read(int.from_bytes(read(8), "big")).decode("utf-8"))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    folder = Path(tempfile.mkdtemp(prefix="edgeyolo-bench-"))
    children = Children(folder)
    try:
        if sys.version_info[:2] < OLDEST:
            say("Python {}.{}".format(*sys.version_info))
            sys.exit(PYTHON_OLD)
        unpack(folder)
        threading.Thread(target=children.stop_at_end_of_input, daemon=True).start()
        python = install(order["wheel"], children) if order["wheel"] else sys.executable
        if children.run(python, "-c", "import edgeyolo_bench"):
            sys.exit(NOT_INSTALLED)
        sys.exit(children.run(python, "-c", "from edgeyolo.cli import main; main()", *order["arguments"]))
    finally:
        children.stop()
        shutil.rmtree(str(folder), ignore_errors=True)


if __name__ == "__main__":
    main()
