"""`edgeyolo predict`: what the table holds, what it is made from, and what is refused."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the predict extra")
import pyarrow.parquet as pq  # noqa: E402

from edgeyolo import Detector  # noqa: E402
from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.cli.predict_command import progress_text  # noqa: E402
from edgeyolo.datasets.coco import read_coco  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.detector import builtin  # noqa: E402
from edgeyolo.errors import DatasetError, ImageError, RuntimeMissingError, UsageError  # noqa: E402
from edgeyolo.predict import Options, predict  # noqa: E402
from edgeyolo.predict.columns import COLUMNS  # noqa: E402
from edgeyolo.predict.fill import fill_shard  # noqa: E402
from edgeyolo.predict.listing import list_source  # noqa: E402
from edgeyolo.predict.run import Progress, shard_size  # noqa: E402
from edgeyolo.predict.shards import Shard, folder_of  # noqa: E402
from edgeyolo.support.install import install_hint  # noqa: E402

CONF = 0.001  # generated scenes are no photographs: the model that comes with the package is unsure of them
ONE = Options({"conf": CONF}, workers=1, shard=2)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return Artifact.open(builtin.artifact_path())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.png", "below/c.png")):
        cv2.imwrite(str(folder / name), make_scene(seed).image)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return folder


def test_the_table_holds_what_the_detector_finds(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    seen: list[Progress] = []
    done = predict(artifact, photos, out, ONE, progress=seen.append)
    table = pq.read_table(out)
    assert tuple(table.column_names) == COLUMNS
    assert table.schema.field("boxes").type == pa.list_(pa.list_(pa.float32(), 4))
    assert table.schema.field("name").type == pa.list_(pa.string())
    rows = table.to_pylist()
    assert [Path(row["image"]).name for row in rows] == ["a.png", "b.png", "c.png", "broken.jpg"]
    assert {row["model"] for row in rows} == {artifact.sha256}
    found = 0
    with Detector(artifact.path, conf=CONF) as detector:
        for row in rows:
            if row["image"].endswith("broken.jpg"):
                assert "broken.jpg" in row["error"] and row["boxes"] == [] and row["height"] is None
                continue
            expected = detector(row["image"])
            assert (row["height"], row["width"]) == expected.image_size
            assert np.array_equal(np.array(row["boxes"], np.float32).reshape(-1, 4), expected.xyxy)
            assert np.array_equal(np.array(row["confidence"], np.float32), expected.confidence)
            assert row["class_id"] == expected.class_id.tolist() and row["name"] == expected.names
            assert row["error"] is None
            found += len(expected)
    assert found > 0
    assert (done.images, done.failed) == (4, 1)
    assert seen[-1].done == seen[-1].total == 4 and seen[-1].left_s == 0
    assert not folder_of(out).exists()


def test_coco_json_reads_back_as_a_data_set(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert predict(artifact, photos, out, ONE).failed == 1
    data = json.loads(out.read_text())
    assert len(data["images"]) == 3 and [Path(e["file_name"]).name for e in data["errors"]] == ["broken.jpg"]
    assert [each["id"] for each in data["annotations"]] == list(range(1, len(data["annotations"]) + 1))
    with Detector(artifact.path, conf=CONF) as detector:
        for image in data["images"]:
            expected = detector(image["file_name"])
            own = [each for each in data["annotations"] if each["image_id"] == image["id"]]
            boxes = np.array([each["bbox"] for each in own], np.float64).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            assert np.allclose(boxes, expected.xyxy, atol=1e-3)
            names = {each["id"]: each["name"] for each in data["categories"]}
            assert [names[each["category_id"]] for each in own] == expected.names
    assert len(read_coco(out).images) == 3


def test_lists_and_tables_name_images(photos: Path, tmp_path: Path) -> None:
    listed = photos / "list.txt"
    listed.write_text("below/c.png\na.png\n\nbelow/c.png\ns3://bucket/far.jpg\n")
    expected = (str(photos / "below/c.png"), str(photos / "a.png"), "s3://bucket/far.jpg")
    assert list_source(listed).images == expected
    pq.write_table(pa.table({"image": ["below/c.png", "a.png", "s3://bucket/far.jpg"]}), photos / "t.parquet")
    assert list_source(photos / "t.parquet").images == expected
    assert [Path(name).name for name in list_source(photos).images] == [
        "a.png",
        "b.png",
        "c.png",
        "broken.jpg",
    ]


def test_empty_listings_are_refused(photos: Path) -> None:
    empty = photos / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(UsageError, match="no image is listed"):
        list_source(empty)
    pq.write_table(pa.table({"file": ["a.png"]}), photos / "t.parquet")
    with pytest.raises(DatasetError, match="expected a column 'image', got file"):
        list_source(photos / "t.parquet")
    (photos / "t.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DatasetError, match="not a Parquet file"):
        list_source(photos / "t.parquet")
    with pytest.raises(DatasetError, match="nothing is there"):
        list_source(photos / "none.txt")


def test_an_address_is_fetched_by_the_worker(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    addresses = ((photos / "a.png").as_uri(), (photos / "none.png").as_uri())
    shard = Shard(0, addresses, tmp_path / "rows.parquet")
    with Detector(artifact.path, conf=CONF) as detector:
        fill_shard(shard, detector, "hash")
        near = detector(photos / "a.png")
    first, second = pq.read_table(shard.file).to_pylist()
    assert first["confidence"] == near.confidence.tolist() and first["image"] == addresses[0]
    assert "none.png: cannot be read" in second["error"]


def test_nothing_but_broken_images_fails_and_is_written(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no")
    with pytest.raises(ImageError, match="none of the 1 images"):
        predict(artifact, tmp_path, tmp_path / "out.parquet", ONE)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 1


def test_arguments_that_do_not_fit_are_refused(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.parquet or \.json"):
        predict(artifact, photos, tmp_path / "out.csv")
    with pytest.raises(UsageError, match="workers=0"):
        predict(artifact, photos, tmp_path / "out.parquet", Options(workers=0))
    out = tmp_path / "out.parquet"
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="already exists"):
        predict(artifact, photos, out)
    assert out.read_bytes() == b"mine"
    predict(artifact, photos, out, Options(workers=1, overwrite=True))
    assert pq.read_table(out).num_rows == 4


def test_without_pyarrow_the_message_says_what_to_install(
    artifact: Artifact, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RuntimeMissingError) as caught:
        predict(artifact, photos, tmp_path / "out.parquet")
    assert caught.value.hint == install_hint("predict") and caught.value.exit_code == 3


def test_without_ray_the_message_says_what_to_install(
    artifact: Artifact, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeMissingError) as caught:
        predict(artifact, photos, tmp_path / "out.parquet", Options(engine="ray"))
    assert caught.value.hint == install_hint("ray") and caught.value.exit_code == 3
    assert not folder_of(tmp_path / "out.parquet").exists()


def test_progress_reads_as_a_sentence() -> None:
    assert progress_text(Progress(0, 10, 0.0)) == "0 of 10 images"
    assert progress_text(Progress(1200, 10000, 34.5)) == "1200 of 10000 images, 34.5 images/s, 4:15 left"
    assert progress_text(Progress(0, 36000, 5.0)).endswith("2:00:00 left")


@pytest.mark.parametrize(
    ("images", "workers", "size"),
    [(1, 2, 1), (300, 2, 75), (2000, 2, 125), (256, 2, 128), (257, 2, 65), (7, 16, 1)],
)
def test_shards_are_as_many_for_each_process(images: int, workers: int, size: int) -> None:
    """So that no process does a whole shard while the others have nothing left."""
    assert shard_size(images, workers) == size
    shares = [0] * workers
    for start in range(0, images, size):  # whoever has least takes the next one
        shares[shares.index(min(shares))] += min(size, images - start)
    assert max(shares) <= math.ceil(images / workers) * 1.02
