"""Measure artifacts on another machine.

Copy them there, run the harness, bring the report back.
"""

from __future__ import annotations

import io
import json
import shlex
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import IO

from edgeyolo.errors import INTERRUPTED, DamagedFileError, EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.measure.workload import Workload
from edgeyolo_bench.remote import ssh
from edgeyolo_bench.remote.launcher import NOT_INSTALLABLE, NOT_INSTALLED, PYTHON_OLD
from edgeyolo_bench.values.report import Report

_NO_COMMAND = 127  # a shell's word for a program that is not there


@dataclass(frozen=True)
class Remote:
    """A machine that ssh reaches.

    `python` is the interpreter that edgeyolo is installed in there; with `wheel` (a file here) it is
    installed into a virtual environment for the time of the measurement. `name` is what reports call the
    device, `config` an ssh_config(5) file, `threads` overrides the jobs'.
    """

    host: str
    name: str = ""
    python: str = "python3"
    wheel: Path | None = None
    config: Path | None = None
    threads: int | None = None


def measure_remotely(
    remote: Remote, jobs: Sequence[Job], *, limits: bool = True, hear: Callable[[str], None] = lambda _: None
) -> Report:
    """The report of `jobs` as the device gives it.

    They share scenario, images and threads. `limits` has the device's own limits measured too.

    Everything there is in one folder, which is removed however this ends. After Ctrl-C the report is that of what was
    completed, as on this machine.

    Raises:
        EdgeYoloError: no connection, or the measurement failed there; the device's own exit code.
        RuntimeMissingError: there is no Python, one that is too old, or no edgeyolo.
        DamagedFileError: what came back is no report.
    """
    if remote.wheel is not None and not remote.wheel.is_file():
        raise UsageError(
            f"{remote.wheel}: there is no such wheel", hint="Make one: pip wheel --no-deps -w dist ."
        )
    launcher = b64encode((files("edgeyolo_bench.remote") / "launcher.py").read_bytes()).decode()
    # One line without quotes of its own: not every login shell takes a string of many lines.
    command = shlex.join([remote.python, "-c", f"import base64; exec(base64.b64decode('{launcher}'))"])
    with _packed(jobs, remote.wheel) as (archive, size):
        hear(f"copying {size / 1e6:.1f} MB to {remote.host}")
        feed = _feed(_order(remote, jobs, limits), archive, size)
        done = ssh.run(remote.host, command, feed, config=remote.config, hear=hear)
    report = _read(remote, done)
    known = jobs[0].workload.facts
    return replace(
        report,
        measurements=tuple(
            replace(item, images=known if item.images.sha256 == known.sha256 else item.images)
            for item in report.measurements
        ),
        interrupted=report.interrupted or done.interrupted,
    )


def _order(remote: Remote, jobs: Sequence[Job], limits: bool) -> bytes:
    """Order for the launcher as JSON.

    It is the same command as here, on what was copied.
    """
    scenario, threads = jobs[0].scenario, remote.threads or jobs[0].threads
    fixed = scenario.name in ("single-stream", "multi-stream")
    arguments = [
        "bench", *(_place(number, job) for number, job in enumerate(jobs)), "--images", "images",
        "--scenario", scenario.name, "--min-duration", str(scenario.min_duration),
        "--min-count", str(scenario.min_count), "--name", remote.name or remote.host, "--json",
    ]  # fmt: skip
    arguments += [] if limits else ["--no-limits"]
    arguments += ["--processes", str(jobs[0].processes)]
    arguments += ["--threads", str(threads)] if threads else []
    arguments += ["--seed", str(scenario.seed)] if scenario.seed is not None else []
    arguments += ["--batch", str(scenario.query_images)] if scenario.query_images and not fixed else []
    wheel = remote.wheel.name if remote.wheel else ""
    return json.dumps({"arguments": arguments, "wheel": wheel}).encode()


def _place(number: int, job: Job) -> str:
    """The folder of an artifact there.

    Its last part is the job's name, as that is what reports call it.
    """
    return f"artifacts/{number}/{job.name.replace('/', '_')}"


@contextmanager
def _packed(jobs: Sequence[Job], wheel: Path | None) -> Iterator[tuple[IO[bytes], int]]:
    """A tar archive of the artifacts, the images and the wheel, and its size in bytes."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for number, job in enumerate(jobs):
                archive.add(job.artifact, _place(number, job))
            _add_images(archive, jobs[0].workload)
            if wheel is not None:
                archive.add(wheel, wheel.name)
        size = file.tell()
        file.seek(0)
        yield file, size


def _add_images(archive: tarfile.TarFile, workload: Workload) -> None:
    # The header says what each file is; the suffix only has to be an image's. Numbered, they keep their order.
    suffix = workload.facts.encoding.split("+")[0]
    for number, data in enumerate(workload.encoded):
        entry = tarfile.TarInfo(f"images/{number:04d}.{suffix}")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))


def _feed(order: bytes, archive: IO[bytes], size: int) -> Iterator[bytes]:
    yield len(order).to_bytes(8, "big") + order + size.to_bytes(8, "big")
    while piece := archive.read(1 << 20):
        yield piece


def _read(remote: Remote, done: ssh.Done) -> Report:
    """The report that came back, or the error that says why there is none."""
    host = remote.host
    greeting, brace, rest = done.output.partition("{\n")  # a login script may have said something first
    if done.output.strip():
        try:
            document = json.loads(brace + rest or greeting)
            if not isinstance(document, dict) or "error" not in document:  # which `done` tells as well
                return Report.from_json(document, f"the report of {host}")
        except (ValueError, RecursionError) as error:
            raise DamagedFileError(
                f"{host} sent no report but {done.output[:80]!r}", hint=f"It said: {done.said}"
            ) from error
    if done.interrupted or done.code == INTERRUPTED:
        raise KeyboardInterrupt
    raise _failure(remote, done)


def _failure(remote: Remote, done: ssh.Done) -> EdgeYoloError:
    host, python, last = remote.host, remote.python, done.said.rpartition("\n")[2]
    if done.code == _NO_COMMAND:
        hint = f"Install Python 3.10 or newer there, or say where: --remote-python. It said: {last}"
        return RuntimeMissingError(f"{host}: there is no {python}", hint=hint)
    if done.code == PYTHON_OLD:
        hint = "Say which one: --remote-python"
        return RuntimeMissingError(f"{host}: {python} is {last}, edgeyolo needs 3.10", hint=hint)
    if done.code == NOT_INSTALLED:
        hint = "pip install edgeyolo there, say where it is (--remote-python), or copy a wheel: --remote-wheel FILE"
        return RuntimeMissingError(f"{host}: {python} has no edgeyolo ({last})", hint=hint)
    if done.code == NOT_INSTALLABLE:
        return RuntimeMissingError(f"{host}: the wheel could not be installed", hint=done.said)
    _, _, words = done.said.rpartition("error: ")  # before it: what it was doing
    error = EdgeYoloError(f"{host}: {words or f'exit code {done.code}'}")
    error.exit_code = done.code if 0 < done.code < 7 else 1
    return error
