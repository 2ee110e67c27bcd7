"""CI: its commands exist, and its versions of Python are those that the package promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="needs the eval extra")

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
STEPS = "\n".join(step.get("run", "") for job in WORKFLOW["jobs"].values() for step in job["steps"])


def test_the_tests_of_the_base_install_exist() -> None:
    paths = WORKFLOW["env"]["BASE_TESTS"].split()
    assert len(paths) >= 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert STEPS.count("$BASE_TESTS") == 2  # from the checkout, and from the wheel in an empty environment


def test_make_targets_of_the_workflow_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make ([a-z-]+)", STEPS)
    assert "test" in targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_matrix_begins_with_the_oldest_python_that_is_promised() -> None:
    matrix = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]
    oldest = re.search(
        r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    assert oldest is not None
    assert matrix["python"][0] == oldest[1]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert matrix["install"] == ["base", "all"]


def test_hooks_run_the_tools_of_the_checkout_and_download_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert {each["repo"] for each in hooks} == {"local"}
    assert {hook["id"] for each in hooks for hook in each["hooks"]} == {
        "ruff",
        "ruff-format",
        "mypy",
        "codespell",
    }
    assert all(hook["entry"].startswith(".venv/bin/") for each in hooks for hook in each["hooks"])
