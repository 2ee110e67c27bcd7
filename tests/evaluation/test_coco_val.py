"""COCO val2017 as published, MLPerf's part of it, and lists of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeyolo.cli.val_command import command
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.errors import DatasetError, UsageError
from edgeyolo.evaluation.coco_val import CATEGORY_IDS, only, require_coco_val

# Licences and images of each, as in instances_val2017.json: 1,525 are not for non-commercial use only.
LICENCES = {
    "http://creativecommons.org/licenses/by-nc-sa/2.0/": 1431,
    "http://creativecommons.org/licenses/by-nc/2.0/": 630,
    "http://creativecommons.org/licenses/by-nc-nd/2.0/": 1414,
    "http://creativecommons.org/licenses/by/2.0/": 857,
    "http://creativecommons.org/licenses/by-sa/2.0/": 417,
    "http://creativecommons.org/licenses/by-nd/2.0/": 246,
    "http://flickr.com/commons/usage/": 5,
    "http://www.usa.gov/copyright.shtml": 0,
}


def annotations() -> dict[str, Any]:
    """A file with val2017's categories, licences and number of images."""
    images, licences = [], []
    for licence, (url, count) in enumerate(LICENCES.items(), 1):
        licences.append({"id": licence, "url": url})
        for _ in range(count):
            number = 100 + 7 * len(images)
            images.append({
                "id": number, "file_name": f"{number:012d}.jpg", "width": 8, "height": 8, "license": licence,
            })  # fmt: skip
    box = {"id": 1, "image_id": 100, "category_id": 90, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    categories = [{"id": i, "name": f"c{i}"} for i in CATEGORY_IDS]
    return {"images": images, "licenses": licences, "annotations": [box], "categories": categories}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coco") / "instances_val2017.json"
    path.write_text(json.dumps(annotations()))
    return path


@pytest.fixture
def whole(file: Path) -> Dataset:
    return load_dataset(file, need_images=False)


def test_ids_are_cocos() -> None:
    assert len(CATEGORY_IDS) == 80 and (CATEGORY_IDS[0], CATEGORY_IDS[-1]) == (1, 90)


def test_all_images_and_mlperfs_part(whole: Dataset) -> None:
    assert "all 5,000" in require_coco_val(whole)
    part = only(whole, "free")
    assert len(part) == 1525
    assert "1,525" in require_coco_val(part)
    assert {sample.source_id for sample in part.images} == {100 + 7 * i for i in range(3475, 5000)}
    assert [sample.image_id for sample in part.images] == list(range(1525))


@pytest.mark.parametrize("form", ["lines", "json", "names"])
def test_a_list_of_ids(form: str, whole: Dataset, tmp_path: Path) -> None:
    ids, path = [114, 100], tmp_path / "ids.txt"
    text = {"lines": "114\n100\n", "json": "[114, 100]", "names": "000000000114.jpg\n000000000100.jpg"}[form]
    path.write_text(text)
    assert sorted(str(sample.source_id) for sample in only(whole, path).images) == sorted(map(str, ids))


@pytest.mark.parametrize(
    ("text", "expected"), [("100\n101\n", "1 of its 2 images"), ("a b", "one a line"), ("", "0 of its 0")]
)
def test_lists_that_do_not_fit(text: str, expected: str, whole: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=expected):
        only(whole, path)


def test_other_images_are_not_cocos(whole: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("100")
    with pytest.raises(UsageError, match="1 images; COCO val2017 has 5,000"):
        require_coco_val(only(whole, path))
    data = annotations()
    data["categories"][-1] = {"id": 91, "name": "c91"}
    data["annotations"][0]["category_id"] = 91
    for image in data["images"]:
        del image["license"]
    (tmp_path / "other.json").write_text(json.dumps(data))
    other = load_dataset(tmp_path / "other.json", need_images=False)
    with pytest.raises(UsageError, match="not COCO's 80"):
        require_coco_val(other)
    with pytest.raises(DatasetError, match="does not name the licences"):
        only(other, "free")


def test_the_preset_has_its_own_thresholds(file: Path) -> None:
    given = ["model", "--data", str(file), "--preset", "coco-val", "--conf", "0.1"]
    refused = CliRunner().invoke(command, given)
    assert isinstance(refused.exception, UsageError) and "sets --conf" in refused.exception.message
