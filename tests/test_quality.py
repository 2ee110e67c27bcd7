"""The house rules that tools can check: style, types, the direction of imports, and what must never be written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [("check", "."), ("format", "--check", ".")], ids=" ".join)
def test_ruff(command: tuple[str, ...]) -> None:
    run("ruff", *command)


def test_types() -> None:
    run("mypy")


def test_direction_of_imports() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def sources() -> list[Path]:
    folders = ("edgeyolo", "backends", "calib", "benchmarks")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > 260
    }
    assert not long, f"each is a question whether it is one thing: {long}"


def test_no_paths_of_a_machine() -> None:
    pattern = re.compile(r"""["' (`]/(?:work|root|home|tmp)/""")
    files = [*sources(), ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile"]
    found = [str(path.relative_to(ROOT)) for path in files if pattern.search(path.read_text())]
    assert not found
