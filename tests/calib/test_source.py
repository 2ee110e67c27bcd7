"""Calibration images: a sample that a seed repeats, prepared exactly as at run time, broken files left out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeyolo.contracts import InputContract
from edgeyolo.errors import EdgeYoloError
from edgeyolo.images import read_image
from edgeyolo.preprocess import preprocess
from edgeyolo.registry import open_calibration
from edgeyolo.scenes import make_scene

CONTRACT = InputContract(64, 96, batch=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(6):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), make_scene(seed, (50, 70)).image)
    return tmp_path


def test_the_arrays_are_those_of_run_time(folder: Path) -> None:
    source = open_calibration(str(folder), images=5)
    batches = list(source.batches(CONTRACT))
    assert source.count == 5
    assert [batch.shape for batch in batches] == [CONTRACT.shape()] * 3
    prepared = {preprocess([read_image(path)], CONTRACT)[0][0].tobytes() for path in folder.glob("*.png")}
    assert {row.tobytes() for batch in batches for row in batch} <= prepared


def test_a_sample_is_repeatable_and_named_by_its_content(folder: Path) -> None:
    one, same = open_calibration(str(folder), images=4), open_calibration(str(folder), images=4)
    assert one.sha256 == same.sha256
    assert all(
        np.array_equal(a, b) for a, b in zip(one.batches(CONTRACT), same.batches(CONTRACT), strict=True)
    )
    for path in folder.glob("*.png"):
        cv2.imwrite(str(path), 255 - read_image(path))
    assert open_calibration(str(folder), images=4).sha256 != one.sha256


def test_a_broken_file_is_left_out(folder: Path) -> None:
    (folder / "6.png").write_bytes((folder / "0.png").read_bytes()[:100])
    source = open_calibration(str(folder), images=7)
    assert sum(len(batch) for batch in source.batches(CONTRACT)) == 6
    assert source.count == 6


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgeYoloError):
        open_calibration(str(tmp_path / "absent"), images=3)
