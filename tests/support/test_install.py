"""The line that is typed to install what is missing: quoted, for this place, with the extra that brings it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edgeyolo.support import install
from edgeyolo.support.install import install_hint, package_of

REQUIRED = (
    ("numpy", ""),
    ("torch", "export"),
    ("torch", "train"),
    ("openvino", "openvino"),
    ("pyyaml", "eval"),
)


@pytest.fixture(autouse=True)
def requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_requirements", lambda: REQUIRED)


def test_from_a_checkout_the_checkout_is_installed() -> None:
    """An index may hold no edgeyolo, or another one."""
    words = shlex.split(install_hint("train"))
    assert words[:3] == ["pip", "install", "-e"]
    assert words[3].endswith("[train]")
    assert (Path(words[3].removesuffix("[train]")) / "pyproject.toml").is_file()


def test_installed_it_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install, "__file__", str(tmp_path / "edgeyolo" / "support" / "install.py"))
    assert install_hint("train") == "pip install 'edgeyolo[train]'"  # quoted: brackets are patterns of zsh


@pytest.mark.parametrize(
    ("module", "end"),
    [
        ("torch", "[export]'"),
        ("yaml", "[eval]'"),
        ("openvino", "[openvino]'"),
        ("supervision", "install supervision"),
    ],
)
def test_a_module_is_brought_by_its_extra(module: str, end: str) -> None:
    assert install_hint(for_module=module).endswith(end)


def test_modules_and_their_packages() -> None:
    assert (package_of("yaml"), package_of("cv2"), package_of("faster_coco_eval")) == (
        "pyyaml", "opencv-python-headless", "faster-coco-eval",
    )  # fmt: skip


def test_hints_in_docstrings_are_quoted_as_those_in_messages() -> None:
    """zsh takes bare brackets for a pattern."""
    root = Path(__file__).parents[2]
    bare = [
        f"{file.relative_to(root)}: {line.strip()}"
        for place in ("edgeyolo", "backends", "calib", "benchmarks", "docs", "README.md")
        for file in (
            [root / place] if (root / place).is_file() else sorted((root / place).rglob("*.[pm][yd]"))
        )
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"pip install (-e )?(edgeyolo|\.)\[", line)
    ]
    assert bare == []
