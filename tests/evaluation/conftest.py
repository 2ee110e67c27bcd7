"""Data sets and predictions written down by hand."""

from pathlib import Path

import numpy as np
import pytest

from edgeyolo.datasets import Dataset, Sample
from edgeyolo.evaluation import Predictions


@pytest.fixture(scope="session")
def make_dataset():
    """Call with a list of (class, x, y, w, h[, "crowd"]) for each image: 200 x 200, ids 1, 2 ..."""

    def make(*images, names=("cat", "dog"), ids=None):
        samples = []
        for number, objects in enumerate(images, start=1):
            rows = np.array([entry[1:5] for entry in objects], dtype=np.float64).reshape(-1, 4)
            crowd = np.array(["crowd" in entry for entry in objects], dtype=bool)
            classes = np.array([entry[0] for entry in objects], dtype=np.int64)
            samples.append(
                Sample(
                    Path(f"{number}.jpg"),
                    number,
                    classes,
                    rows,
                    crowd,
                    crowd & False,
                    declared_size=(200, 200),
                )
            )
        category_ids = tuple(ids or range(1, len(names) + 1))
        return Dataset("made", "coco", Path("made.json"), tuple(names), category_ids, tuple(samples))

    return make


@pytest.fixture(scope="session")
def make_predictions():
    """Call with (image id, class, score, x, y, w, h) tuples."""

    def make(*rows):
        table = np.array(rows, dtype=np.float64).reshape(-1, 7)
        return Predictions(
            table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 3:], table[:, 2]
        )

    return make
