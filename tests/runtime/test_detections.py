"""Detections: validated, sorted, read-only, indexable."""

from __future__ import annotations

import builtins
import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeyolo import Detection, Detections
from edgeyolo.errors import RuntimeMissingError, UsageError

NAMES = ("cat", "dog", "bird")
XYXY = np.array([[10, 20, 30, 40], [0, 0, 100, 50], [5, 5, 6, 6]], np.float32)
SCORES = np.array([0.5, 0.9, 0.25], np.float32)
CLASSES = np.array([0, 2, 0], np.int64)


def make(**changes: Any) -> Detections:
    values = {
        "xyxy": XYXY,
        "confidence": SCORES,
        "class_id": CLASSES,
        "class_names": NAMES,
        "image_size": (50, 100),
    }
    return Detections(**values | changes)


def test_sorted_by_confidence_and_equal_ones_keep_their_order() -> None:
    assert make().confidence.tolist() == pytest.approx([0.9, 0.5, 0.25])
    assert make().class_id.tolist() == [2, 0, 0]
    assert make().xyxy[0].tolist() == [0, 0, 100, 50]
    tied = make(confidence=np.array([0.5, 0.9, 0.5], np.float32), class_id=np.array([1, 2, 0]))
    assert tied.class_id.tolist() == [2, 1, 0]


def test_dtypes_are_made_and_lists_are_taken() -> None:
    found = make(xyxy=XYXY.astype(np.float64).tolist(), confidence=[0.5, 0.9, 0.25], class_id=[0, 2, 0])
    assert (found.xyxy.dtype, found.confidence.dtype, found.class_id.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )
    assert found == make()


def test_arrays_are_read_only_copies() -> None:
    mine = XYXY.copy()
    found = make(xyxy=mine)
    mine[:] = 0
    assert found == make()
    for array in (found.xyxy, found.confidence, found.class_id):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        found.image_size = (1, 1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xyxy": XYXY[:2]}, r"got \(2, 4\), \(3,\) and \(3,\)"),
        ({"xyxy": XYXY[:, :3]}, r"xyxy \(n, 4\)"),
        ({"confidence": SCORES[:, None]}, r"confidence \(n,\)"),
        ({"xyxy": XYXY[:, [2, 1, 0, 3]]}, "x1 <= x2"),
        ({"xyxy": np.where(XYXY == 20, np.nan, XYXY)}, "NaN"),
        ({"xyxy": np.where(XYXY == 40, np.inf, XYXY)}, "infinity"),
        ({"confidence": SCORES + 0.5}, "0 to 1"),
        ({"confidence": SCORES - 0.5}, "0 to 1"),
        ({"confidence": SCORES * np.nan}, "0 to 1"),
        ({"class_id": CLASSES + 1}, "3 class names"),
        ({"class_id": CLASSES - 1}, "class_id"),
        ({"class_id": CLASSES.astype(np.float32)}, "expected int64, got float32"),
        ({"confidence": ["high", "low", "none"]}, "confidence: expected float32"),
        ({"image_size": (0, 100)}, "image_size"),
        ({"image_size": (50, 100, 3)}, "image_size"),
    ],
)
def test_values_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**changes)


def test_an_integer_gives_one_detection() -> None:
    found = make()
    assert found[0] == Detection((0.0, 0.0, 100.0, 50.0), pytest.approx(0.9), 2, "bird")
    assert found[-1] == found[np.int64(2)]
    assert str(found[1]) == "cat 0.50 at (10.0, 20.0) - (30.0, 40.0)"
    with pytest.raises(IndexError):
        found[3]


def test_iteration_and_length() -> None:
    assert [each.name for each in make()] == ["bird", "cat", "cat"]
    assert len(make()) == 3
    assert make().names == ["bird", "cat", "cat"]


def test_slices_masks_and_index_arrays_give_detections() -> None:
    found = make()
    assert found[1:].names == ["cat", "cat"]
    assert found[::-1] == found, "sorted again"
    assert found[found.confidence > 0.4].names == ["bird", "cat"]
    assert found[[2, 0]].confidence.tolist() == pytest.approx([0.9, 0.25])
    assert found[np.array([True, False, False])] == found[:1]
    assert len(found[[]]) == 0
    assert found[[0]].image_size == (50, 100)


@pytest.mark.parametrize("index", [[True, False], 1.5, "cat", np.zeros((3, 1), bool), [0.5]])
def test_other_indices_are_refused(index: Any) -> None:
    with pytest.raises(UsageError, match="index"):
        make()[index]


def test_equality_looks_at_everything() -> None:
    found = make()
    assert found == make()
    for changes in (
        {"xyxy": XYXY + 1},
        {"confidence": SCORES / 2},
        {"class_id": np.array([1, 2, 0])},
        {"class_names": ("cat", "dog", "fish")},
        {"image_size": (51, 100)},
    ):
        assert found != make(**changes)
    assert found != "detections"
    with pytest.raises(TypeError):
        hash(found)


def test_empty() -> None:
    nothing = Detections.empty(NAMES, (50, 100))
    assert len(nothing) == 0
    assert nothing.xyxy.shape == (0, 4)
    assert nothing.to_json() == []
    assert list(nothing) == []
    assert nothing == make(xyxy=[], confidence=[], class_id=[])
    assert "nothing" in repr(nothing)


def test_repr_counts_classes() -> None:
    assert repr(make()) == "<Detections: 1 bird, 2 cat in an image of 100 x 50>"


def test_json_is_plain_python() -> None:
    data = make().to_json()
    assert json.loads(json.dumps(data)) == data
    assert data[0] == {
        "box": [0.0, 0.0, 100.0, 50.0],
        "confidence": pytest.approx(0.9),
        "class_id": 2,
        "name": "bird",
    }
    assert [type(value) for value in data[1]["box"]] == [float] * 4


def test_plot_returns_a_drawn_copy() -> None:
    image = np.full((50, 100, 3), 90, np.uint8)
    before = image.copy()
    drawn = make().plot(image)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(image, before), "the original stays as it was"
    assert (drawn != image).any()


def test_plot_refuses_an_image_of_another_size() -> None:
    with pytest.raises(UsageError, match=r"\(50, 100\).*\(25, 50\)"):
        make().plot(np.zeros((25, 50, 3), np.uint8))


def test_to_supervision_hands_over_arrays_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    theirs = make().to_supervision()
    assert np.array_equal(theirs.xyxy, make().xyxy)
    assert np.array_equal(theirs.confidence, make().confidence)
    assert np.array_equal(theirs.class_id, make().class_id)
    assert theirs.data["class_name"].tolist() == ["bird", "cat", "cat"]
    theirs.xyxy[:] = 0  # theirs to change


def test_to_supervision_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "supervision":
            raise ModuleNotFoundError("No module named 'supervision'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RuntimeMissingError, match="pip install supervision"):
        make().to_supervision()


def test_the_array_of_trackers() -> None:
    """x1, y1, x2, y2, confidence, class: what BoxMOT, SORT and others take."""
    array = make().to_boxmot()
    assert array.dtype == np.float32
    assert array.tolist() == [
        [0, 0, 100, 50, np.float32(0.9), 2],
        [10, 20, 30, 40, 0.5, 0],
        [5, 5, 6, 6, 0.25, 0],
    ]
    array[0, 0] = 7  # a copy: the detections stay as they are
    assert make().xyxy[0, 0] == 0
    assert Detections.empty(NAMES, (50, 100)).to_boxmot().shape == (0, 6)
