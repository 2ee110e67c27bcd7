"""Calibration images: a sample that a seed repeats, prepared exactly as at run time, broken files left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.registry import open_calibration
from edgeyolo.datasets import Dataset, Sample
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_calib.images.content import identify_labelled
from edgeyolo_calib.images.sampling import EMPTY, stratified
from edgeyolo_calib.images.source import open_images

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
    other = open_calibration(str(folder), images=4, seed=1)
    assert other.sha256 != one.sha256
    assert "seed 1" in other.described
    for path in folder.glob("*.png"):
        cv2.imwrite(str(path), 255 - read_image(path))
    assert open_calibration(str(folder), images=4).sha256 != one.sha256


def test_a_broken_file_is_left_out(folder: Path) -> None:
    (folder / "6.png").write_bytes((folder / "0.png").read_bytes()[:100])
    source = open_calibration(str(folder), images=7)
    assert sum(len(batch) for batch in source.batches(CONTRACT)) == 6
    assert source.count == 6


def test_its_pictures_are_the_first_that_can_be_read(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"no picture")
    source = open_images(folder, 6)
    shown = source.pictures(2)
    readable = [path for path in source.paths if path.name != "0.png"]
    assert all(np.array_equal(a, read_image(b)) for a, b in zip(shown, readable[:2], strict=True))
    assert len(source.pictures(99)) == source.count == 5


def test_labels_are_a_part_of_what_is_measured_on(folder: Path) -> None:
    none = np.zeros(1, np.bool_)
    boxes = np.array([[1.0, 2, 3, 4]])
    sample = Sample(folder / "0.png", 0, np.zeros(1, np.int64), boxes, none, none)
    data = Dataset("d", "coco", folder, ("cat", "dog"), (1, 2), (sample,))
    others = [
        replace(sample, rows=boxes + 1),
        replace(sample, class_id=sample.class_id + 1),
        replace(sample, crowd=~none),
    ]
    found = {identify_labelled(replace(data, images=(each,))) for each in (sample, *others)}
    assert len(found) == 4
    assert identify_labelled(replace(data, name="renamed")) in found
    assert identify_labelled(replace(data, class_names=("dog", "cat"))) not in found


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgeYoloError):
        open_calibration(str(tmp_path / "absent"), images=3)


def test_few_images_are_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_images(folder, 5)
    assert "5 calibration images; at least 100 are advised" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_pictures_that_are_evaluated_on_are_refused(folder: Path, tmp_path: Path, suffix: str) -> None:
    """A copy under another name, and one in another lossless format: the same pixels."""
    judged = tmp_path / "judged"
    judged.mkdir()
    twin = judged / f"other{suffix}"
    if suffix == ".png":
        twin.write_bytes((folder / "2.png").read_bytes())
    else:
        cv2.imwrite(str(twin), read_image(folder / "2.png"))
    files = sorted(folder.glob("*.png"))
    with pytest.raises(UsageError, match=r"1 of 1 calibration images are evaluated on too: .*2\.png"):
        open_images(folder / "2.png", 1, evaluation=[twin])
    cv2.imwrite(str(twin), 255 - read_image(files[0]))
    assert open_images(folder / "2.png", 1, evaluation=[twin]).count == 1


@given(
    st.lists(st.sampled_from([(0, "small"), (0, "large"), (1, "small"), EMPTY]), min_size=1),
    st.integers(1, 40),
)
def test_a_sample_holds_every_kind_it_can(groups: list[tuple[int, str]], count: int) -> None:
    chosen = stratified(groups, count, seed=3)
    assert chosen == stratified(groups, count, seed=3)
    assert len(set(chosen)) == len(chosen) == min(count, len(groups))
    kinds = {groups[i] for i in chosen}
    assert len(kinds) == min(len(set(groups)), len(chosen))
