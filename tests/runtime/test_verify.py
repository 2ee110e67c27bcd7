"""`verify` on an artifact whose golden picture is prepared a little differently, or quite differently."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeyolo.artifact.artifact import MANIFEST, Artifact
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
