"""Files of other tools: what is recognised is said, what is not must be said, and nothing is taken on trust."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import DecodedBoxes, RankedBoxes
from edgeyolo.backend.interface import Port
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector.adopt import Spec, adopt, template
from edgeyolo.detector.port_guess import FILL_IN, class_names_of, recognise
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.runtime.postprocess import postprocess
from edgeyolo.runtime.postprocess_config import PostprocessConfig
from edgeyolo.runtime.preprocess import Letterbox
from edgeyolo.runtime.verify import verify


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def foreign(small_artifact: Path, tmp_path: Path) -> Path:
    """The ONNX file of an artifact, without its manifest."""
    return Path(shutil.copy(small_artifact / "model.onnx", tmp_path / "m.onnx"))


@pytest.fixture
def spec(small_artifact: Path) -> dict[str, Any]:
    manifest = json.loads((small_artifact / "manifest.json").read_text())
    return {name: manifest[name] for name in ("class_names", "input", "output")}


def test_without_a_spec_it_says_what_it_is_and_what_is_missing(foreign: Path) -> None:
    with pytest.raises(UsageError, match="has no manifest") as caught:
        Detector(foreign)
    text = str(caught.value)
    assert "3 raw head maps in NCHW (3 anchors, 3 classes), strides 8, 16, 32" in text
    assert "the anchors are not in it" in text
    assert "spec.json" in text
    blank = json.loads(text[text.index("{\n") :])
    assert blank["output"]["names"] == ["p3", "p4", "p5"]
    assert blank["input"]["width"] == 96
    assert FILL_IN in json.dumps(blank["output"]["anchors"])


def test_a_template_filled_in_gives_the_artifacts_detections(
    foreign: Path, spec: dict[str, Any], small_artifact: Path, tmp_path: Path
) -> None:
    _, blank = template(foreign)
    with pytest.raises(UsageError, match="still stands"):
        Detector(foreign, spec=blank)
    blank["class_names"] = ["cat", "dog", "bird"]
    blank["input"] |= {"color_order": "RGB", "scale": 1 / 255}
    blank["output"]["anchors"] = spec["output"]["anchors"]
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(blank))
    image = make_scene(3).image
    expected = Detector(small_artifact, conf=0.05)(image)
    with Detector(foreign, spec=path, conf=0.05) as detector:
        assert detector(image) == expected
        assert len(expected) > 0
        assert str(foreign) in str(detector.explain())
        made = detector.artifact.path
    assert Detector(foreign, spec=blank).artifact.path == made, "adopted once"


def test_an_adopted_artifact_is_a_whole_one(foreign: Path, spec: dict[str, Any], tmp_path: Path) -> None:
    artifact = adopt(foreign, spec, tmp_path / "adopted")
    assert artifact.manifest.parity is None
    assert artifact.manifest.provenance["adopted"] == "m.onnx"
    assert verify(artifact.path).deviation <= 1e-4
    assert Artifact.open(artifact.path).manifest.class_names == ("cat", "dog", "bird")
    with pytest.raises(UsageError):
        adopt(foreign, spec, tmp_path / "adopted")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda spec: spec["input"].update(height=64), "does not fit"),
        (lambda spec: spec["input"].update(name="image"), "does not fit"),
        (lambda spec: spec["input"].update(layout="NHWC"), "does not fit"),
        (lambda spec: spec["output"].update(names=["p3", "p4", "p6"]), "does not fit"),
        (lambda spec: spec["output"].update(strides=[8, 16, 64]), "does not fit"),
        (lambda spec: spec.update(class_names=["cat"]), "1 class names for 3 classes"),
        (lambda spec: spec["output"].update(kind="boxes"), "kind 'boxes'"),
        (lambda spec: spec["input"].update(mean=[0, 0, 0]), "mean"),
        (lambda spec: spec.pop("output"), r"missing \['output'\]"),
        (lambda spec: spec.update(target="ane-coreml-fp16"), "does not run m.onnx"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(
    foreign: Path, spec: dict[str, Any], tmp_path: Path, change: Any, says: str
) -> None:
    change(spec)
    with pytest.raises(UsageError, match=says):
        adopt(foreign, spec, tmp_path / "adopted")
    assert not (tmp_path / "adopted").exists()


def test_rubbish_is_damaged_not_misunderstood(spec: dict[str, Any], tmp_path: Path) -> None:
    rubbish = tmp_path / "r.onnx"
    rubbish.write_bytes(b"this is not a network" * 9)
    with pytest.raises(DamagedFileError):
        template(rubbish)
    with pytest.raises(DamagedFileError):
        adopt(rubbish, spec, tmp_path / "adopted")


def test_an_artifact_needs_no_spec(small_artifact: Path, spec: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="says itself"):
        Detector(small_artifact, spec=spec)


def test_an_artifact_may_have_the_name_of_a_file(small_artifact: Path, tmp_path: Path) -> None:
    with Detector(shutil.copytree(small_artifact, tmp_path / "tiny.onnx")) as detector:
        assert "its manifest says so" in str(detector.explain())


def test_an_engine_says_what_is_missing_without_a_gpu(tmp_path: Path) -> None:
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"engine")
    with pytest.raises(UsageError, match=r"has no manifest(.|\n)*tensorrt"):
        Detector(engine)


def test_specs_may_name_classes_in_a_file(spec: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n\nbird\n")
    assert Spec.read(spec | {"class_names": str(tmp_path / "names.txt")}).class_names == (
        "cat",
        "dog",
        "bird",
    )


IMAGE = (Port("images", (1, 3, 640, 640), "float32"),)
HWC = (Port("x", (1, 640, 640, 3), "uint8"),)


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind", "classes"),
    [
        (IMAGE, [(1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)], "raw maps", 80),
        (IMAGE, [(1, 255, 20, 20), (1, 255, 80, 80), (1, 255, 40, 40)], "raw maps", 80),
        (HWC, [(1, 80, 80, 24), (1, 40, 40, 24), (1, 20, 20, 24)], "raw maps", 3),
        (IMAGE, [(1, 25200, 85)], "decoded boxes", 80),
        (IMAGE, [(1, 84, 8400)], "decoded boxes", 80),
        (IMAGE, [(1, 300, 6)], "ranked boxes", FILL_IN),
        (IMAGE, [(1, 25200, 6)], "decoded boxes", 1),
        (IMAGE, [(1, 1), (1, 100, 4), (1, 100), (1, 100)], "detections", FILL_IN),
    ],
)
def test_layouts_that_are_recognised(inputs: Any, outputs: Any, kind: str, classes: Any) -> None:
    ports = tuple(
        Port(f"o{i}", shape, "int32" if kind == "detections" and i in (0, 3) else "float32")
        for i, shape in enumerate(outputs)
    )
    found = recognise(inputs, ports)
    assert found.template["output"]["kind"] == kind
    assert found.template["output"]["classes"] == classes
    if kind == "raw maps":
        assert found.template["output"]["strides"] == [8, 16, 32]
    assert FILL_IN in json.dumps(found.template), "something is always left to say"


@pytest.mark.parametrize(
    "outputs",
    [
        [(1, 255, 80, 80), (1, 255, 40, 40)],
        [(1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 10, 10)],
        [(1, 254, 80, 80), (1, 254, 40, 40), (1, 254, 20, 20)],
        [(1, 3, 80, 80, 85)],
        [],
    ],
)
def test_others_are_not_guessed(outputs: Any) -> None:
    found = recognise(IMAGE, tuple(Port(f"o{i}", shape, "float32") for i, shape in enumerate(outputs)))
    assert "no layout that is known" in found.sentences[1]
    assert FILL_IN in found.template["output"]["kind"]


def test_decoded_boxes_are_suppressed_like_any() -> None:
    rows = np.zeros((1, 10, 7), np.float32)
    rows[0, :, 4] = 0.01
    rows[0, 3] = [50, 40, 20, 10, 0.9, 0.2, 0.8]
    rows[0, 4] = [51, 40, 20, 10, 0.8, 0.2, 0.8]  # the same object, less sure
    rows[0, 7] = [20, 20, 10, 10, 0.9, 0.9, 0.1]
    output = DecodedBoxes(("output",), 10, 2)
    letterbox = Letterbox.fit((100, 100), (100, 100))
    (found,) = postprocess({"output": rows}, output, [letterbox])
    np.testing.assert_allclose(found.xyxy, [[15, 15, 25, 25], [40, 35, 60, 45]])
    np.testing.assert_allclose(found.confidence, [0.81, 0.72], rtol=1e-6)
    assert found.class_id.tolist() == [0, 1]
    (only,) = postprocess({"output": rows}, output, [letterbox], PostprocessConfig(classes=(1,)))
    assert only.class_id.tolist() == [1]
    (many,) = postprocess(
        {"output": rows}, output, [letterbox], PostprocessConfig(conf=0.05, multi_label=True)
    )
    assert len(many) == 4
    rows[0, 4, 2] = np.nan
    with pytest.raises(EdgeYoloError, match="'output' holds NaN"):
        postprocess({"output": rows}, output, [letterbox])
    rows[0, 4, 2] = 20
    single = DecodedBoxes(("output",), 10, 1)
    (one,) = postprocess({"output": rows[:, :, :6]}, single, [letterbox])
    np.testing.assert_allclose(one.confidence, [0.9, 0.9], rtol=1e-6)


LETTERBOX = Letterbox.fit((100, 100), (100, 100))


def test_boxes_without_objectness_in_columns() -> None:
    """As YOLOv8, v9 and v11 give them."""
    columns = np.zeros((1, 6, 12), np.float32)
    columns[0, :, 3] = [50, 40, 20, 10, 0.2, 0.8]
    columns[0, :, 4] = [51, 40, 20, 10, 0.2, 0.7]  # the same object, less sure
    columns[0, :, 7] = [20, 20, 10, 10, 0.9, 0.1]
    output = DecodedBoxes(("output0",), 12, 2, objectness=False, transposed=True)
    (found,) = postprocess({"output0": columns}, output, [LETTERBOX])
    np.testing.assert_allclose(found.xyxy, [[15, 15, 25, 25], [40, 35, 60, 45]])
    np.testing.assert_allclose(found.confidence, [0.9, 0.8], rtol=1e-6)
    assert found.class_id.tolist() == [0, 1]
    (rows,) = postprocess(
        {"output0": columns.transpose(0, 2, 1)}, replace(output, transposed=False), [LETTERBOX]
    )
    assert np.array_equal(rows.xyxy, found.xyxy)
    many = PostprocessConfig(conf=0.15, multi_label=True)
    assert len(postprocess({"output0": columns}, output, [LETTERBOX], many)[0]) == 3
    columns[0, 1, 3] = np.nan
    with pytest.raises(EdgeYoloError, match="'output0' holds NaN"):
        postprocess({"output0": columns}, output, [LETTERBOX])


def test_ranked_boxes_are_cut_and_never_suppressed() -> None:
    """As YOLOv10 gives them: (rows, 6)."""
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = [10, 10, 30, 30, 0.6, 1]
    rows[0, 1] = [11, 10, 30, 30, 0.9, 1]
    rows[0, 2] = [50, 50, 60, 60, 0.1, 0]
    output = RankedBoxes(("output0",), 300, 2)
    (found,) = postprocess({"output0": rows}, output, [LETTERBOX])
    np.testing.assert_allclose(found.confidence, [0.9, 0.6])
    np.testing.assert_allclose(found.xyxy[0], [11, 10, 30, 30])
    (one,) = postprocess({"output0": rows}, output, [LETTERBOX], PostprocessConfig(max_det=1))
    assert len(one) == 1
    rows[0, 0, 5] = 2
    with pytest.raises(EdgeYoloError, match="gives the class 2"):
        postprocess({"output0": rows}, output, [LETTERBOX])


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"names": "{0: 'cat', 1: 'dog'}"}, ("cat", "dog")),
        ({"class_names": '["cat", "dog"]'}, ("cat", "dog")),
        ({"names": "{0: 'cat', 2: 'dog'}"}, None),
        ({"names": "__import__('os').system('true')"}, None),
        ({"names": "[" * 100_000}, None),
        ({"names": "['a\\x1b[31m']"}, None),
        ({}, None),
    ],
)
def test_class_names_in_the_metadata(metadata: dict[str, str], names: Any) -> None:
    assert class_names_of(metadata) == names


def test_metadata_fills_in_names_and_size() -> None:
    free = (Port("images", (None, 3, None, None), "float32"),)
    metadata = {"names": "{0: 'cat', 1: 'dog'}", "imgsz": "[384, 640]"}
    found = recognise(free, (Port("output0", (1, 300, 6), "float32"),), metadata).template
    assert found["class_names"] == ["cat", "dog"]
    assert (found["input"]["height"], found["input"]["width"]) == (384, 640)
    assert found["output"]["classes"] == 2
    rows = recognise(IMAGE, (Port("output0", (1, 8400, 6), "float32"),), metadata).template["output"]
    assert (rows["classes"], rows["objectness"]) == (2, False)


def test_an_onnx_file_names_its_classes_itself(foreign: Path) -> None:
    _, blank = template(foreign)  # as we write them; ultralytics' form is above
    assert blank["class_names"] == ["cat", "dog", "bird"]


def test_a_damaged_file_is_one(foreign: Path, spec: dict[str, Any], tmp_path: Path) -> None:
    foreign.write_bytes(foreign.read_bytes()[:-2000])
    for call in (lambda: adopt(foreign, spec, tmp_path / "made"), lambda: template(foreign)):
        with pytest.raises(DamagedFileError):
            call()


def external(foreign: Path, location: str) -> Path:
    """The file with its weights in another one."""
    onnx = pytest.importorskip("onnx", reason="needs the export extra")
    model = onnx.load(foreign)
    folder = foreign.parent / "external"
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        model,
        folder / "m.onnx",
        save_as_external_data=True,
        location=location,
        size_threshold=1024,
        all_tensors_to_one_file=True,
    )
    return folder / "m.onnx"


@pytest.mark.parametrize("location", ["weights.bin", "m.onnx.data", "w" * 150 + ".bin"])
def test_external_weights_are_found_by_what_the_file_says(
    foreign: Path, spec: dict[str, Any], tmp_path: Path, location: str
) -> None:
    file = external(foreign, location)
    (file.parent / "m.onnx.data").touch()  # a usual name is no reason to take a file
    made = adopt(file, spec, tmp_path / "made")
    assert set(made.manifest.files) == {"model.onnx", location, "golden.npz"}
    assert verify(made.path).deviation == 0
    (file.parent / location).unlink()
    with pytest.raises(DamagedFileError, match=r"cannot load|are not beside it"):
        adopt(file, spec, tmp_path / "again")


def test_weights_outside_the_folder_are_not_followed(foreign: Path) -> None:
    from edgeyolo_onnxruntime import foreign as onnx_files

    file = external(foreign, "weights.bin")
    file.write_bytes(file.read_bytes().replace(b"weights.bin", b"../secret.x"))
    with pytest.raises(DamagedFileError, match="outside its folder"):
        onnx_files.parts(file)
