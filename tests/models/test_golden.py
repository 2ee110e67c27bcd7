"""The numbers of the published networks, before and after re-parameterization."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.models import specs  # noqa: E402
from edgeyolo.models.published import recognise  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402

TOLERANCE = 1e-5


def _assert_equal(found: Any, expected: np.ndarray) -> None:
    """Our (1, anchors * 85, H, W) against the published (1, anchors, H, W, 85)."""
    n, _, height, width = found.shape
    maps = found.numpy().reshape(n, 3, 85, height, width).transpose(0, 1, 3, 4, 2)
    assert maps.shape == expected.shape
    assert np.abs(maps - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_outputs_before_and_after_reparameterization(
    case: tuple[str, str], filled: Callable[..., Any], golden: Path, golden_input: np.ndarray
) -> None:
    name, form = case
    activation = specs.get(name).act
    found = recognise(filled(name, form), activation=activation)
    assert (found.spec, found.form, found.classes) == (specs.get(name), form, 80)
    network, image = found.network(), torch.from_numpy(golden_input)
    with np.load(golden / "networks" / f"{name}.{form}.npz") as file:
        heads = [file[key] for key in file if key.startswith("head")]
        aux = [file[key] for key in file if key.startswith("aux")]
    assert len(heads) == network.levels
    assert len(aux) == len(network.aux_outputs)
    with torch.inference_mode():
        for maps, expected in zip(network(image), [*heads, *aux], strict=True):
            _assert_equal(maps, expected)
    folded = reparameterize(network)
    assert folded.report.largest.relative <= TOLERANCE
    with torch.inference_mode():
        for maps, expected in zip(folded.network(image), heads, strict=True):
            _assert_equal(maps, expected)
