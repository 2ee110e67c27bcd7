"""Quality on recorded sequences with public detections."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from edgeyolo.tracking import Tracker
from edgeyolo.tracking.evaluate import evaluate_files, evaluate_rows
from edgeyolo.tracking.mot_files import MotRows, SequenceInfo, read_mot, read_sequence_info
from edgeyolo.tracking.replay import replay


@pytest.fixture(scope="module")
def sequences(shared: Path) -> list[Path]:
    folders = sorted(path.parent for path in (shared / "data/mot15").glob("*/seqinfo.ini"))
    if not folders:
        pytest.skip("needs the sequences in shared/data/mot15")
    return folders


def chosen(rows: MotRows, step: int) -> MotRows:
    """Every `step`-th frame, numbered anew from 1."""
    rows = rows[(rows.frame - 1) % step == 0]
    return MotRows((rows.frame - 1) // step + 1, rows.track_id, rows.ltwh, rows.confidence)


def measured(folder: Path, out: Path, step: int) -> dict[str, float | int]:
    info = read_sequence_info(folder / "seqinfo.ini")
    fewer = SequenceInfo(info.name, info.frame_rate / step, (info.length - 1) // step + 1, info.image_size)
    frames = replay(chosen(read_mot(folder / "det.txt"), step), fewer, Tracker())
    out.write_text("".join(tracks.to_mot(frame) for frame, tracks in frames))
    return evaluate_rows(chosen(read_mot(folder / "gt.txt", evaluated=True), step), read_mot(out))


LIMITS = {1: (0.43, 0.48, 0.60, 45), 3: (0.42, 0.45, 0.57, 45)}


@pytest.mark.parametrize("step", LIMITS)
def test_means(sequences: list[Path], tmp_path: Path, step: int) -> None:
    hota, mota, idf1, switches = LIMITS[step]
    results = [measured(folder, tmp_path / f"{folder.name}.txt", step) for folder in sequences]
    assert fmean(each["HOTA"] for each in results) >= hota
    assert fmean(each["MOTA"] for each in results) >= mota
    assert fmean(each["IDF1"] for each in results) >= idf1
    assert {folder.name: each["switches"] for folder, each in zip(sequences, results, strict=True)} == {
        folder.name: min(each["switches"], switches) for folder, each in zip(sequences, results, strict=True)
    }


def test_ground_truth_against_itself_is_perfect(sequences: list[Path]) -> None:
    for folder in sequences[:3]:
        measures = evaluate_files(folder / "gt.txt", folder / "gt.txt")
        assert measures["recall"] == measures["IDR"] == 1 and measures["switches"] == 0
        assert np.isfinite(list(measures.values())).all()
