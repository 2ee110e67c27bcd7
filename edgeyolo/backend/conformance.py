"""Test suite for backends, ours and third parties'.

Open, run, close, determinism, threads, parity with torch, batches, refusals. A module of tests takes it over and
says which targets are meant; pytest is needed for nothing else of edgeyolo:

    import pytest
    from edgeyolo.backend.conformance import *

    @pytest.fixture(scope="module", params=["cpu-opencv-fp32"])
    def target(request: pytest.FixtureRequest) -> str:
        return request.param

The backend must be installed, so that its entry point is found, and beside it edgeyolo's `export` extra, as a small
network is exported to the target first. A target that cannot run on this machine is run by its stand-in, as the
export gate does, where it has one, and skipped with the reason where not.
"""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.schema import ARTIFACT
from edgeyolo.backend import registry
from edgeyolo.backend.interface import Backend, CalibrationSource, ParityBackend, Session
from edgeyolo.datasets.scenes import make_scene, write_dataset
from edgeyolo.errors import (
    DamagedFileError,
    EdgeYoloError,
    FileRefusedError,
    UnsupportedTargetError,
    UsageError,
)
from edgeyolo.export import ExportOptions, export
from edgeyolo.models.sample import CLASS_NAMES, sample_weights
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo.runtime.verify import verify


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a narrow three-class network in training form."""
    pytest.importorskip("torch", reason="needs the export extra")
    return sample_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSource:
    """Eight generated scenes, for the targets that are quantized from images."""
    labels = write_dataset(tmp_path_factory.mktemp("calibration"), range(100, 108))
    return registry.open_calibration(str(labels.with_name("images")), images=8)


@pytest.fixture(scope="module")
def artifact(
    target: str, small_weights: Path, calibration: CalibrationSource, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """The small network, exported to `target`.

    That is a fixture of the module that takes the suite over.
    """
    _, backend = registry.find_target(target)
    needed = [backend.can_compile()]
    if not isinstance(backend, ParityBackend):
        needed.append(backend.can_run())
    for availability in needed:
        if not availability.ok:
            pytest.skip(f"{target}: {availability.reason}")
    place = tmp_path_factory.mktemp("export") / target
    return export(small_weights, target, place, ExportOptions(calibration=calibration))


def open_session(artifact: Artifact) -> Session:
    """Open the artifact, or its stand-in where it cannot run here."""
    return registry.open_for_parity(artifact)[0]


def batch_for(artifact: Artifact, seed: int = 5, images: int = 1) -> np.ndarray:
    """Generated scenes in the layout and type of the artifact's contract."""
    pictures = [make_scene(seed + i).image for i in range(images)]
    return preprocess(pictures, artifact.manifest.input)[0]


def test_backend_keeps_the_protocol(artifact: Artifact) -> None:
    backend = registry.backends()[artifact.manifest.backend]
    assert isinstance(backend, Backend)
    session = open_session(artifact)
    assert isinstance(session, Session)
    session.close()


def test_artifact_holds_the_files_that_the_profile_promises(artifact: Artifact) -> None:
    profile, _ = registry.find_target(artifact.manifest.target)
    assert {*profile.files, "golden.npz"} <= set(artifact.manifest.files)
    assert artifact.manifest.class_names == CLASS_NAMES


def test_the_manifest_keeps_the_published_schema(artifact: Artifact) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="judges the schema")
    data = json.loads((artifact.path / MANIFEST).read_text(encoding="utf-8"))
    jsonschema.validate(data, json.loads(ARTIFACT.read_text(encoding="utf-8")))
    assert len(data["provenance"]["weights_sha256"]) == 64
    assert {"edgeyolo", "python", "torch"} <= set(data["tools"])
    assert data["spec"]["name"] == "small"


def test_maps_have_the_shapes_of_the_contract(artifact: Artifact) -> None:
    session = open_session(artifact)
    maps = session.run(batch_for(artifact))
    expected = artifact.manifest.output.shapes(1, artifact.manifest.input.size)
    assert tuple(maps[name].shape for name in artifact.manifest.output.names) == expected
    assert all(each.dtype == np.float32 for each in maps.values())
    session.close()


def test_the_same_input_gives_the_same_bits(artifact: Artifact) -> None:
    session = open_session(artifact)
    batch = batch_for(artifact)
    first = {name: each.copy() for name, each in session.run(batch).items()}
    session.run(batch_for(artifact, seed=9))
    again = session.run(batch)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    session.close()


def test_results_outlive_the_next_run(artifact: Artifact) -> None:
    session = open_session(artifact)
    held = session.run(batch_for(artifact))
    copies = {name: each.copy() for name, each in held.items()}
    session.run(batch_for(artifact, seed=9))
    assert all(np.array_equal(held[name], copies[name]) for name in held)
    session.close()


def test_threads_do_not_meet(artifact: Artifact) -> None:
    session = open_session(artifact)
    batches = [batch_for(artifact, seed) for seed in range(8)]
    alone = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(session.run, batches))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    session.close()


def test_parity_was_measured_and_holds(artifact: Artifact) -> None:
    parity = artifact.manifest.parity
    assert parity is not None
    assert 0.0 <= parity.worst <= parity.tolerance
    assert set(parity.deviation) == set(artifact.manifest.output.names)
    assert verify(artifact.path).deviation <= parity.tolerance


def test_closing_twice_is_fine_and_running_afterwards_is_not(artifact: Artifact) -> None:
    session = open_session(artifact)
    session.close()
    session.close()
    with pytest.raises(EdgeYoloError, match="closed"):
        session.run(batch_for(artifact))


def test_a_wrong_batch_is_refused_with_what_was_expected(artifact: Artifact) -> None:
    session = open_session(artifact)
    good = batch_for(artifact)
    for bad in (good[0], good.astype(np.float64), good[:, :2]):
        with pytest.raises(UsageError, match="expected"):
            session.run(bad)
    session.close()


def test_a_damaged_file_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(artifact.path, tmp_path / "broken"))
    name = next(name for name in artifact.manifest.files if name != "golden.npz")
    data = bytearray((broken / name).read_bytes())
    data[len(data) // 2] ^= 1
    (broken / name).write_bytes(data)
    with pytest.raises(DamagedFileError, match="was changed"):
        Artifact.open(broken)


def test_a_foreign_file_under_the_right_name_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    """Even where the hashes agree: the manifest was sealed over rubbish."""
    foreign = Path(shutil.copytree(artifact.path, tmp_path / "foreign"))
    for name in artifact.manifest.files:
        if name != "golden.npz":
            (foreign / name).write_bytes(b"this is not a network " * 50)
    (foreign / MANIFEST).unlink()
    resealed = Artifact.seal(foreign, artifact.manifest)
    with pytest.raises((FileRefusedError, EdgeYoloError)) as caught:
        open_session(resealed)
    assert str(foreign) in str(caught.value)


def test_an_unknown_backend_is_named(artifact: Artifact, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(artifact.path, tmp_path / "copy"))
    Artifact.seal(copy, replace(artifact.manifest, backend="hailo"))
    with pytest.raises(EdgeYoloError, match="needs the backend 'hailo'"):
        open_session(Artifact.open(copy))


def test_a_batch_of_four(
    artifact: Artifact, small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    target = str(artifact.manifest.target)
    profile, _ = registry.find_target(target)
    try:
        four = export(
            small_weights, target, tmp_path / "four", ExportOptions(batch=4, calibration=calibration)
        )
    except UnsupportedTargetError as error:  # a device of one image at a time says so, and leaves nothing
        assert "batch" in str(error)
        assert not (tmp_path / "four").exists()
        return
    session, single = open_session(four), open_session(artifact)
    batch = batch_for(four, images=4)
    maps = session.run(batch)
    for index in range(4):
        alone = single.run(batch[index : index + 1])
        for name, each in alone.items():
            # Another batch may take other kernels, whose last bit can flip an integer and all that follows.
            coarse = 0.02 if profile.calibrated else 0.05 if profile.target.precision == "bf16" else 0.0
            apart = coarse * float(np.abs(each).max()) or 1e-3
            np.testing.assert_allclose(maps[name][index], each[0], rtol=1e-7, atol=apart)
    session.close()
    single.close()


def test_dynamic_batch_takes_one_and_five(
    artifact: Artifact, small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    profile, _ = registry.find_target(artifact.manifest.target)
    options = ExportOptions(dynamic_batch=True, calibration=calibration)
    if not profile.dynamic_batch:
        # A device of one image at a time is found out by the static check, before the profile is asked.
        with pytest.raises(
            (UsageError, UnsupportedTargetError), match=r"fixed batch|dynamic batch|one image"
        ):
            export(small_weights, str(profile.target), tmp_path / "free", options)
        assert not (tmp_path / "free").exists()
        return
    free = export(small_weights, str(profile.target), tmp_path / "free", options)
    session = open_session(free)
    for images in (1, 5):
        assert session.run(batch_for(free, images=images))["p3"].shape[0] == images
    session.close()


def test_a_quantized_target_needs_images(artifact: Artifact, small_weights: Path, tmp_path: Path) -> None:
    profile, _ = registry.find_target(artifact.manifest.target)
    if not profile.calibrated:
        assert artifact.manifest.parity is not None
        return
    with pytest.raises(UsageError, match="quantized from images"):
        export(small_weights, str(profile.target), tmp_path / "none")
    assert not (tmp_path / "none").exists()


__all__ = ["artifact", "calibration", "small_weights"]
__all__ += [name for name in dict(globals()) if name.startswith("test_")]
