"""Hints of the sessions that commands open, by their sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector import detector as detector_module
from edgeyolo.export import export

from ..stream.films import write_film
from .in_process import edgeyolo

Asked = Callable[..., "list[str | None]"]


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Hints of the sessions that are opened from now on."""
    found: list[str | None] = []
    opened = detector_module.open_session

    def noted(*arguments: Any, hint: str | None = None, **options: Any) -> Any:
        found.append(hint)
        return opened(*arguments, hint=hint, **options)

    monkeypatch.setattr(detector_module, "open_session", noted)
    return found


@pytest.fixture
def asked(small_artifact: Path, tmp_path: Path, hints: list[str | None]) -> Asked:
    """Hints of the sessions that a command opens, beside two pictures and a film."""
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), make_scene(number, (90, 120)).image)
    write_film(tmp_path / "street.mp4", (0, 0.04, 0.08), size=(96, 128))

    def run(command: str, *arguments: str) -> list[str | None]:
        done = edgeyolo(command, small_artifact, *arguments, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return hints

    return run


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("detect", "0.png"), None),
        (("detect", "0.png", "1.png"), "throughput"),
        (("detect", "0.png", "1.png", "--hint", "latency"), "latency"),
        (("detect", "street.mp4"), "throughput"),
        (("track", "street.mp4"), "throughput"),
    ],
)
def test_many_pictures_that_nobody_waits_for_are_for_throughput(
    asked: Asked, words: tuple[str, ...], hint: str | None
) -> None:
    assert asked(*words) == [hint]


def test_a_camera_keeps_the_shortest_latency(
    small_artifact: Path, tmp_path: Path, hints: list[str | None]
) -> None:
    for command in ("detect", "track"):  # nobody answers there, but the session is open by then
        assert edgeyolo(command, small_artifact, "rtsp://127.0.0.1:9/x", "--json", cwd=tmp_path).returncode
    assert hints == [None, None]


def test_a_variable_of_the_artifacts_runtime_comes_before_the_default(
    small_weights: Path, tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_OPENVINO_HINT", "latency")
    assert asked("detect", "street.mp4") == ["throughput"]  # by ONNX Runtime, which does not read it
    artifact = export(small_weights, "cpu-openvino-fp32", tmp_path / "openvino").path
    assert edgeyolo("detect", artifact, "street.mp4", "--json", cwd=tmp_path).returncode == 0
    assert asked("detect", "0.png") == ["throughput", None, None]


def test_a_runtime_that_makes_no_difference_says_so(
    small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = export(small_weights, "cpu-torch-fp32", tmp_path / "torch").path
    cv2.imwrite(str(tmp_path / "0.png"), make_scene(0, (90, 120)).image)
    done = edgeyolo("detect", artifact, "0.png", "--hint", "throughput", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch has no such choice" in done.stderr + capsys.readouterr().err
