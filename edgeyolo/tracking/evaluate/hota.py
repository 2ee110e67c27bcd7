"""HOTA, higher order tracking accuracy (Luiten et al., IJCV 2021)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeyolo.tracking.assignment import solve_assignment
from edgeyolo.tracking.evaluate.sequence import EPSILON, PairedSequence

ALPHAS = np.arange(0.05, 0.99, 0.05)  # the localization thresholds of the paper, section 5.3

Array = NDArray[np.float64]


def hota(sequence: PairedSequence) -> dict[str, float]:
    """HOTA and its parts, each the mean over 19 localization thresholds.

    Returns:
        HOTA, DetA, AssA, DetRe, DetPr, AssRe, AssPr, LocA in 0..1 (equations 14 to 28 of the paper).
    """
    truth_count, track_count = sequence.counts()
    alignment = _alignment(sequence, truth_count[:, None] + track_count[None, :])
    pairs, overlap = _matched(sequence, alignment)
    good = overlap >= ALPHAS[:, None] - EPSILON
    true = good.sum(axis=1)
    met, index = np.unique(pairs, return_inverse=True)  # pairs of an object and a track that ever met
    together = np.stack([np.bincount(index, row, len(met)) for row in good.astype(np.float64)])
    truth_count, track_count = truth_count[met // sequence.tracks], track_count[met % sequence.tracks]

    def associated(size: Array) -> Array:
        result: Array = (together * together / np.maximum(1, size)).sum(axis=1) / np.maximum(1, true)
        return result

    truth_boxes, track_boxes = sequence.truth_boxes, sequence.track_boxes
    detection = true / np.maximum(1, truth_boxes + track_boxes - true)
    association = associated(truth_count + track_count - together)
    located = (overlap * good).sum(axis=1)
    parts = {
        "HOTA": np.sqrt(detection * association),
        "DetA": detection,
        "AssA": association,
        "DetRe": true / max(1, truth_boxes),
        "DetPr": true / max(1, track_boxes),
        "AssRe": associated(truth_count),
        "AssPr": associated(track_count),
        "LocA": np.maximum(1e-10, located) / np.maximum(1e-10, true),
    }
    return {name: float(values.mean()) for name, values in parts.items()}


def _matched(sequence: PairedSequence, alignment: Array) -> tuple[NDArray[np.int64], Array]:
    """Matched pairs of all frames as object * tracks + track, with their IoU."""
    pairs, overlaps = [np.empty(0, np.int64)], [np.empty(0)]
    for frame in sequence.frames:
        rows, columns = solve_assignment(-alignment[np.ix_(frame.truth, frame.tracks)] * frame.iou)
        pairs.append(frame.truth[rows] * sequence.tracks + frame.tracks[columns])
        overlaps.append(frame.iou[rows, columns])
    return np.concatenate(pairs), np.concatenate(overlaps)


def _alignment(sequence: PairedSequence, totals: Array) -> Array:
    """The global alignment score, a soft Jaccard index: (objects, tracks)."""
    potential = np.zeros((sequence.objects, sequence.tracks))
    for frame in sequence.frames:
        others = frame.iou.sum(axis=0)[None, :] + frame.iou.sum(axis=1)[:, None] - frame.iou
        share = np.divide(frame.iou, others, out=np.zeros_like(frame.iou), where=others > EPSILON)
        potential[np.ix_(frame.truth, frame.tracks)] += share
    return potential / (totals - potential)
