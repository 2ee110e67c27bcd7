"""Curves, the confusion matrix and their plots, on cases worked out by hand."""

import sys
import warnings

import numpy as np
import pytest

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.evaluation import coco_ap, count_confusion, drawn_names, measure_curves
from edgeyolo.evaluation.matching import match
from edgeyolo.evaluation.plots import write_plots

PLOTS = ["F1_curve.png", "PR_curve.png", "P_curve.png", "R_curve.png", "confusion_matrix.png"]


@pytest.fixture
def scene(make_dataset, make_predictions):
    """Class 0: two objects, found at 0.9 and 0.3, one false alarm at 0.6. Class 1: one object, missed."""
    dataset = make_dataset(
        [(0, 0, 0, 10, 10), (1, 150, 150, 20, 20)], [(0, 50, 50, 10, 10)], names=("a", "b", "c")
    )
    predictions = make_predictions(
        (1, 0, 0.9, 0, 0, 10, 9), (2, 0, 0.6, 100, 100, 10, 10), (2, 0, 0.3, 50, 51, 10, 10)
    )
    return dataset, predictions


def test_values_at_each_threshold(scene):
    curves = measure_curves(*scene)
    assert curves.class_names == ("a", "b"), "a class without objects has no curve"
    at = [round(c * 1000) for c in (0, 0.3, 0.301, 0.6, 0.601, 0.9, 0.901, 1)]
    np.testing.assert_allclose(curves.precision[0, at], [2 / 3, 2 / 3, 1 / 2, 1 / 2, 1, 1, 1, 1])
    np.testing.assert_allclose(curves.recall[0, at], [1, 1, 0.5, 0.5, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(curves.f1[0, at], [0.8, 0.8, 0.5, 0.5, 2 / 3, 2 / 3, 0, 0])
    assert not curves.recall[1].any() and not curves.f1[1].any()
    assert curves.best_confidence == 0 and curves.best_f1 == pytest.approx(0.4)


def test_precision_recall_curve_is_the_envelope(scene):
    curves = measure_curves(*scene)
    np.testing.assert_allclose(curves.precision_at_recall[0, [0, 500, 501, 1000]], [1, 1, 2 / 3, 2 / 3])
    assert curves.area[0] == pytest.approx(coco_ap(*scene).per_class[0].ap50, abs=0.01)
    assert curves.area[1] == 0


def test_an_object_is_found_once_by_the_best_score(make_dataset, make_predictions):
    dataset = make_dataset([(0, 0, 0, 10, 10)])
    predictions = make_predictions(
        (1, 0, 0.5, 0, 0, 10, 10), (1, 0, 0.7, 0, 0, 10, 6), (1, 1, 0.9, 0, 0, 10, 10)
    )
    assert match(dataset, predictions).hit.tolist() == [False, True, False]


def test_a_crowd_takes_no_detection_from_an_object_and_excuses_the_rest(make_dataset, make_predictions):
    dataset = make_dataset([(0, 0, 0, 100, 100, "crowd"), (0, 10, 10, 10, 10)])
    predictions = make_predictions(
        (1, 0, 0.9, 10, 10, 10, 10), (1, 0, 0.8, 40, 40, 10, 10), (1, 0, 0.7, 95, 95, 20, 20)
    )
    matches = match(dataset, predictions)
    assert matches.hit.tolist() == [True, False, False]
    assert matches.ignored.tolist() == [False, True, False]
    assert matches.objects.tolist() == [1, 0]


def test_curve_agrees_with_coco_on_real_annotations(shared):
    from edgeyolo.datasets import load_dataset
    from edgeyolo.evaluation import read_predictions

    folder = shared / "data" / "coco"
    dataset = load_dataset(folder / "instances_val2017.json", need_images=False)
    predictions = read_predictions(folder / "jittered_detections_val2017.json", dataset)
    curves = measure_curves(dataset, predictions)
    expected = {item.name: item.ap50 for item in coco_ap(dataset, predictions).per_class if item.instances}
    assert set(expected) == set(curves.class_names)
    for name, area in zip(curves.class_names, curves.area, strict=True):
        assert area == pytest.approx(expected[name], abs=0.011), name


def test_confusion_counts(make_dataset, make_predictions):
    dataset = make_dataset(
        [(0, 0, 0, 10, 10), (1, 50, 50, 10, 10), (1, 100, 0, 10, 10), (0, 120, 120, 60, 60, "crowd")], []
    )
    predictions = make_predictions(
        (1, 0, 0.9, 0, 0, 10, 10),  # right
        (1, 1, 0.8, 0, 0, 10, 9),  # a second one on the same object
        (1, 0, 0.7, 50, 50, 10, 10),  # dog taken for a cat
        (1, 1, 0.6, 130, 130, 10, 10),  # on the crowd
        (2, 0, 0.5, 5, 5, 10, 10),  # nothing there
        (1, 1, 0.2, 100, 0, 10, 10),  # not confident enough
    )
    confusion = count_confusion(dataset, predictions)
    assert confusion.counts.tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 0]]
    assert count_confusion(dataset, predictions, confidence=0.1).counts[1].tolist() == [1, 1, 0]


def test_closest_pair_first(make_dataset, make_predictions):
    dataset = make_dataset([(0, 0, 0, 10, 10), (1, 3, 0, 10, 10)])
    predictions = make_predictions((1, 0, 0.9, 2, 0, 10, 10), (1, 1, 0.8, 0, 0, 10, 10))
    counts = count_confusion(dataset, predictions).counts
    assert counts[0].tolist() == [0, 1, 0] and counts[1].tolist() == [1, 0, 0]


def test_plots_are_the_same_every_time(scene, tmp_path):
    results = []
    for name in ("one", "two"):
        paths = write_plots(tmp_path / name, measure_curves(*scene), count_confusion(*scene))
        assert sorted(path.name for path in paths) == PLOTS
        results.append({path.name: path.read_bytes() for path in paths})
    assert results[0] == results[1]
    assert all(data.startswith(b"\x89PNG") and len(data) > 5000 for data in results[0].values())


def test_plots_of_many_classes_and_of_none(make_dataset, make_predictions, tmp_path):
    many = make_dataset([(k, 0, 0, 10, 10) for k in range(40)], names=[f"class {k}" for k in range(40)])
    predictions = make_predictions(*((1, k, 0.5, 0, 0, 10, 10) for k in range(40)))
    write_plots(tmp_path / "many", measure_curves(many, predictions), count_confusion(many, predictions))
    nothing = make_dataset([])
    curves = measure_curves(nothing, make_predictions())
    assert curves.best_f1 == 0
    write_plots(tmp_path / "none", curves, count_confusion(nothing, make_predictions()))
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == PLOTS


def test_any_name_of_a_class_is_drawn(make_dataset, make_predictions, tmp_path):
    names = ["a $\\nosuch$", "_hidden", "猫", "A_{$1$}", "two\nlines"]
    dataset = make_dataset([(k, 20 * k, 0, 10, 10) for k in range(5)], names=names)
    predictions = make_predictions(*((1, k, 0.9, 20 * k, 0, 10, 10) for k in range(5)))
    curves, confusion = measure_curves(dataset, predictions), count_confusion(dataset, predictions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that is missing
        write_plots(tmp_path, curves, confusion)
    assert sorted(path.name for path in tmp_path.iterdir()) == PLOTS


def test_names_are_drawn_as_written_or_by_number(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    with drawn_names.drawable(["$x$", "_x", "é", "a\tb"]) as names:
        assert names == ["$x$", " _x", "é", "class 3"]
        assert matplotlib.rcParams["text.parse_math"] is False
    assert matplotlib.rcParams["text.parse_math"] is True
    ours = drawn_names.font_of("DejaVu Sans")
    monkeypatch.setattr(drawn_names, "_has", lambda file: frozenset("cat") if file == ours else frozenset())
    with drawn_names.drawable(["cat", "猫", "犬 2"]) as names:
        assert names == ["cat", "class 1", "class 2"]
    monkeypatch.setattr(
        drawn_names, "_has", lambda file: frozenset("cat") if file == ours else frozenset("猫")
    )
    with drawn_names.drawable(["cat", "猫", "犬 2"]) as names:
        assert names == ["cat", "猫", "class 2"]
        assert len(matplotlib.rcParams["font.family"]) == 2


def test_without_matplotlib(scene, tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install .*\[eval\]"):
        write_plots(tmp_path, measure_curves(*scene), count_confusion(*scene))
