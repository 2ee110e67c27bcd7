"""Other devices, through a real ssh server on the loopback address."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli import cli
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo_bench.measure.scenarios import choose
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.measure.workload import generated
from edgeyolo_bench.remote import ssh
from edgeyolo_bench.remote.device import Remote, measure_remotely
from edgeyolo_bench.remote.fleet import read_fleet
from edgeyolo_bench.values.report import Report, load_report

SHORT = ("--min-duration", "0.1", "--min-count", "40", "--no-limits")


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, arguments)])


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_artifact_is_measured_there_and_nothing_stays(
    sshd, python: str, small_artifact: Path, tmp_path: Path
) -> None:
    polite = tmp_path / "python"  # login scripts say things on standard output
    polite.write_text(f'#!/bin/sh\necho "Welcome {{user}}"\nexec "{python}" "$@"\n')
    polite.chmod(0o755)
    done = bench(small_artifact, "--remote", "device", "--ssh-config", sshd.config, "--remote-python", polite,
                 "--name", "my device", "--json", "-o", tmp_path, *SHORT)  # fmt: skip
    assert done.exit_code == 0, done.output
    report = Report.from_json(json.loads(done.stdout))
    assert load_report(tmp_path) == report
    (item,) = report.measurements
    assert item.artifact.sha256 == Artifact.open(small_artifact).sha256
    assert item.artifact.name == small_artifact.name
    assert item.device == report.devices[0].name == "my device"
    assert item.images.source == "generated"
    assert item.stages[0].count >= 40
    assert item.scenario.min_count == 40
    assert not left_over(sshd.folder)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("stranger", "takes none of the keys"),
        ("unknown", "host key is not known"),
        ("closed", "nothing answers ssh there"),
        ("nowhere.invalid", "no host of that name"),
    ],
)
def test_no_connection_says_why(sshd, host: str, words: str) -> None:
    with pytest.raises(EdgeYoloError, match=words) as caught:
        ssh.run(host, "true", (), config=sshd.config)
    assert caught.value.exit_code == 1
    assert caught.value.hint


def test_a_changed_host_key_is_refused(sshd, tmp_path: Path) -> None:
    known = sshd.config.with_name("known").read_text()
    name, kind, _ = known.split()[:3]
    other = sshd.config.with_name("other.pub").read_text().split()[1]
    (tmp_path / "known").write_text(f"{name} {kind} {other}\n")
    (tmp_path / "config").write_text(
        sshd.config.read_text().replace(str(sshd.config.with_name("known")), str(tmp_path / "known"))
    )
    with pytest.raises(EdgeYoloError, match="not the one that was known"):
        ssh.run("device", "true", (), config=tmp_path / "config")


@pytest.mark.parametrize("host", ["-oProxyCommand=touch x", "", "a b"])
def test_bad_host_names_never_reach_ssh(host: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        ssh.run(host, "true", ())


def test_without_python_or_edgeyolo_the_error_says_what_to_install(
    sshd, small_artifact: Path, tmp_path: Path
) -> None:
    scenario = choose("paper", min_duration=0.1, min_count=40)
    job = Job("small", "cpu-onnx-fp32", small_artifact, scenario, generated(1, (48, 64)))
    with pytest.raises(RuntimeMissingError, match=r"there is no python9\.9"):
        measure_remotely(Remote("device", python="python9.9", config=sshd.config), [job])
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    bare = tmp_path / "bare/bin/python"
    with pytest.raises(RuntimeMissingError, match="has no edgeyolo") as caught:
        measure_remotely(Remote("device", python=str(bare), config=sshd.config), [job])
    assert "--remote-wheel" in caught.value.hint
    assert not left_over(sshd.folder)


def test_a_python_that_is_too_old_is_named(sshd, small_artifact: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 8, 2)\n")
    old.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n')
    old.chmod(0o755)
    job = Job("small", "cpu-onnx-fp32", small_artifact, choose("paper"), generated(1, (48, 64)))
    with pytest.raises(RuntimeMissingError, match=r"is Python 3\.8, edgeyolo needs 3\.10"):
        measure_remotely(Remote("device", python=str(old), config=sshd.config), [job])


@pytest.mark.slow
def test_a_wheel_is_installed_for_the_time_of_the_measurement(
    sshd, small_artifact: Path, wheel: Path, tmp_path: Path
) -> None:
    """The interpreter over there has what edgeyolo needs, but not edgeyolo; nothing is fetched."""
    bare = tmp_path / "bare"
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in Path(np.__file__).parents[1].iterdir():
        if "edgeyolo" not in path.name:
            (packages / path.name).symlink_to(path)
    bare.write_text(
        f'#!/bin/sh\nPIP_NO_DEPS=1 PYTHONPATH="{packages}" exec "{Path(sys.base_prefix) / "bin/python3"}" "$@"\n'
    )
    bare.chmod(0o755)
    common = (
        small_artifact,
        "--remote",
        "device",
        "--ssh-config",
        sshd.config,
        "--remote-python",
        bare,
        *SHORT,
    )
    missing = bench(*common, "--json")
    assert "has no edgeyolo" in str(missing.exception)
    done = bench(*common, "--remote-wheel", wheel, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["measurements"][0]["stages"][0]["count"] >= 40
    assert not left_over(sshd.folder)
    broken = tmp_path / "edgeyolo-9-py3-none-any.whl"
    broken.write_bytes(b"no wheel")
    refused = bench(*common, "--remote-wheel", broken, "--json")
    assert isinstance(refused.exception, RuntimeMissingError)
    assert "could not be installed" in refused.exception.message


@pytest.mark.slow
def test_an_error_over_there_comes_back_with_its_exit_code(
    sshd, python: str, small_artifact: Path, tmp_path: Path
) -> None:
    done = bench(small_artifact, "--remote", "device", "--ssh-config", sshd.config, "--remote-python", python,
                 "--scenario", "paper", "--batch", "4", "--json", *SHORT)  # fmt: skip
    assert isinstance(done.exception, EdgeYoloError)
    assert done.exception.exit_code == 2
    assert done.exception.message.startswith("device: batch 4: the artifact takes 1 images at a time")
    assert not left_over(sshd.folder)


def start(sshd, python: str, artifact: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [python, "-c", "from edgeyolo.cli import main; main()", "bench", artifact, "--remote", "device",
               "--ssh-config", sshd.config, "--remote-python", python, "--min-duration", "60",
               "-o", output]  # fmt: skip
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def await_line(process: subprocess.Popen[bytes], words: bytes) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"ended without saying {words!r}")


def gone(folder: Path, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while left_over(folder) and time.monotonic() < end:
        time.sleep(0.1)
    return not left_over(folder)


@pytest.mark.slow
def test_ctrl_c_brings_back_what_was_completed_and_cleans_up(
    sshd, python: str, small_artifact: Path, tmp_path: Path
) -> None:
    process = start(sshd, python, small_artifact, tmp_path)
    await_line(process, b"measuring")
    time.sleep(8)  # a turn is a tenth of the duration
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert gone(sshd.folder)
    report = load_report(tmp_path)
    assert report.interrupted
    assert report.measurements[0].interrupted
    assert not report.measurements[0].reportable


@pytest.mark.slow
def test_a_lost_connection_leaves_nothing_behind(
    sshd, python: str, small_artifact: Path, tmp_path: Path
) -> None:
    process = start(sshd, python, small_artifact, tmp_path)
    await_line(process, b"measuring")
    assert left_over(sshd.folder)
    os.killpg(process.pid, signal.SIGKILL)
    subprocess.run(
        ["pkill", "-KILL", "-f", str(sshd.config)], check=False
    )  # the ssh it started; by our own file's name
    process.wait()
    assert gone(sshd.folder)


FLEET = """
devices:
  - host: closed
    config: {config}
  - host: device
    name: good one
    config: {config}
    python: {python}
    threads: 1
"""


@pytest.mark.slow
def test_a_fleet_gives_one_table_and_one_lost_device_costs_the_others_nothing(
    sshd, python: str, small_artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET.format(config=sshd.config, python=python))
    done = bench(small_artifact, "--fleet", tmp_path / "fleet.yaml", "-o", tmp_path / "out", *SHORT)
    assert done.exit_code == 1
    report = load_report(tmp_path / "out")
    assert [device.name for device in report.devices] == ["good one"]
    assert report.measurements[0].threads == 1
    (failure,) = report.failures
    assert failure.what == "closed"
    assert "good one: " in done.stderr
    assert "closed: closed: no connection" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- host: x", "expected a list `devices`"),
        ("devices: []", "expected a list `devices`"),
        ("devices: [{name: x}]", "at least a `host`"),
        ("devices: [{host: x, pyhton: y}]", "unknown pyhton"),
        ("devices: [{host: x, threads: 0}]", "threads"),
        ("devices: [{host: x}, {host: x}]", "two devices are called x"),
        ("devices: [", "not valid YAML"),
        ("devices: [{host: x, name: 5}]", "name: expected text, got 5"),
        ("devices: [{host: x, targets: 5}]", "targets: expected a list, got 5"),
    ],
)
def test_a_fleet_file_that_is_none_says_where(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "fleet.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_fleet(tmp_path / "fleet.yaml")


def test_fleet_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("devices: [{host: x, wheel: dist/e.whl, targets: cpu-onnx-fp32}]")
    (member,) = read_fleet(tmp_path / "fleet.yaml")
    assert member.remote.wheel == tmp_path / "dist/e.whl"
    assert member.targets == ("cpu-onnx-fp32",)
    assert member.name == "x"


def test_remote_and_fleet_are_one_or_the_other(small_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("devices: [{host: x}]")
    done = bench(small_artifact, "--remote", "x", "--fleet", tmp_path / "fleet.yaml")
    assert isinstance(done.exception, UsageError)
