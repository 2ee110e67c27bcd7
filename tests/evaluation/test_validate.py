"""The whole evaluation, with a network that sees bright rectangles, and with the real one."""

import json
import math
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.datasets import load_dataset
from edgeyolo.errors import DatasetError, UsageError
from edgeyolo.evaluation.validate import STAGES, validate
from edgeyolo.runtime.pipeline import Pipeline

SIZES = [(100, 80), (64, 120), (128, 128), (300, 150), (40, 30), (90, 200), (128, 96)]
LEVELS = {0: 255, 1: 200}  # the grey value of each class; the background is black, padding 114
STRIDE, ANCHOR = 32, 64.0


class BrightSession:
    """A network by hand: one box around what is bright, of the class that its brightness stands for."""

    def __init__(self):
        self.shapes = []

    def run(self, batch):
        self.shapes.append(batch.shape)
        n, _, height, width = batch.shape
        maps = np.full((n, 7, height // STRIDE, width // STRIDE), -12.0, np.float32)
        for image, out in zip(batch, maps, strict=True):
            rows, columns = np.nonzero(image[0] > 0.6)
            if len(rows):
                self._write(out, rows, columns, image[0])
        return {"p5": maps}

    def _write(self, out, rows, columns, plane):
        x1, x2, y1, y2 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        i, j = int(cy // STRIDE), int(cx // STRIDE)

        def logit(p):
            return math.log(p / (1 - p))

        xy = [logit((c / STRIDE - cell + 0.5) / 2) for c, cell in ((cx, j), (cy, i))]
        wh = [logit(math.sqrt(side / ANCHOR) / 2) for side in (x2 - x1, y2 - y1)]
        bright = np.median(plane[rows, columns]) > 0.9
        out[:, i, j] = [*xy, *wh, 8.0, *((8.0, -8.0) if bright else (-8.0, 8.0))]

    def close(self):
        pass


def bright_pipeline(names=("white", "grey"), **contract):
    output = RawMaps(("p5",), (STRIDE,), (((ANCHOR, ANCHOR),),), 2)
    base = InputContract(128, 128, dynamic_batch=True, dynamic_size=True)
    return Pipeline(BrightSession(), replace(base, **contract), output, tuple(names))


@pytest.fixture
def data(tmp_path):
    """COCO json of seven images of different shapes, each with one rectangle."""
    records, annotations = [], []
    for i, (width, height) in enumerate(SIZES):
        kind = i % 2
        x, y, w, h = width // 5, height // 4, width // 2, height // 2
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[y : y + h, x : x + w] = LEVELS[kind]
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        records.append({"id": i + 1, "file_name": f"{i}.png", "width": width, "height": height})
        annotations.append(
            {"id": i + 1, "image_id": i + 1, "category_id": (9, 4)[kind], "bbox": [x, y, w, h]}
        )
    categories = [{"id": 4, "name": "grey"}, {"id": 9, "name": "white"}]
    file = tmp_path / "data.json"
    file.write_text(json.dumps({"images": records, "annotations": annotations, "categories": categories}))
    return file


def test_square(data):
    pipeline, calls = bright_pipeline(), []
    result = validate(pipeline, load_dataset(data), batch=3, progress=lambda *call: calls.append(call))
    assert result.metrics["AP50"] == pytest.approx(1) and result.metrics["AP75"] == pytest.approx(1)
    assert [(item.name, item.instances) for item in result.per_class] == [("white", 4), ("grey", 3)]
    assert [shape[0] for shape in pipeline.session.shapes] == [3, 3, 1]
    assert {shape[2:] for shape in pipeline.session.shapes} == {(128, 128)}
    assert calls == [(3, 7), (6, 7), (7, 7)]
    assert result.predictions.image_id.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert tuple(result.speed) == STAGES
    assert all(stage.median > 0 and stage.mean > 0 for stage in result.speed.values())


def test_rectangular(data):
    pipeline = bright_pipeline()
    result = validate(pipeline, load_dataset(data), batch=2, rect=True)
    assert result.metrics["AP50"] == pytest.approx(1) and result.metrics["AP75"] == pytest.approx(1)
    assert [shape[2:] for shape in pipeline.session.shapes] == [(128, 160), (128, 160), (160, 160), (160, 96)]
    assert result.protocol.shape == "rectangular"
    for sample, box in zip(result.data.images, result.predictions.xywh, strict=True):
        error = np.abs(box - sample.xywh[0]).max()
        assert error < 2.5 * max(1, max(sample.size) / 128), f"{sample.path.name} came back elsewhere"


def test_rectangular_needs_free_sizes(data):
    with pytest.raises(UsageError, match="takes 128 x 128"):
        validate(bright_pipeline(dynamic_size=False), load_dataset(data), rect=True)


def test_a_fixed_batch_is_filled_up(data):
    pipeline = bright_pipeline(batch=4, dynamic_batch=False)
    result = validate(pipeline, load_dataset(data))
    assert [shape[0] for shape in pipeline.session.shapes] == [4, 4]
    assert result.metrics["AP50"] == pytest.approx(1) and len(result.predictions) == 7
    with pytest.raises(UsageError, match="batch 5: this network takes 1 to 4 images at a time"):
        validate(pipeline, load_dataset(data), batch=5)
    with pytest.raises(UsageError, match="batch 0"):
        validate(bright_pipeline(), load_dataset(data), batch=0)


def test_bad_images_are_left_out_and_listed(data):
    (data.parent / "1.png").write_bytes(b"no image")
    Image.new("RGB", (64, 64)).save(data.parent / "2.png")
    calls = []
    for rect in (False, True):
        result = validate(
            bright_pipeline(),
            load_dataset(data),
            rect=rect,
            batch=2,
            progress=lambda *call: calls.append(call),
        )
        assert sorted(problem.kind for problem in result.problems) == ["damaged image", "wrong image size"]
        assert any("64 x 64, the annotations say 128 x 128" in str(problem) for problem in result.problems)
        assert [sample.image_id for sample in result.data.images] == [1, 4, 5, 6, 7]
        assert result.protocol.images == result.protocol.instances == 5
        assert calls[-1] == (7, 7)
        assert result.metrics["AP50"] == pytest.approx(1)


def test_no_usable_image(data):
    for i in range(7):
        (data.parent / f"{i}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="none of its 7 images can be used: 7 x damaged image"):
        validate(bright_pipeline(), load_dataset(data))


def test_rectangular_with_an_unreadable_header(tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for i, value in enumerate((255, 200)):
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[15:45, 20:60] = value
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "labels" / f"{i}.txt").write_text(f"{i} 0.5 0.5 0.5 0.5")
    (tmp_path / "images" / "2.png").write_bytes(b"x")
    (tmp_path / "labels" / "2.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [white, grey]\n")
    calls = []
    result = validate(
        bright_pipeline(), load_dataset(tmp_path), rect=True, progress=lambda *call: calls.append(call)
    )
    assert [problem.kind for problem in result.problems] == ["damaged image"]
    assert calls == [(3, 3)]
    assert result.metrics["AP50"] == pytest.approx(1)


def test_classes_must_match(data):
    with pytest.raises(DatasetError, match="no category for the model's 'red'"):
        validate(bright_pipeline(names=("white", "red")), load_dataset(data))


def test_confidence_is_passed_on(data):
    assert len(validate(bright_pipeline(), load_dataset(data), conf=0.9999).predictions) == 0


def test_an_interrupt_stops_everything(data):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(bright_pipeline(), load_dataset(data), batch=1, progress=interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_result_on_disk(data, tmp_path):
    result = validate(bright_pipeline(), load_dataset(data))
    paths = result.save(tmp_path / "out")
    assert {path.name for path in paths} == {
        "results.json", "predictions.json", "confusion.json",
        "PR_curve.png", "F1_curve.png", "P_curve.png", "R_curve.png", "confusion_matrix.png",
    }  # fmt: skip
    stored = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert stored["AP50"] == pytest.approx(1) and stored["APs"] is not None
    assert stored["protocol"]["conf"] == 0.001 and stored["best_f1"]["f1"] == pytest.approx(1)
    assert json.loads((tmp_path / "out" / "confusion.json").read_text())["counts"][0][0] == 4
    assert {
        entry["category_id"] for entry in json.loads((tmp_path / "out" / "predictions.json").read_text())
    } == {4, 9}


def test_sentence_says_how_it_was_measured(data):
    sentence = validate(bright_pipeline(), load_dataset(data), batch=2, iou=0.7).protocol.sentence()
    for part in (
        "7 images, 7 objects",
        "square 128 x 128",
        "batch 2",
        "confidence 0.001",
        "IoU 0.7",
        "at most 300",
    ):
        assert part in sentence


@pytest.fixture(scope="session")
def bccd_expected(shared):
    text = (shared / "data" / "checkpoints" / "yolov7-tiny-bccd-256.expected.json").read_text()
    return json.loads(text)["coco"]


@pytest.mark.parametrize("target", ["cpu-onnx-fp32", pytest.param("cpu-torch-fp32", marks=pytest.mark.slow)])
def test_bccd(shared, bccd_expected, target, bccd_artifact):
    """The published checkpoint on the BCCD test split, in both forms of the annotations."""
    from edgeyolo.detector.detector import Detector

    with Detector(bccd_artifact(target)) as detector:
        result = validate(detector, load_dataset(shared / "data" / "bccd", "test"))
        again = validate(detector, load_dataset(shared / "data" / "bccd" / "test_coco.json"))
    for name, value in bccd_expected.items():
        assert result.metrics[name] == pytest.approx(value, abs=1e-4), name
    assert again.metrics == pytest.approx(result.metrics, abs=1e-12)
    assert result.protocol.artifact == detector.artifact.sha256 and target in result.protocol.sentence()
