"""The session of a Mac, with Apple's half of coremltools replaced by one that checks and computes (fake_framework)."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.interface import Session
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo_coreml import CoremlBackend
from edgeyolo_coreml.session import CoremlSession


@pytest.fixture
def loaded(fake_framework: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every model that Core ML loads during the test."""
    return fake_framework.install(monkeypatch)


def open_session(artifact: Artifact, **changes: Any) -> CoremlSession:
    contract = replace(artifact.manifest.input, **changes)
    return CoremlSession(artifact.path / "model.mlpackage", contract, artifact.manifest.output)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("precision", ["fp16", "int8", "w6"])
def test_it_gives_what_the_package_computes(
    artifacts: dict[str, Artifact], pictures: np.ndarray, precision: str
) -> None:
    backend = CoremlBackend()
    assert backend.can_run().ok
    session = backend.open(artifacts[precision], threads=2)
    assert isinstance(session, Session)
    expected = backend.open_for_parity(artifacts[precision]).run(pictures[:1])
    maps = session.run(pictures[:1])
    assert list(maps) == ["p3", "p4", "p5"]
    for name, each in maps.items():
        assert each.dtype == np.float32
        np.testing.assert_array_equal(each, expected[name])


def test_the_picture_arrives_as_an_rgb_image(
    artifacts: dict[str, Artifact], pictures: np.ndarray, loaded: list[Any]
) -> None:
    open_session(artifacts["fp16"]).run(pictures[:1])
    ((features,),) = [model.batches for model in loaded]
    assert list(features) == ["images"]
    image = features["images"]
    assert (image.mode, image.size) == ("RGB", (96, 64))
    np.testing.assert_array_equal(np.asarray(image), pictures[0])


def test_the_gpu_is_left_alone_where_that_can_be_asked_for(
    artifacts: dict[str, Artifact],
    fake_framework: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for macos, units in (("13.0", "CPU_AND_NE"), ("26.1", "CPU_AND_NE"), ("12.6.1", "ALL")):
        loaded = fake_framework.install(monkeypatch, macos=macos)
        open_session(artifacts["fp16"])
        assert [model.units for model in loaded] == [units]


@pytest.mark.usefixtures("loaded")
def test_a_batch_is_a_batch_of_predictions(artifacts: dict[str, Artifact], pictures: np.ndarray) -> None:
    session = open_session(artifacts["fp16"], dynamic_batch=True)
    together = session.run(pictures)
    for index in range(len(pictures)):
        alone = session.run(pictures[index : index + 1])
        assert all(np.array_equal(together[name][index], alone[name][0]) for name in alone)


@pytest.mark.usefixtures("loaded")
def test_results_outlive_the_next_run(artifacts: dict[str, Artifact], pictures: np.ndarray) -> None:
    session = open_session(artifacts["fp16"])
    held = session.run(pictures[:1])
    copies = {name: each.copy() for name, each in held.items()}
    session.run(pictures[1:2])
    assert all(np.array_equal(held[name], copies[name]) for name in held)


@pytest.mark.usefixtures("loaded")
def test_threads_take_turns(artifacts: dict[str, Artifact], pictures: np.ndarray) -> None:
    session = open_session(artifacts["fp16"])
    batches = [pictures[i : i + 1] for i in (0, 1, 2, 3) * 2]
    alone = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(session.run, batches))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("loaded")
def test_a_wrong_batch_and_a_closed_session_are_refused(
    artifacts: dict[str, Artifact], pictures: np.ndarray
) -> None:
    session = open_session(artifacts["fp16"])
    for bad in (pictures[0], pictures[:2], pictures[:1].astype(np.float32), pictures[:1, :, :64]):
        with pytest.raises(UsageError, match="expected uint8"):
            session.run(bad)
    session.close()
    session.close()
    with pytest.raises(EdgeYoloError, match="closed"):
        session.run(pictures[:1])


@pytest.mark.usefixtures("loaded")
def test_core_ml_compilation_failure_is_refused(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(artifacts["fp16"].path, tmp_path / "copy"))
    weights = copy / "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    weights.write_bytes(b"this is not a network " * 50)
    with pytest.raises(DamagedFileError, match="Error compiling model") as caught:
        open_session(replace(artifacts["fp16"], path=copy))
    assert str(copy) in str(caught.value)


@pytest.mark.usefixtures("loaded")
def test_rubbish_is_refused_before_core_ml_sees_it(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(artifacts["fp16"].path, tmp_path / "copy"))
    (copy / "model.mlpackage/Manifest.json").write_bytes(b"this is not a network " * 50)
    with pytest.raises(DamagedFileError, match="cannot load it"):
        open_session(replace(artifacts["fp16"], path=copy))


def test_a_system_that_is_too_old_is_told_what_it_needs(
    artifacts: dict[str, Artifact], fake_framework: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_framework.install(monkeypatch, macos="12.7")
    monkeypatch.setattr(fake_framework.FakeProxy, "newest", 6)
    open_session(artifacts["fp16"])
    with pytest.raises(RuntimeMissingError, match="needs macOS 13; this is macOS 12") as caught:
        open_session(artifacts["w6"])
    assert "ane-coreml-fp16" in caught.value.hint


@pytest.mark.usefixtures("loaded")
def test_a_manifest_of_another_network_is_refused(artifacts: dict[str, Artifact]) -> None:
    artifact = artifacts["fp16"]
    output = replace(artifact.manifest.output, names=("p3", "p4", "p6"))
    with pytest.raises(DamagedFileError, match=r"expects also \['p6'\]"):
        CoremlSession(artifact.path / "model.mlpackage", artifact.manifest.input, output)


@pytest.mark.usefixtures("loaded")
def test_the_fake_refuses_what_core_ml_refuses(artifacts: dict[str, Artifact]) -> None:
    """The fake is worth something only if it fails where the framework does."""
    import coremltools as ct
    from PIL import Image

    model = ct.models.MLModel(str(artifacts["fp16"].path / "model.mlpackage"))
    with pytest.raises(TypeError, match="PIL"):
        model.predict({"images": np.zeros((1, 3, 64, 96), np.float32)})
    with pytest.raises(TypeError, match="RGB"):
        model.predict({"images": Image.new("L", (96, 64))})
    with pytest.raises(KeyError, match="pictures"):
        model.predict({"pictures": Image.new("RGB", (96, 64))})
    with pytest.raises(RuntimeError, match="Image size 64 x 96"):
        model.predict({"images": Image.new("RGB", (64, 96))})
    with pytest.raises(TypeError, match="dict"):
        model.predict((Image.new("RGB", (96, 64)),))
