"""Measures of tracking against those of TrackEval's definitions, as an independent package computed them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeyolo.errors import DatasetError
from edgeyolo.tracking.evaluate import evaluate_files, evaluate_rows
from edgeyolo.tracking.mot_files import MotRows, read_mot


def _sequences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sequences", Path(__file__).with_name("sequences.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SEQUENCES = _sequences()


@pytest.mark.parametrize("case", SEQUENCES.CASES)
def test_equals_the_recorded_measures(case: str, tmp_path: Path, golden: Path) -> None:
    expected = json.loads((golden / "tracking_measures.json").read_text())[case]
    measures = evaluate_files(*SEQUENCES.write_case(case, tmp_path))
    assert len(expected) == 26
    for name, value in expected.items():
        assert measures[name] == pytest.approx(value, abs=1e-9), name


def rows(*values: tuple[float, ...]) -> MotRows:
    """Rows frame, id, left, top, width, height, confidence."""
    table = np.array(values, np.float64).reshape(-1, 7)
    return MotRows(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:6], table[:, 6])


def test_a_perfect_result_and_one_switch() -> None:
    truth = rows(*((frame, 7, 10 * frame, 0, 20, 40, 1) for frame in range(1, 11)))
    same = evaluate_rows(truth, truth)
    assert same["HOTA"] == pytest.approx(1) and same["MOTA"] == same["IDF1"] == 1 and same["switches"] == 0
    broken = rows(*((frame, 1 if frame < 6 else 2, 10 * frame, 0, 20, 40, 1) for frame in range(1, 11)))
    half = evaluate_rows(truth, broken)
    assert half["switches"] == 1 and half["MOTA"] == pytest.approx(0.9) and half["IDF1"] == pytest.approx(0.5)
    assert half["HOTA"] == pytest.approx(np.sqrt(0.5))  # all found, each half associated with a half


def test_rows_that_do_not_count() -> None:
    truth = rows((1, 1, 0, 0, 10, 20, 1), (1, 2, 50, 0, 10, 20, 0))
    result = rows((1, 5, 0, 0, 10, 20, 1), (1, -1, 80, 0, 10, 20, 1))
    measures = evaluate_rows(truth, result)
    assert (measures["objects"], measures["false_positives"], measures["false_negatives"]) == (1, 0, 0)


def test_nothing_tracked_is_nothing_good() -> None:
    truth = rows((1, 1, 0, 0, 10, 20, 1))
    measures = evaluate_rows(truth, rows())
    assert measures["HOTA"] == measures["MOTA"] == measures["IDF1"] == 0 and measures["false_negatives"] == 1


def test_an_id_twice_in_a_frame_is_refused() -> None:
    with pytest.raises(DatasetError, match="got id 4 2 times in frame 3"):
        evaluate_rows(rows((3, 1, 0, 0, 1, 1, 1)), rows((3, 4, 0, 0, 1, 1, 1), (3, 4, 5, 5, 1, 1, 1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,a,0,5,5,1\n", "line 1"),
        ("1,1,0,0,5\n", "line 1"),
        ("1,1,0,0,5,5,1\n0,1,0,0,5,5,1\n", "line 2.*frame 0"),
        ("1,1,0,0,-5,5,1\n", "below 0"),
        ("1,1.5,0,0,5,5,1\n", "id 1.5"),
        ("1,1,0,0,nan,5,1\n", "line 1"),
    ],
)
def test_damaged_rows_are_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_mot(file)


def test_ground_truth_without_rows_to_consider_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gt.txt"
    file.write_text("1,1,0,0,5,5,0\n")
    with pytest.raises(DatasetError, match="column 7"):
        evaluate_files(file, file)


def test_blanks_and_missing_columns_are_read(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("2 1 0.5 0 5 5\n\n1, 3, 1, 2, 3, 4, 0.25, -1, -1, -1\n")
    found = read_mot(file)
    assert found.frame.tolist() == [2, 1] and found.track_id.tolist() == [1, 3]
    assert found.confidence.tolist() == [1.0, 0.25] and found.xyxy[1].tolist() == [1, 2, 4, 6]
