"""`verify` on an artifact whose golden picture is prepared a little differently, or quite differently."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest, Parity, content_hash
from edgeyolo.artifact.target import Target
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import DamagedFileError, GateError
from edgeyolo.runtime.golden import Golden, pixels_of
from edgeyolo.runtime.postprocess import postprocess
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo.runtime.verify import require_golden, verify


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


# --- tolerances ---

RAW = RawMaps(("p3",), (8,), (((8.0, 8.0),),), classes=2)
INPUT = InputContract(32, 32)
PROFILE = TargetProfile(Target.parse("cpu-onnx-fp32"), "", parity=1e-3, agreement=0.6)
GREY = np.full((32, 32, 3), 100, np.uint8)


def logits(sure: int = 5) -> np.ndarray:
    """A map of five objects in five cells, `sure` of which are found."""
    maps = np.full((1, 7, 4, 4), -4, np.float32)
    for place in range(sure):
        maps[0, :, place // 4, place % 4] = (0, 0, 0, 0, 4, 4, -4)
    return maps


def held(
    values: np.ndarray,
    *,
    stated: float | None = 1e-2,
    profile: TargetProfile | None = PROFILE,
    exported: np.ndarray | None = None,
    raw: RawMaps = RAW,
) -> float:
    """Deviation of a session that gives `values` from golden vectors of `exported`, where it is within its limits.

    Those are `logits()` unless others are given.
    """
    exported = logits() if exported is None else exported
    parity = None if stated is None else Parity(stated, {"p3": 0.0}, "one picture")
    manifest = Manifest(PROFILE.target, "onnxruntime", "small", {}, ("cat", "dog"), INPUT, raw, {}, parity)
    batch, letterboxes = preprocess([GREY], INPUT)
    golden = Golden(
        GREY,
        pixels_of(batch[0], INPUT),
        {"p3": (np.arange(112), exported.ravel())},
        {},
        postprocess({"p3": exported}, raw, letterboxes)[0],
        0.25,
    )
    session = SimpleNamespace(run=lambda batch: {"p3": values})
    deviation, allowed = require_golden(manifest, golden, session, profile, "it")  # type: ignore[arg-type]
    assert deviation <= allowed
    return deviation


def shifted(amount: float) -> np.ndarray:
    """`logits` with one value off by a part of the largest."""
    maps = logits()
    maps[0, 6, 3, 3] -= 4 * amount
    return maps


@pytest.mark.parametrize(
    ("stated", "profile", "allowed"),
    [(1e-2, PROFILE, 1e-3), (1e-4, PROFILE, 1e-4), (1e-2, None, 1e-2), (None, None, 1e-4)],
)
def test_values_may_be_off_by_what_export_and_target_allow(
    stated: float | None, profile: TargetProfile | None, allowed: float
) -> None:
    """The smaller of the two; a ten-thousandth where neither says anything."""
    assert held(shifted(0.9 * allowed), stated=stated, profile=profile) == pytest.approx(
        0.9 * allowed, rel=0.01
    )
    with pytest.raises(GateError, match=f"{allowed:g} is allowed"):
        held(shifted(1.1 * allowed), stated=stated, profile=profile)


def test_golden_detections_must_be_found_to_the_target_s_share() -> None:
    """0.6 of both sides together: of 5 and 3, six meet; of 5 and 2, four of seven."""
    lax = replace(PROFILE, parity=10.0)
    assert held(logits(3), stated=10.0, profile=lax) > 0
    with pytest.raises(GateError, match=r"of 7 golden detections 57\.1% are found; 60\.0% are demanded"):
        held(logits(2), stated=10.0, profile=lax)
    with pytest.raises(GateError, match=r"100\.0% are demanded"):
        held(logits(4), stated=10.0, profile=None)


def test_of_equal_scores_another_machine_may_keep_the_other() -> None:
    """Four squares in a row, each half over the next: the first and third stay, or by a rounding the others."""
    raw = RawMaps(("p3",), (8,), (((24.0, 24.0),),), classes=2)
    exported = np.full((1, 7, 4, 4), -4, np.float32)
    exported[0, :, 2] = np.array((0, 0, 0, 0, 4, 4, -4), np.float32)[:, None]
    here = exported.copy()
    here[0, 4, 2, 1::2] += 1e-5
    assert held(here, exported=exported, raw=raw) < 1e-5
    here[0, 2, 2] += 0.1  # of other widths
    with pytest.raises(GateError, match="missed"):
        held(here, exported=exported, raw=raw)


@pytest.mark.parametrize(("steps", "refused"), [(1, False), (2, True)])
def test_a_golden_input_may_be_one_step_of_a_pixel_away(
    small_artifact: Path, tmp_path: Path, steps: int, refused: bool
) -> None:
    def move(pixels: np.ndarray) -> np.ndarray:
        return np.where(pixels < 128, pixels + steps, pixels - steps).astype(np.uint8)

    near = changed(small_artifact, tmp_path / "near", input=move)
    with pytest.raises(DamagedFileError, match="another input tensor") if refused else nullcontext():
        verify(near)


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


def test_missing_manifest_hash_is_noted(small_artifact: Path, tmp_path: Path) -> None:
    place = edited(small_artifact, tmp_path / "old", lambda data: data["class_names"].reverse(), hashed=False)
    assert "cannot be proved" in verify(place).notes[0]
    assert not verify(small_artifact).notes
