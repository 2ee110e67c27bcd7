"""Another runtime version than the one that made an artifact: a note where it works, an error where it does not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.versions import numbers
from edgeyolo.errors import DamagedFileError, RuntimeMissingError
from edgeyolo.runtime.verify import verify


def made_with(artifact: Path, place: Path, version: str, *, rubbish: bool = False) -> Path:
    """A copy that says it was made with another version of ONNX Runtime, whole by its hashes."""
    copy = Path(shutil.copytree(artifact, place))
    manifest = Artifact.open(copy).manifest
    if rubbish:
        (copy / "model.onnx").write_bytes(b"an operator of tomorrow" * 9)
    (copy / MANIFEST).unlink()
    return Artifact.seal(copy, replace(manifest, tools={**manifest.tools, "onnxruntime": version})).path


def test_the_same_version_is_no_news(small_artifact: Path) -> None:
    assert verify(small_artifact).notes == ()


@pytest.mark.parametrize(("version", "says"), [("99.0", "is older than 99.0"), ("1.0", "is newer than 1.0")])
def test_another_version_that_works_is_a_note(
    small_artifact: Path, tmp_path: Path, version: str, says: str
) -> None:
    (note,) = verify(made_with(small_artifact, tmp_path / "copy", version)).notes
    assert says in note
    assert "it gives the same values" in note


def test_an_older_one_that_cannot_load_it_is_the_runtimes_fault(small_artifact: Path, tmp_path: Path) -> None:
    copy = made_with(small_artifact, tmp_path / "copy", "99.0", rubbish=True)
    with pytest.raises(RuntimeMissingError, match=r"is older than 99\.0.*cannot load it") as caught:
        verify(copy)
    assert caught.value.exit_code == 3
    assert "pip install 'onnxruntime>=99.0'" in caught.value.hint


def test_a_newer_one_that_cannot_load_it_is_the_files_fault(small_artifact: Path, tmp_path: Path) -> None:
    copy = made_with(small_artifact, tmp_path / "copy", "1.0", rubbish=True)
    with pytest.raises(DamagedFileError) as caught:
        verify(copy)
    assert caught.value.exit_code == 6


def test_every_backend_names_a_package_that_its_artifacts_tell_the_version_of() -> None:
    packages = {name: getattr(backend, "package", "") for name, backend in registry.backends().items()}
    assert packages["openvino-gpu"] == packages["openvino"] == "openvino"
    assert packages["tensorrt"] == "", "its packages hold no engine; engines carry a record of their own"


def test_numbers() -> None:
    assert numbers("2.13.0+cpu") == numbers("2.13") == (2, 13)
    assert numbers("2026.4.1-1234") == (2026, 4, 1)
    assert numbers("unknown") == ()
    assert numbers("1.9") < numbers("1.10")
