"""`verify` on an artifact whose golden picture is prepared a little differently, or quite differently."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.manifest import content_hash
from edgeyolo.errors import DamagedFileError, GateError
from edgeyolo.runtime.verify import verify


def changed(artifact: Path, place: Path, **arrays: object) -> Path:
    """A copy whose golden vectors were changed, sealed again."""
    copy = Path(shutil.copytree(artifact, place))
    manifest = Artifact.open(copy).manifest
    with np.load(copy / "golden.npz") as golden:
        values = {name: golden[name] for name in golden.files}
    for name, change in arrays.items():
        values[name] = change(values[name])  # type: ignore[operator]
    np.savez(copy / "golden.npz", **values)
    (copy / MANIFEST).unlink()
    Artifact.seal(copy, manifest)
    return copy


def test_one_step_of_a_pixel_is_another_machine_and_more_is_another_preprocessing(
    small_artifact: Path, tmp_path: Path
) -> None:
    near = changed(small_artifact, tmp_path / "near", input=lambda pixels: np.maximum(pixels, 1) - 1)
    assert verify(near).deviation <= 1e-4
    far = changed(small_artifact, tmp_path / "far", input=lambda pixels: pixels[..., ::-1])
    with pytest.raises(DamagedFileError, match="another input tensor"):
        verify(far)


def test_other_values_are_a_failed_gate(small_artifact: Path, tmp_path: Path) -> None:
    other = changed(small_artifact, tmp_path / "other", **{"p4.value": lambda values: values * 1.01})
    with pytest.raises(GateError, match="golden vectors are missed") as caught:
        verify(other)
    assert caught.value.exit_code == 4


def edited(artifact: Path, place: Path, change: Callable[[dict[str, Any]], object], *, hashed: bool) -> Path:
    """A copy whose manifest was changed; sealed again (`hashed`), or without its hash, as before there was one."""
    copy = Path(shutil.copytree(artifact, place))
    data = json.loads((copy / MANIFEST).read_bytes())
    change(data)
    data["sha256"] = content_hash(data) if hashed else None
    (copy / MANIFEST).write_text(json.dumps(data), encoding="utf-8")
    return copy


def larger_anchors(data: dict[str, Any]) -> None:
    data["output"]["anchors"] = [
        [[1.5 * w, 1.5 * h] for w, h in level] for level in data["output"]["anchors"]
    ]


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "anchors": larger_anchors,
    "anchors of other levels": lambda data: data["output"]["anchors"].reverse(),
    "strides": lambda data: data["output"]["strides"].reverse(),
    "names": lambda data: data["output"]["names"].reverse(),
    "classes": lambda data: (data["output"].update(classes=2), data["class_names"].pop()),
    "layout": lambda data: data["output"].update(layout="NHWC"),
}


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("what", EDITS)
def test_an_artifact_that_detects_other_things_does_not_pass(
    small_artifact: Path, tmp_path: Path, what: str, hashed: bool
) -> None:
    with pytest.raises((GateError, DamagedFileError)):
        verify(edited(small_artifact, tmp_path / "edited", EDITS[what], hashed=hashed))


def test_detections_are_compared(small_artifact: Path) -> None:
    """An artifact of a network that is sure of little has weak golden detections all the same."""
    assert verify(small_artifact).detections >= 10


def test_a_tolerance_from_the_file_cannot_exceed_the_target_s(small_artifact: Path, tmp_path: Path) -> None:
    other = changed(small_artifact, tmp_path / "other", **{"p4.value": lambda values: values * 1.01})
    place = edited(other, tmp_path / "lax", lambda data: data["parity"].update(tolerance=1e6), hashed=True)
    with pytest.raises(GateError, match=r"0\.0001 is allowed"):
        verify(place)


def test_what_cannot_be_proved_is_said(small_artifact: Path, tmp_path: Path) -> None:
    place = edited(small_artifact, tmp_path / "old", lambda data: data["class_names"].reverse(), hashed=False)
    assert "cannot be proved" in verify(place).notes[0]
    assert not verify(small_artifact).notes
