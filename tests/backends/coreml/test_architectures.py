"""Every network, of a quarter of the channels, as a package that stays on the engine and gives torch's maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.export.source import NetworkSource
from edgeyolo.models.build import build
from edgeyolo.models.reparameterize import reparameterize
from edgeyolo.models.scaling import scale_width
from edgeyolo.models.specs import get, names
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_coreml import CoremlBackend
from edgeyolo_coreml.neural_engine import placement
from edgeyolo_coreml.package import read


def cases() -> list[Any]:
    slow = [name for name in names() if name != "yolov7-tiny"]
    return ["yolov7-tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


@pytest.mark.parametrize("name", cases())
def test_it_converts_without_auxiliary_maps(
    name: str,
    source_of: Callable[..., NetworkSource],
    make_artifact: Callable[[NetworkSource, str, Path], Artifact],
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    trained = build(scale_width(get(name), 1 / 4), classes=3, form="training").eval()
    network = reparameterize(trained).network
    del trained
    artifact = make_artifact(source_of(network, ("a", "b", "c"), (128, 128)), "fp16", tmp_path / name)
    output = artifact.manifest.output
    spec, program = read(artifact.path / "model.mlpackage")
    assert [item.name for item in spec.description.output] == list(output.names)
    assert len(output.names) == (4 if network.spec.space_to_depth else 3)
    found = placement(program)
    assert found.misfits == ()
    assert found.edges == {"mul": 1, "cast": 1 + len(output.names)}

    batch, _ = preprocess([make_scene(3).image], artifact.manifest.input)
    maps = CoremlBackend().open_for_parity(artifact).run(batch)
    image = torch.from_numpy(batch.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    with torch.inference_mode():
        expected = network(image)
    assert tuple(each.shape for each in maps.values()) == output.shapes(1, (128, 128))
    for given, want in zip(maps.values(), expected, strict=True):
        assert np.abs(given - want.numpy()).max() <= 2e-3 * np.abs(want.numpy()).max()
