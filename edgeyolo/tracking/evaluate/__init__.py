"""Measures of tracking from MOT text files, equal to TrackEval's."""

from __future__ import annotations

from pathlib import Path

from edgeyolo.tracking.evaluate.clear import clear
from edgeyolo.tracking.evaluate.hota import hota
from edgeyolo.tracking.evaluate.identity import identity
from edgeyolo.tracking.evaluate.sequence import pair_sequence
from edgeyolo.tracking.mot_files import MotRows, read_mot

__all__ = ["evaluate_files", "evaluate_rows"]


def evaluate_files(truth: str | Path, result: str | Path, iou: float = 0.5) -> dict[str, float | int]:
    """Compare a MOT result file with a MOT ground truth file; see `evaluate_rows`.

    Raises DatasetError where a file cannot be read or the ground truth has no row to be considered.
    """
    return evaluate_rows(read_mot(truth, evaluated=True), read_mot(result), iou)


def evaluate_rows(truth: MotRows, result: MotRows, iou: float = 0.5) -> dict[str, float | int]:
    """HOTA, MOTA, IDF1, switches and what they consist of, for one sequence.

    Args:
        truth: ground truth; rows whose confidence (column 7) is not 1 are left out. Regions of distractors, which
            later MOT Challenges mark by a class in column 8, have no special treatment.
        result: tracks; rows with an id below 0 are left out.
        iou: least IoU of a match for CLEAR and identity; HOTA has thresholds of its own.
    """
    sequence = pair_sequence(truth, result)
    measures = hota(sequence) | clear(sequence, iou) | identity(sequence, iou)
    first = ("HOTA", "MOTA", "IDF1", "switches")
    ordered = {name: measures[name] for name in first} | measures
    return ordered | {
        "frames": len(sequence.frames),
        "objects": sequence.objects,
        "tracks": sequence.tracks,
    }
