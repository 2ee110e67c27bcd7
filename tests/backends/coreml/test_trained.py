"""The trained checkpoint on real photographs: scores and detections of each precision against torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.export.source import NetworkSource
from edgeyolo.models.importer import import_checkpoint
from edgeyolo.models.reparameterize import reparameterize
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_coreml import CoremlBackend

# Of a score sigmoid(objectness) * sigmoid(class): mean error, error of 99 % of the cells, largest error.
# Measured on the 72 images of the test split: 1.5e-5, 4.6e-4, 3.7e-3; 7e-5, 2e-3, 2e-2; 3.5e-4, 1.1e-2, 9e-2.
BUDGETS = {"fp16": (5e-5, 1e-3, 6e-3), "int8": (2e-4, 5e-3, 4e-2), "w6": (8e-4, 2.5e-2, 0.15)}


def scores(maps: list[np.ndarray]) -> np.ndarray:
    found = []
    for each in maps:
        planes = each.reshape(3, -1, *each.shape[2:]).astype(np.float64)
        p = 1 / (1 + np.exp(-planes[:, 4:]))
        found.append((p[:, :1] * p[:, 1:]).ravel())
    return np.concatenate(found)


@pytest.fixture(scope="module")
def trained(shared: Path, source_of: Callable[..., NetworkSource]) -> NetworkSource:
    loaded = import_checkpoint(shared / "data/checkpoints/yolov7-tiny-bccd-256.pt")
    return source_of(reparameterize(loaded.network).network, loaded.class_names, (256, 256))


@pytest.mark.slow
@pytest.mark.parametrize("precision", BUDGETS)
def test_scores_are_torchs(
    trained: NetworkSource,
    shared: Path,
    make_artifact: Callable[[NetworkSource, str, Path], Artifact],
    tmp_path: Path,
    precision: str,
) -> None:
    artifact = make_artifact(trained, precision, tmp_path / precision)
    session = CoremlBackend().open_for_parity(artifact)
    errors = []
    for photograph in sorted((shared / "data/bccd/JPEGImages").glob("*.jpg"))[:12]:
        batch, _ = preprocess([read_image(photograph)], artifact.manifest.input)
        image = torch.from_numpy(batch.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
        with torch.inference_mode():
            expected = [each.numpy() for each in trained.network(image)]
        errors.append(np.abs(scores(list(session.run(batch).values())) - scores(expected)))
    error = np.concatenate(errors)
    mean, most, largest = BUDGETS[precision]
    assert error.mean() <= mean
    assert np.percentile(error, 99) <= most
    assert error.max() <= largest
