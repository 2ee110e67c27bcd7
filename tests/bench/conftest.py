"""An ssh server of our own on the loopback address, and the project as a wheel."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Sshd:
    """`config` is for `ssh -F`; the host "device" in it is this machine, "stranger" offers a key that is not taken,
    "unknown" has a host key that is not known, "closed" is a port where nothing listens. `folder` is the remote side's
    TMPDIR: whatever is left over lies there."""

    config: Path
    folder: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_config(folder: Path, port: int) -> Path:
    common = f"HostName 127.0.0.1\n User {getpass.getuser()}\n IdentitiesOnly yes\n IdentityAgent none\n"
    known, empty = f"UserKnownHostsFile {folder}/known\n", f"UserKnownHostsFile {folder}/nothing\n"
    hosts = {
        "device": f"Port {port}\n IdentityFile {folder}/key\n {known}",
        "stranger": f"Port {port}\n IdentityFile {folder}/other\n {known}",
        "unknown": f"Port {port}\n IdentityFile {folder}/key\n {empty}",
        "closed": f"Port {free_port()}\n IdentityFile {folder}/key\n {known}",
    }
    text = "".join(f"Host {name}\n {common} {rest}" for name, rest in hosts.items())
    (folder / "config").write_text(text)
    return folder / "config"


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server with throw-away keys; skips where there is no sshd."""
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("needs sshd and ssh: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    folder.chmod(0o700)
    for name in ("host", "key", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port, remote = free_port(), folder / "remote"
    remote.mkdir()
    shutil.copy(folder / "key.pub", folder / "authorized")
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"PidFile none\nSetEnv TMPDIR={remote}\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd shuts up what it does not trust
    server = subprocess.Popen(
        [program, "-D", "-e", "-f", folder / "sshd_config"], stderr=(folder / "log").open("wb")
    )
    try:
        config = write_config(folder, port)
        _wait_for(server, config, folder / "log")
        yield Sshd(config, remote)
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(server: subprocess.Popen[bytes], config: Path, log: Path) -> None:
    for _ in range(40):
        if server.poll() is not None:
            break
        done = subprocess.run(
            ["ssh", "-F", config, "-o", "BatchMode=yes", "device", "true"], capture_output=True, check=False
        )
        if done.returncode == 0:
            return
        time.sleep(0.25)
    server.terminate()
    pytest.skip(f"sshd does not serve this user here: {log.read_text()[-300:]}")


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that has edgeyolo."""
    return sys.executable


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a wheel; skips without what builds it."""
    pytest.importorskip("hatchling", reason="needs hatchling to build a wheel")
    folder, root = tmp_path_factory.mktemp("wheel"), Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        root,
    ]
    subprocess.run(command, check=True)
    (file,) = folder.glob("*.whl")
    return file
