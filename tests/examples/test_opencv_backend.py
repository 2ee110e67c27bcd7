"""The worked example of a backend: it installs, its entry point is found, and it passes the suite for backends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "examples/edgeyolo-opencv"


def installed(site: Path) -> dict[str, str]:
    """An environment in which the package counts as installed: what pip makes of its pyproject.toml."""
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / "edgeyolo_opencv-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {place}" for name, place in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    path = [str(site), str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "EDGEYOLO_CACHE": str(site / "cache")}


@pytest.mark.slow
def test_the_installed_package_passes_the_suite(tmp_path: Path) -> None:
    """Run as its author does, in a process and a pytest of its own: nothing of our tests is in reach."""
    pytest.importorskip("torch", reason="needs the export extra")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(PACKAGE), str(PACKAGE)],
        env=installed(tmp_path / "site"), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"(\d+) (passed|failed|skipped)", done.stdout)
    counts = {word: int(number) for number, word in found}
    assert counts["passed"] >= 16
    assert counts.get("skipped", 0) == 0


@pytest.mark.slow
def test_a_backend_that_breaks_the_protocol_fails_the_suite(tmp_path: Path) -> None:
    """The suite is no ornament: maps that the next run overwrites are found, and so is a wrong sign."""
    pytest.importorskip("torch", reason="needs the export extra")
    environment = installed(tmp_path / "site")
    broken = (PACKAGE / "edgeyolo_opencv/__init__.py").read_text(encoding="utf-8")
    line = "        return dict(zip(self._output.names, maps, strict=True))\n"
    assert line in broken
    kept = (
        "        self._kept = getattr(self, '_kept', maps)\n"
        "        for held, new in zip(self._kept, maps): held[:] = new\n"
    )
    (tmp_path / "site/edgeyolo_opencv.py").write_text(
        broken.replace(line, kept + line.replace("maps", "self._kept"))
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(PACKAGE),
         str(PACKAGE), "-k", "outlive or wrong_batch"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"FAILED .*::test_results_outlive_the_next_run", done.stdout)
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.slow
def test_pip_builds_and_installs_it(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs the build backend")
    where = ["--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site"), str(PACKAGE)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *where], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    listed = subprocess.run(
        [sys.executable, "-m", "edgeyolo", "targets"],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.search(r"^ ?cpu-opencv-fp32 +yes +yes", listed.stdout, re.MULTILINE)
