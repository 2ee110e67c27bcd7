"""OpenCV's packages: which one runs, and what to type where that is not the one that was wanted."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from edgeyolo.cli.failure import explain
from edgeyolo.support import opencv

GUI = "  GUI:                           QT5\n"
NO_GUI = "  GUI:                           NONE\n"


def pretend(patch: pytest.MonkeyPatch, packages: dict[str, str], build: str | None) -> None:
    """Install packages, and a cv2 with that build information; None for one of which only a folder is left."""
    patch.setattr(opencv, "installed", lambda: packages)
    module = ModuleType("cv2")
    if build is not None:
        module.__version__ = "5.0.0"  # type: ignore[attr-defined]
        module.getBuildInformation = lambda: build  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "cv2", module)


@pytest.mark.parametrize(
    ("packages", "build", "says", "to_type"),
    [
        (["opencv-python-headless"], NO_GUI, "without windows", ""),
        (["opencv-python-headless", "opencv-python"], NO_GUI, "without windows", "--no-deps opencv-python"),
        (
            ["opencv-python-headless", "opencv-contrib-python"],
            NO_GUI,
            "without",
            "--no-deps opencv-contrib-python",
        ),
        (["opencv-python-headless", "opencv-python"], GUI, "with windows (QT5)", ""),
        (["opencv-python-headless"], None, "not usable", "--no-deps opencv-python-headless"),
    ],
)
def test_opencv_findings_and_hints(
    packages: list[str], build: str | None, says: str, to_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, dict.fromkeys(packages, "5.0.0.93"), build)
    text, advice = opencv.describe()
    assert says in text
    assert advice.endswith(to_type) and bool(advice) == bool(to_type)


def test_half_of_opencv_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {}, None)
    import cv2

    with pytest.raises(AttributeError) as error:
        cv2.imread("photo.jpg")
    failure = explain(error.value)
    assert (failure.code, failure.kind) == (3, "RuntimeMissingError")
    assert failure.hint == "pip install --force-reinstall --no-deps opencv-python-headless"


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libGL.so.1: cannot open shared object file"),
        ModuleNotFoundError("No module named 'cv2'", name="cv2"),
    ],
)
def test_an_opencv_that_does_not_load(error: ImportError) -> None:
    assert "opencv-python-headless" in explain(error).hint


def test_installed_opencv_is_whole() -> None:
    text, advice = opencv.describe()
    assert "windows" in text or advice
