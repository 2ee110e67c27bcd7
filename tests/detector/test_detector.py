"""The Detector: opening, calling, closing, threads; the golden boxes through a session that replays raw maps and
through an exported artifact."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeyolo import Detections, Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import AsynchronousSession, Hint
from edgeyolo.cli.result_files import IN_FLIGHT, detect_all
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector import detector
from edgeyolo.detector.detector import resolve_classes, split_classes
from edgeyolo.errors import DamagedFileError, ImageError, RuntimeMissingError, UsageError
from edgeyolo.runtime.images import read_image

NAMES = ("RBC", "WBC", "Platelets")
OUTPUT = RawMaps(
    names=("p3", "p4", "p5"),
    strides=(8, 16, 32),
    anchors=(
        ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
        ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
        ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    ),
    classes=3,
)
PICTURE = np.full((48, 64, 3), 90, np.uint8)


class ReplaySession:
    """Gives the same maps for every image of a batch."""

    def __init__(self, maps: dict[str, NDArray[np.float32]]) -> None:
        self.maps, self.inputs, self.closed = maps, [], 0

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        self.inputs.append(batch.copy())
        return {name: np.repeat(each, len(batch), axis=0) for name, each in self.maps.items()}

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A sealed artifact whose runtime file holds nothing."""
    folder = tmp_path / "model-onnx"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"nothing")
    manifest = Manifest(
        target=Target.parse("cpu-onnx-fp32"),
        backend="onnxruntime",
        model="yolov7-tiny",
        spec={},
        class_names=NAMES,
        input=InputContract(256, 256),
        output=OUTPUT,
        files={},
    )
    return Artifact.seal(folder, manifest).path


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> ReplaySession:
    """Opened in place of the runtime's: two objects, a sure WBC and an unsure RBC elsewhere."""
    maps = {
        name: np.full(shape, -12, np.float32)
        for name, shape in zip(OUTPUT.names, OUTPUT.shapes(1, (256, 256)), strict=True)
    }
    cells = maps["p5"].reshape(3, 8, 8, 8)
    cells[1, :4, 3, 2] = cells[0, :4, 5, 6] = 0
    cells[1, [4, 6], 3, 2] = 4
    cells[0, [4, 5], 5, 6] = 1
    replay = ReplaySession(maps)
    monkeypatch.setattr(detector, "open_session", lambda artifact, **given: replay)
    return replay


# --- golden ---


def expected_boxes(shared: Path) -> dict[str, NDArray[np.float64]]:
    text = (shared / "data/checkpoints/yolov7-tiny-bccd-256.expected.json").read_text()
    return {name: np.array(rows) for name, rows in json.loads(text)["detections_conf025_iou045"].items()}


def assert_golden(found: Detections, golden: NDArray[np.float64]) -> None:
    assert len(found) == len(golden), "all of them and no more"
    assert np.abs(found.xyxy - golden[:, :4]).max() < 0.5
    assert np.abs(found.confidence - golden[:, 4]).max() < 0.002
    assert found.class_id.tolist() == golden[:, 5].tolist()


def test_golden_boxes_from_replayed_maps(
    shared: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = np.load(shared / "data/checkpoints/yolov7-tiny-bccd-256.BloodImage_00007.npz")
    maps = {}
    for name in OUTPUT.names:
        _, anchors, height, width, channels = stored[name].shape
        maps[name] = stored[name].transpose(0, 1, 4, 2, 3).reshape(1, anchors * channels, height, width)
    replay = ReplaySession(maps)
    monkeypatch.setattr(detector, "open_session", lambda artifact, **given: replay)
    found = Detector(artifact)(shared / "data/bccd/JPEGImages/BloodImage_00007.jpg")
    assert_golden(found, expected_boxes(shared)["BloodImage_00007"])
    assert np.abs(replay.inputs[0] - stored["input"]).max() < 1e-6


def test_golden_boxes_end_to_end(shared: Path, bccd_artifact: Callable[[str], Path]) -> None:
    """Checkpoint -> export -> ONNX Runtime -> boxes, for every source of an image, in eight threads as in one."""
    golden = expected_boxes(shared)
    paths = {name: shared / f"data/bccd/JPEGImages/{name}.jpg" for name in golden}
    with Detector(bccd_artifact("cpu-onnx-fp32"), threads=1) as cells:
        found = dict(zip(paths, cells.batch(list(paths.values())), strict=True))
        for name, boxes in golden.items():
            assert_golden(found[name], boxes)
            path = paths[name]
            for source in (str(path), path.read_bytes(), read_image(path)):
                assert cells(source) == found[name]
            assert_golden(cells(Image.open(path)), boxes)

        def work(index: int) -> bool:
            name = list(paths)[index % len(paths)]
            return all(cells(paths[name]) == found[name] for _ in range(5))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))


def test_eight_threads_on_a_real_session(small_artifact: Path) -> None:
    """A small exported network: every thread sees its own image's detections."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (60 + 5 * i, 130 - 7 * i, 3), np.uint8) for i in range(8)]
    with Detector(small_artifact, conf=0.05, threads=1) as small:
        alone = [small(image) for image in images]
        assert all(len(each) for each in alone)

        def work(index: int) -> bool:
            return all(small(images[index]) == alone[index] for _ in range(20))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
        assert small.batch(images) == alone


# --- calling ---


def test_one_image_and_many(artifact: Path, session: ReplaySession, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(PICTURE).save(path)
    cells = Detector(artifact)
    found = cells(PICTURE)
    assert found.names == ["WBC", "RBC"]
    assert found.image_size == (48, 64)
    assert cells.batch([path, str(path), path.read_bytes(), Image.open(path), PICTURE]) == [found] * 5
    assert cells.batch(np.stack([PICTURE] * 3)) == [found] * 3
    assert cells.batch([]) == []
    _, times = cells.timed([PICTURE])
    assert times.total > 0
    assert cells.class_names == NAMES
    assert cells.artifact.manifest.model == "yolov7-tiny"
    assert repr(cells) == "<Detector: yolov7-tiny for cpu-onnx-fp32, 256 x 256, 3 classes>"


def test_thresholds(artifact: Path, session: ReplaySession) -> None:
    assert len(Detector(artifact)(PICTURE)) == 2
    assert Detector(artifact, conf=0.6)(PICTURE).names == ["WBC"]
    assert Detector(artifact, max_det=1)(PICTURE).names == ["WBC"]
    assert Detector(artifact, classes=["RBC"])(PICTURE).names == ["RBC"]
    assert Detector(artifact, classes=[1, "platelets"])(PICTURE).names == ["WBC"]
    config = Detector(artifact, iou=0.7, agnostic=True, multi_label=True).pipeline.config
    assert (config.iou, config.agnostic, config.multi_label) == (0.7, True, True)


def with_class_confidence(artifact: Path, given: Any) -> Path:
    manifest = Artifact.open(artifact).manifest
    Artifact.seal(artifact, replace(manifest, files={}, provenance={"class_confidence": given}))
    return artifact


def test_a_network_has_a_default_confidence_of_its_own_for_each_class(
    artifact: Path, session: ReplaySession
) -> None:
    """The sure WBC has 0.96, the unsure RBC 0.53."""
    with_class_confidence(artifact, {"RBC": 0.6, "WBC": 0.3, "Platelets": 0.1})
    assert Detector(artifact)(PICTURE).names == ["WBC"]
    assert Detector(artifact).pipeline.config.conf == 0.1
    assert len(Detector(artifact, conf=0.25)(PICTURE)) == 2  # what is asked for is for all classes
    with_class_confidence(artifact, {"RBC": 0.5, "WBC": 0.97, "Platelets": 0.1})
    assert Detector(artifact)(PICTURE).names == ["RBC"]
    again = pickle.loads(pickle.dumps(Detector(artifact)))
    assert again.pipeline.config.class_conf == (0.5, 0.97, 0.1)


@pytest.mark.parametrize(
    "given", [{"RBC": 0.6}, [0.1, 0.2, 0.3], {"RBC": 0.6, "WBC": 1.5, "Platelets": 0}, {"RBC": "0.6"}, 0.5]
)
def test_default_confidences_that_are_none_are_refused(
    artifact: Path, session: ReplaySession, given: Any
) -> None:
    with pytest.raises(DamagedFileError, match="class_confidence"):
        Detector(with_class_confidence(artifact, given))


@pytest.mark.parametrize("image", [PICTURE, "photo.jpg", Path("photo.jpg"), b"bytes"])
def test_batch_of_a_single_image_is_a_mistake(artifact: Path, session: ReplaySession, image: Any) -> None:
    with pytest.raises(UsageError, match=r"detector\(image\)"):
        Detector(artifact).batch(image)


def test_a_broken_image_is_named(artifact: Path, session: ReplaySession, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        Detector(artifact).batch([PICTURE, path])


def test_submitted_images_are_detected_as_called_ones(
    artifact: Path, session: ReplaySession, tmp_path: Path
) -> None:
    with Detector(artifact, conf=0.01) as detector:
        picture = np.zeros((40, 60, 3), np.uint8)
        assert detector.submit(picture).result().to_json() == detector(picture).to_json()
        with pytest.raises(ImageError, match=r"absent\.jpg"):
            detector.submit(tmp_path / "absent.jpg")
    with pytest.raises(UsageError, match="closed"):
        detector.submit(picture)


def test_results_are_in_the_order_of_the_images_whichever_ends_first() -> None:
    """Many are on their way, the first ends last; one that cannot be read is set aside."""
    paths = [Path(f"{number}.jpg") for number in range(2 * IN_FLIGHT + 5)]
    written: list[Path] = []
    passed_over: list[Path] = []
    told: list[int] = []
    nothing = Detections.empty(("cell",), (10, 10))

    class Backwards:
        """Ends what it was given when it has IN_FLIGHT images, the last one first."""

        flying: ClassVar[list[tuple[Path, Future[Detections]]]] = []

        def submit(self, path: Path) -> Future[Detections]:
            if path.stem == "3":
                raise ImageError(f"{path}: broken")
            future: Future[Detections] = Future()
            self.flying.append((path, future))
            if len(self.flying) == IN_FLIGHT or path == paths[-1]:
                while self.flying:
                    self.flying.pop()[1].set_result(nothing)
            return future

    class Writer:
        def write(self, path: Path, detections: Detections) -> None:
            written.append(path)

        def pass_over(self, path: Path, error: ImageError) -> None:
            passed_over.append(path)

    found = detect_all(Backwards(), paths, Writer(), lambda done, whole: told.append(done))  # type: ignore[arg-type]
    assert [path for path, _ in found] == paths
    assert written == [path for path in paths if path.stem != "3"]
    assert [path for path, result in found if isinstance(result, ImageError)] == passed_over == [paths[3]]
    assert told == list(range(1, len(paths) + 1))


def test_many_images_in_flight_on_onnx_runtime(small_artifact: Path) -> None:
    images = [make_scene(seed, (90, 120)).image for seed in range(12)]
    with Detector(small_artifact, conf=0.001, threads=1) as detector:
        expected = [detector(image).to_json() for image in images]
    assert any(expected)
    with Detector(small_artifact, conf=0.001, threads=2, hint="throughput") as detector:
        assert isinstance(detector.pipeline.session, AsynchronousSession)
        futures = [detector.submit(image) for image in images]
        assert [future.result(timeout=20).to_json() for future in futures] == expected
    with pytest.raises(UsageError, match="closed"):
        detector.submit(images[0])
    hints: tuple[Hint, ...] = ("latency", "shared")
    for hint in hints:
        with Detector(small_artifact, conf=0.001, threads=1, hint=hint) as detector:
            assert not isinstance(detector.pipeline.session, AsynchronousSession)
            assert detector(images[0]).to_json() == expected[0]


def test_closing(artifact: Path, session: ReplaySession) -> None:
    with Detector(artifact) as cells:
        cells(PICTURE)
    assert session.closed == 1
    assert "closed" in repr(cells)
    with pytest.raises(UsageError, match="closed"):
        cells(PICTURE)
    cells.close()


def test_threads_reach_the_runtime(
    artifact: Path, session: ReplaySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        detector, "open_session", lambda artifact, **given: asked.append(given["threads"]) or session
    )
    Detector(artifact, threads=3)
    monkeypatch.setenv("EDGEYOLO_THREADS", "2")
    Detector(artifact)
    Detector(artifact, threads=1)
    assert asked == [3, 2, 1], "an argument comes before the environment"
    with pytest.raises(UsageError, match="threads=0"):
        Detector(artifact, threads=0)


# --- opening ---


@pytest.mark.parametrize(
    "wrong", [{"conf": 2}, {"iou": -1}, {"max_det": 0}, {"classes": ["Thrombocyte"]}, {"classes": [3]}]
)
def test_wrong_thresholds_are_told_before_a_network_is_loaded(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    monkeypatch.setattr(detector, "open_session", lambda *_, **__: pytest.fail("the network was loaded"))
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Detector(artifact, **wrong)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing is there\n.*edgeyolo export"):
        Detector(tmp_path / "missing")
    with pytest.raises(UsageError, match="no manifest"):
        Detector(tmp_path)


def test_a_changed_artifact_is_refused(artifact: Path, session: ReplaySession) -> None:
    (artifact / "model.onnx").write_bytes(b"something")
    with pytest.raises(DamagedFileError, match="was changed"):
        Detector(artifact)


def test_an_artifact_of_another_target(artifact: Path, session: ReplaySession) -> None:
    Detector(artifact, target="cpu-onnx-fp32")
    with pytest.raises(
        UsageError, match=r"for cpu-onnx-fp32, not for jetson-trt-fp16\n.*--target jetson-trt-fp16"
    ):
        Detector(artifact, target="jetson-trt-fp16")


def test_weights_are_exported_into_a_cache(
    artifact: Path, session: ReplaySession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = pytest.importorskip("edgeyolo.export.cache", reason="needs the export extra")
    weights = tmp_path / "cells.safetensors"
    weights.write_bytes(b"weights")
    asked = []
    monkeypatch.setattr(
        cache,
        "cached_artifact",
        lambda path, target, **_: asked.append((path, target)) or Artifact.open(artifact),
    )
    assert Detector(weights)(PICTURE).names == ["WBC", "RBC"]
    Detector(weights, target="cpu-torch-fp32")
    assert asked == [(weights, "cpu-onnx-fp32"), (weights, "cpu-torch-fp32")]


def test_weights_without_the_export_extra_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "cells.pt"
    weights.write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "edgeyolo.export.cache", None)  # importing it fails
    with pytest.raises(RuntimeMissingError, match=r"pip install .*\[export\]"):
        Detector(weights)


@pytest.mark.slow
def test_weights_give_what_their_artifact_gives(
    small_weights: Path, small_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path))
    weights = Path(shutil.copy(small_weights, tmp_path))
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    first = Detector(weights, conf=0.05)
    assert tmp_path in first.artifact.path.parents
    assert len(first(image)) > 0
    assert first(image) == Detector(small_artifact, conf=0.05)(image)
    made = first.artifact.path.stat().st_mtime_ns
    assert Detector(weights).artifact.path == first.artifact.path
    assert first.artifact.path.stat().st_mtime_ns == made, "exported once"


def test_classes_by_id_and_name() -> None:
    assert resolve_classes([2, "RBC"], NAMES) == (0, 2)
    assert resolve_classes("wbc", NAMES) == (1,)
    assert resolve_classes(np.array([1]), NAMES) == (1,)
    assert resolve_classes(["Person"], ("person", "Person")) == (1,), "exact before folded"
    with pytest.raises(UsageError, match=r"no class is called 'Platelet'\nDid you mean Platelets\?"):
        resolve_classes(["Platelet"], NAMES)
    with pytest.raises(UsageError, match=r"Classes: RBC, WBC, Platelets"):
        resolve_classes(["zebra"], NAMES)
    for wrong in (-1, 3, 1.5, True, None):
        with pytest.raises(UsageError, match="classes"):
            resolve_classes([wrong], NAMES)  # type: ignore[list-item]


def test_a_batch_holds_no_more_images_than_it_runs(small_artifact: Path) -> None:
    seen: list[weakref.ref[NDArray[np.uint8]]] = []
    most = 0

    def photographs() -> Iterator[NDArray[np.uint8]]:
        nonlocal most
        for _ in range(20):
            image = np.zeros((96, 96, 3), np.uint8)
            seen.append(weakref.ref(image))
            most = max(most, sum(each() is not None for each in seen))
            yield image
            del image

    with Detector(small_artifact) as detector:
        assert len(detector.batch(photographs())) == 20
    assert most <= 2


@pytest.mark.parametrize(
    ("wanted", "names", "found"),
    [
        (["0"], ("1", "2", "0"), (2,)),
        (["0", 0], ("1", "2", "0"), (0, 2)),
        (["1"], ("cat", "dog"), (1,)),
        (["no helmet"], ("helmet", "no_helmet"), (1,)),
        (["a"], ("A", "a"), (1,)),
        (["\u00b2"], ("\u00b2", "x"), (0,)),
        (["red, round", "dog"], ("dog", "red, round"), (0, 1)),
    ],
)
def test_names_come_before_numbers(
    wanted: list[int | str], names: tuple[str, ...], found: tuple[int, ...]
) -> None:
    assert resolve_classes(wanted, names) == found


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("no helmet", r"'no helmet' may be each of 'no-helmet', 'no_helmet'"),
        ("\u00b2", "no class is called '\u00b2'"),
        ("\u0662", "no class is called"),
        ("2", "there is no class 2, ids go from 0 to 1"),
        ("9" * 5000, "there is no class"),
    ],
)
def test_ambiguous_and_unknown_class_names_are_refused(wanted: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_classes([wanted], ("no-helmet", "no_helmet"))


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (("cat,dog",), ["cat", "dog"]),
        (("cat, dog", "0"), ["cat", "dog", "0"]),
        (("red, round",), ["red, round"]),
        (("cat,red, round,dog",), ["cat", "red, round", "dog"]),
        ((" red, round ,cat",), ["red, round", "cat"]),
        (("a,b,c",), ["a,b", "c"]),
        (("none,,cat",), ["none", "", "cat"]),
    ],
)
def test_a_name_may_hold_commas(texts: tuple[str, ...], found: list[str]) -> None:
    assert split_classes(texts, ("cat", "dog", "red, round", "red", "a,b", "a")) == found
