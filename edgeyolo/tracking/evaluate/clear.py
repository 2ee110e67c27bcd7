"""CLEAR measures of tracking (Bernardin and Stiefelhagen, 2008)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeyolo.tracking.assignment import solve_assignment
from edgeyolo.tracking.evaluate.sequence import EPSILON, FramePair, PairedSequence

NONE = -1


def clear(sequence: PairedSequence, iou: float = 0.5) -> dict[str, float | int]:
    """Errors counted frame by frame with boxes matched from an IoU of `iou`.

    Returns:
        MOTA (1 at best, below 0 where errors outnumber objects), MOTP (mean IoU of matched boxes), recall and precision
        in 0..1, and counts: true positives, false negatives, false positives, switches of identity, fragmentations,
        objects mostly tracked (more than 80 % of their frames), partly tracked and mostly lost (less than 20 %).
    """
    ever = np.full(sequence.objects, NONE)  # the track that each object was last matched to
    before = np.full(sequence.objects, NONE)  # the same in the last frame with objects and tracks only
    matched = np.zeros(sequence.objects)
    pieces = np.zeros(sequence.objects)
    overlap, switches = 0.0, 0
    for frame in sequence.frames:
        if not len(frame.truth) or not len(frame.tracks):
            continue
        rows, columns = _match(frame, before, iou)
        objects, tracks = frame.truth[rows], frame.tracks[columns]
        switches += int(((ever[objects] != NONE) & (ever[objects] != tracks)).sum())
        pieces[objects] += before[objects] == NONE
        ever[objects] = tracks
        before[:] = NONE
        before[objects] = tracks
        matched[objects] += 1
        overlap += float(frame.iou[rows, columns].sum())
    return _summary(sequence, matched, pieces, overlap, switches)


def _match(
    frame: FramePair, before: NDArray[np.int64], iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matched pairs of a frame.

    Those of the last frame are kept where they can be, the others have the largest summed IoU.
    """
    kept = frame.tracks[None, :] == before[frame.truth][:, None]
    score = 1000 * kept + frame.iou
    score[frame.iou < iou - EPSILON] = 0
    rows, columns = solve_assignment(-score)
    good = score[rows, columns] > EPSILON
    return rows[good], columns[good]


def _summary(
    sequence: PairedSequence,
    matched: NDArray[np.float64],
    pieces: NDArray[np.float64],
    overlap: float,
    switches: int,
) -> dict[str, float | int]:
    boxes, _ = sequence.counts()
    true, truth, tracks = int(matched.sum()), sequence.truth_boxes, sequence.track_boxes
    share = matched / boxes
    mostly = int((share > 0.8).sum())
    partly = int((share >= 0.2).sum()) - mostly
    return {
        "MOTA": (true - (tracks - true) - switches) / max(1, truth),
        "MOTP": overlap / max(1, true),
        "recall": true / max(1, truth),
        "precision": true / max(1, tracks),
        "true_positives": true,
        "false_negatives": truth - true,
        "false_positives": tracks - true,
        "switches": switches,
        "fragmentations": int(np.maximum(0, pieces - 1).sum()),
        "mostly_tracked": mostly,
        "partly_tracked": partly,
        "mostly_lost": sequence.objects - mostly - partly,
    }
