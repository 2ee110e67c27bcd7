"""AP: known answers, the two libraries against each other, and what cannot be judged."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeyolo.datasets import load_dataset
from edgeyolo.errors import DatasetError, RuntimeMissingError, UsageError
from edgeyolo.evaluation import METRIC_NAMES, Predictions, coco_ap, read_predictions, write_predictions
from edgeyolo.evaluation.ap import EVALUATORS

both = pytest.mark.parametrize("evaluator", EVALUATORS)


@both
def test_jittered_coco_detections(shared, evaluator):
    folder = shared / "data" / "coco"
    dataset = load_dataset(folder / "instances_val2017.json", need_images=False)
    predictions = read_predictions(folder / "jittered_detections_val2017.json", dataset)
    result = coco_ap(dataset, predictions, evaluator=evaluator)
    expected = json.loads((folder / "jittered_detections_expected.json").read_text())
    assert tuple(result.metrics) == METRIC_NAMES == tuple(expected)
    for name, value in expected.items():
        assert result.metrics[name] == pytest.approx(value, abs=1e-6), name
    assert result.evaluator == evaluator


@both
def test_perfect_detections(make_dataset, make_predictions, evaluator):
    dataset = make_dataset([(0, 10, 10, 20, 20), (1, 50, 50, 60, 60)], [(0, 0, 0, 120, 120)])
    predictions = make_predictions(
        (1, 0, 0.9, 10, 10, 20, 20), (1, 1, 0.8, 50, 50, 60, 60), (2, 0, 0.7, 0, 0, 120, 120)
    )
    metrics = coco_ap(dataset, predictions, evaluator=evaluator).metrics
    assert metrics == pytest.approx(dict.fromkeys(METRIC_NAMES, 1.0), abs=1e-12)


@both
def test_known_values(make_dataset, make_predictions, evaluator):
    """One class, two objects: the better score misses, the other finds one of them with IoU 0.6.

    At IoU 0.50, 0.55 and 0.60 precision is 1/2 up to recall 1/2: 51 of 101 points. Above: 0.
    """
    dataset = make_dataset([(0, 0, 0, 10, 10), (0, 100, 100, 10, 10)], names=("cat",))
    predictions = make_predictions((1, 0, 0.9, 50, 50, 10, 10), (1, 0, 0.8, 0, 0, 10, 6))
    result = coco_ap(dataset, predictions, evaluator=evaluator)
    at50 = 51 / 101 / 2
    assert result.metrics["AP50"] == pytest.approx(at50, abs=1e-12)
    assert result.metrics["AP75"] == 0
    assert result.metrics["AP"] == pytest.approx(at50 * 3 / 10, abs=1e-12)
    assert result.metrics["AR1"] == 0
    assert result.metrics["AR10"] == pytest.approx(0.5 * 3 / 10, abs=1e-12)
    assert result.metrics["APm"] is None and result.metrics["ARl"] is None, "no such object: no number"
    assert result.to_json()["per_class"][0]["AP50"] == result.metrics["AP50"]


@both
def test_classes_keep_their_own_numbers_whatever_the_order_of_ids(make_dataset, make_predictions, evaluator):
    dataset = make_dataset([(0, 0, 0, 10, 10), (2, 50, 50, 10, 10)], names=("a", "b", "c"), ids=(90, 7, 3))
    result = coco_ap(dataset, make_predictions((1, 0, 0.9, 0, 0, 10, 10)), evaluator=evaluator)
    assert [(item.name, item.instances, item.images) for item in result.per_class] == [
        ("a", 1, 1),
        ("b", 0, 0),
        ("c", 1, 1),
    ]
    assert [item.ap for item in result.per_class] == [pytest.approx(1), None, 0]
    assert [item.ap50 for item in result.per_class] == [pytest.approx(1), None, 0]
    assert result.metrics["AP"] == pytest.approx(0.5)


@both
def test_crowds_excuse_detections(make_dataset, make_predictions, evaluator):
    dataset = make_dataset([(0, 0, 0, 10, 10), (0, 50, 50, 100, 100, "crowd")], names=("cat",))
    predictions = make_predictions((1, 0, 0.9, 60, 60, 10, 10), (1, 0, 0.8, 0, 0, 10, 10))
    result = coco_ap(dataset, predictions, evaluator=evaluator)
    assert result.metrics["AP"] == pytest.approx(1)
    assert result.per_class[0].instances == 1


@both
def test_no_detection_at_all(make_dataset, make_predictions, evaluator):
    result = coco_ap(make_dataset([(0, 0, 0, 10, 10)]), make_predictions(), evaluator=evaluator)
    assert result.metrics["AP"] == 0 and result.metrics["AR100"] == 0


def scattered(seed, images=6, classes=3):
    """Objects, and detections near some of them, with scores that often tie."""
    rng = np.random.default_rng(seed)
    truth, rows = [], []
    for image in range(1, images + 1):
        boxes = np.concatenate([rng.uniform(0, 120, (8, 2)), rng.uniform(5, 110, (8, 2))], axis=1)
        kinds = rng.integers(classes, size=8)
        truth.append(
            [
                (k, *box, *(["crowd"] if rng.random() < 0.1 else []))
                for k, box in zip(kinds, boxes, strict=True)
            ]
        )
        near = boxes + rng.normal(0, 6, boxes.shape)
        near[:, 2:] = np.maximum(near[:, 2:], 1)
        for k, box in zip(kinds, near, strict=True):
            rows.append((image, k, round(rng.random(), 1), *box))
            rows.append(
                (image, rng.integers(classes), round(rng.random(), 1), *(box + np.array([30, 0, 0, 0])))
            )
    return truth, rows


@pytest.mark.parametrize("seed", range(8))
def test_both_libraries_agree(make_dataset, make_predictions, seed):
    truth, rows = scattered(seed)
    dataset, predictions = make_dataset(*truth, names=("a", "b", "c")), make_predictions(*rows)
    ours, theirs = (coco_ap(dataset, predictions, evaluator=name) for name in EVALUATORS)
    for name in METRIC_NAMES:
        assert ours.metrics[name] == pytest.approx(theirs.metrics[name], abs=1e-12), name
    assert 0 < ours.metrics["AP"] < 1


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), shuffle=st.randoms(use_true_random=False))
def test_order_of_detections_does_not_matter(make_dataset, make_predictions, seed, shuffle):
    truth, rows = scattered(seed, images=3)
    dataset = make_dataset(*truth, names=("a", "b", "c"))
    # Equal scores are settled by order, so they are made different here.
    rows = [(image, k, score + i * 1e-6, *box) for i, (image, k, score, *box) in enumerate(rows)]
    first = coco_ap(dataset, make_predictions(*rows)).metrics
    shuffle.shuffle(rows)
    assert coco_ap(dataset, make_predictions(*rows)).metrics == first


@both
def test_nothing_is_printed(make_dataset, make_predictions, evaluator, capfd):
    coco_ap(
        make_dataset([(0, 0, 0, 10, 10)]), make_predictions((1, 0, 0.5, 0, 0, 10, 10)), evaluator=evaluator
    )
    assert capfd.readouterr() == ("", "")


def test_unknown_ids_are_named(tmp_path, make_dataset):
    dataset = make_dataset([(0, 0, 0, 10, 10)], ids=(18, 90))
    entry = {"image_id": 1, "category_id": 18, "bbox": [0, 0, 5, 5], "score": 0.5}
    file = tmp_path / "detections.json"

    def read(*entries):
        file.write_text(json.dumps(entries))
        return read_predictions(file, dataset)

    assert read(entry, entry | {"category_id": 90}).class_id.tolist() == [0, 1]
    with pytest.raises(DatasetError, match=r"category_id 0, 5: not in made\.json, which has 18, 90"):
        read(entry, entry | {"category_id": 5}, entry | {"category_id": 0})
    with pytest.raises(DatasetError, match=r"image_id 2: not in made\.json, which has 1"):
        read(entry, entry | {"image_id": 2})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "entry 0 is no detection: KeyError 'bbox'"),
        ({"bbox": [1, 2, 3], "score": 1, "image_id": 1, "category_id": 1}, "entry 0 is no detection"),
        ({"bbox": [1, 2, 3, 4], "score": 1, "image_id": [1], "category_id": 1}, "entry 0 is no detection"),
        ({"bbox": [1, 2, 3, 4], "score": 1, "image_id": 1, "category_id": 1.5}, "entry 0 is no detection"),
        ({"bbox": [1, 2, 3, 4], "score": float("nan"), "image_id": 1, "category_id": 1}, "not finite"),
        ([], "entry 0 is no detection"),
    ],
)
def test_bad_entries(tmp_path, make_dataset, entry, message):
    file = tmp_path / "detections.json"
    file.write_text(json.dumps([entry]))
    with pytest.raises(DatasetError, match=message):
        read_predictions(file, make_dataset([(0, 0, 0, 10, 10)]))


def test_an_annotation_file_is_not_taken_for_detections(tmp_path, make_dataset):
    file = tmp_path / "x.json"
    file.write_text("{}")
    with pytest.raises(DatasetError, match="are a list of objects; this is dict"):
        read_predictions(file, make_dataset([(0, 0, 0, 10, 10)]))


def test_written_predictions_come_back(tmp_path, make_dataset, make_predictions):
    dataset = make_dataset([(0, 0, 0, 10, 10)], [], ids=(18, 90))
    written = make_predictions((2, 1, 0.25, 1.5, 2, 3, 4), (1, 0, 0.125, 5, 6, 7, 8))
    write_predictions(tmp_path / "a.json", written, dataset)
    again = read_predictions(tmp_path / "a.json", dataset)
    for name in ("image_id", "class_id", "xywh", "score"):
        np.testing.assert_array_equal(getattr(again, name), getattr(written, name))
    assert json.loads((tmp_path / "a.json").read_text())[0]["category_id"] == 90


def test_predictions_must_have_matching_shapes():
    one = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match=r"xywh \(n, 4\)"):
        Predictions(one, one, np.zeros((1, 5)), np.zeros(1))


def test_without_either_library(monkeypatch, make_dataset, make_predictions):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install .*\[eval\]") as caught:
        coco_ap(make_dataset([(0, 0, 0, 10, 10)]), make_predictions())
    assert caught.value.exit_code == 3


def test_falls_back_to_pycocotools(monkeypatch, make_dataset, make_predictions):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert coco_ap(make_dataset([(0, 0, 0, 10, 10)]), make_predictions()).evaluator == "pycocotools"


def test_unknown_evaluator(make_dataset, make_predictions):
    with pytest.raises(UsageError, match="expected auto, faster-coco-eval or pycocotools"):
        coco_ap(make_dataset([(0, 0, 0, 10, 10)]), make_predictions(), evaluator="other")
