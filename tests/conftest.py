"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def _shared_folder() -> Path | None:
    candidates = [Path(__file__).parents[2] / "shared"]
    if "EDGEYOLO_SHARED" in os.environ:
        candidates.insert(0, Path(os.environ["EDGEYOLO_SHARED"]))
    return next((path for path in candidates if (path / "spec").is_dir()), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real images, annotations and the published-style checkpoint, beside the checkout."""
    folder = _shared_folder()
    if folder is None:
        pytest.skip("needs the folder `shared` (real images and a checkpoint) beside the checkout or in EDGEYOLO_SHARED")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Golden numbers kept in the repository."""
    return GOLDEN
