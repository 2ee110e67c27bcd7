"""One command on another machine through the system's own ssh.

Keys and host keys are its business, and are checked.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError, UsageError

OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=4")
SILENCE = 3600.0
"""Seconds without a line from the device, nor a byte that it takes, after which it is given up. The longest step of a
measurement that says nothing is the building of a TensorRT engine."""

_PATIENCE = 30.0  # seconds that the other side has to end after Ctrl-C
_LINES = 40
# What ssh says -> (what it means, what to do).
_EXPLAINED = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one that was known",
     "Somebody may be listening in. If the device was set up anew: ssh-keygen -R HOST, then ssh {host} once."),
    ("Host key verification failed", "its host key is not known", "Connect once by hand and check it: ssh {host}"),
    ("Permission denied", "it takes none of the keys that ssh offers", "Set up a key: ssh-copy-id {host}"),
    ("Could not resolve hostname", "there is no host of that name", "Look at the name, or at ~/.ssh/config."),
    ("Connection refused", "nothing answers ssh there", "Start its ssh server, or give the port in ~/.ssh/config."),
    ("timed out", "it does not answer", "Is the device on, and on this network?"),
    ("No route to host", "it cannot be reached", "Is the device on, and on this network?"),
    ("Connection closed", "it closed the connection", "Look at the device's ssh log."),
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """End of a remote command.

    It has ssh's or its own exit code, its standard output, the last lines it said, and whether Ctrl-C ended
    it.
    """

    code: int
    output: str
    said: str
    interrupted: bool = False


def run(
    host: str, command: str, feed: Iterable[bytes], *,
    config: Path | None = None, hear: Callable[[str], None] = lambda _: None, silence: float = SILENCE,
) -> Done:  # fmt: skip
    """Run `command` in `host`'s shell.

    It has `feed` on its standard input, which then stays open until it ends.

    Ctrl-C closes that input and waits for the other side to finish; a second one gives up. `hear` gets the lines of
    standard error as they come. After `silence` seconds without anything from it the device is given up. `config` is an
    ssh_config(5) file to use in place of the user's.

    Raises:
        UsageError: `host` is no host name.
        RuntimeMissingError: ssh is not installed.
        EdgeYoloError: no connection, or no answer any more; the message says why.
    """
    process = _start(host, command, config)
    alive = _Alive(process, silence)
    said: deque[str] = deque(maxlen=_LINES)
    output: list[str] = []
    readers = [
        threading.Thread(target=_listen, args=(process, said, hear, alive), daemon=True),
        threading.Thread(target=_collect, args=(process, output, alive), daemon=True),
        threading.Thread(target=alive.watch, daemon=True),
    ]
    for reader in readers:
        reader.start()
    interrupted = _converse(process, alive.noticed(feed))
    for reader in readers:
        reader.join(_PATIENCE)
    if alive.given_up:
        raise EdgeYoloError(
            f"{host}: no answer for {silence:.0f} s; it was given up",
            hint="Look at the device: it may be short of memory, or hang. Its last words: "
            + (said[-1] if said else "none"),
        )
    done = Done(process.returncode, "".join(output), "\n".join(said), interrupted)
    if done.code == 255 and not interrupted:
        raise _explain(host, done.said)
    return done


class _Alive:
    """Remembers when the other side was last heard of.

    `watch` ends the connection to one that has been silent too long.
    """

    def __init__(self, process: subprocess.Popen[bytes], silence: float) -> None:
        self._process, self._silence = process, silence
        self._last = time.monotonic()
        self.given_up = False

    def note(self) -> None:
        """It has said or taken something."""
        self._last = time.monotonic()

    def noticed(self, feed: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces; each that is asked for shows that the last one was taken."""
        for piece in feed:
            self.note()
            yield piece
        self.note()

    def watch(self) -> None:
        """Run in a thread until the connection ends."""
        while self._process.poll() is None:
            left = self._last + self._silence - time.monotonic()
            if left <= 0:
                self.given_up = True
                self._process.kill()
                return
            time.sleep(min(left, 1.0))


def _start(host: str, command: str, config: Path | None) -> subprocess.Popen[bytes]:
    if not host or host.startswith("-") or any(character.isspace() for character in host):
        raise UsageError(f"{host!r} is no host", hint="Give user@host, or a name of ~/.ssh/config.")
    ssh = shutil.which("ssh")
    if ssh is None:
        raise RuntimeMissingError("ssh is not installed", hint="apt-get install openssh-client, for example.")
    chosen = [part for option in OPTIONS for part in ("-o", option)]
    files = ["-F", str(config)] if config else []
    # A session of its own: Ctrl-C must not end the connection before the report has come back.
    return subprocess.Popen(
        [ssh, *files, *chosen, "-T", "--", host, command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def _converse(process: subprocess.Popen[bytes], feed: Iterable[bytes]) -> bool:
    """Feed and wait; True where Ctrl-C ended it."""
    assert process.stdin is not None
    try:
        try:
            for piece in feed:
                process.stdin.write(piece)
            process.stdin.flush()
        except BrokenPipeError:  # it has ended already, and its exit code says why
            process.wait(_PATIENCE)
        process.wait()
        return False
    except KeyboardInterrupt:
        _close(process)
        try:
            process.wait(_PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        return True
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
    except BrokenPipeError:  # what was still to be sent has nobody to read it
        return


def _listen(
    process: subprocess.Popen[bytes], said: deque[str], hear: Callable[[str], None], alive: _Alive
) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        alive.note()
        text = line.decode(errors="replace").rstrip()
        said.append(text)
        if text:
            hear(text)


def _collect(process: subprocess.Popen[bytes], output: list[str], alive: _Alive) -> None:
    assert process.stdout is not None
    pieces = []
    for line in process.stdout:
        alive.note()
        pieces.append(line)
    output.append(b"".join(pieces).decode(errors="replace"))


def _explain(host: str, said: str) -> EdgeYoloError:
    for words, meaning, hint in _EXPLAINED:
        if words.lower() in said.lower():
            return EdgeYoloError(f"{host}: no connection, {meaning}", hint=hint.format(host=host))
    return EdgeYoloError(f"{host}: no connection: {said or 'ssh gave no reason'}", hint=f"Try: ssh {host}")
