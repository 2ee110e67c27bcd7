"""Identity measures (Ristani et al., 2016): one track for each object."""

from __future__ import annotations

import numpy as np

from edgeyolo.tracking.assignment import solve_assignment
from edgeyolo.tracking.evaluate.sequence import PairedSequence


def identity(sequence: PairedSequence, iou: float = 0.5) -> dict[str, float | int]:
    """IDF1, IDR and IDP in 0..1, with the boxes counted: IDTP, IDFN, IDFP.

    Objects and tracks are paired one to one so that the most boxes overlap by at least `iou`. Leaving an object
    without a track costs no more than pairing it with one that it never meets, so the published cost matrix with a
    stand-in for each object and track has the same optimum as this plain one.
    """
    together = np.zeros((sequence.objects, sequence.tracks))
    for frame in sequence.frames:
        together[np.ix_(frame.truth, frame.tracks)] += frame.iou >= iou
    rows, columns = solve_assignment(-together)
    true = int(together[rows, columns].sum())
    truth, tracks = sequence.truth_boxes, sequence.track_boxes
    return {
        "IDF1": true / max(1.0, (truth + tracks) / 2),
        "IDR": true / max(1, truth),
        "IDP": true / max(1, tracks),
        "IDTP": true,
        "IDFN": truth - true,
        "IDFP": tracks - true,
    }
