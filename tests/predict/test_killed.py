"""Predictions that are killed: each image ends up in the output once, with the rows of an undisturbed run."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the predict extra")
import pyarrow.parquet as pq  # noqa: E402

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.detector import builtin  # noqa: E402
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError  # noqa: E402
from edgeyolo.predict import Options, predict  # noqa: E402
from edgeyolo.predict.fill import Load  # noqa: E402
from edgeyolo.predict.local import fill_locally  # noqa: E402
from edgeyolo.predict.run import Progress  # noqa: E402
from edgeyolo.predict.shards import Shard, folder_of  # noqa: E402

IMAGES, SHARD = 24, 2
ARGUMENTS = {"conf": 0.001}


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return Artifact.open(builtin.artifact_path())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(IMAGES - 1):
        cv2.imwrite(str(folder / f"{seed:02d}.png"), make_scene(seed).image)
    (folder / "broken.png").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def undisturbed(artifact: Artifact, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    out = tmp_path_factory.mktemp("undisturbed") / "out.parquet"
    predict(artifact, photos, out, Options(ARGUMENTS, workers=1, shard=SHARD))
    return pq.read_table(out)


def command(artifact: Artifact, photos: Path, out: Path) -> list[str]:
    words = ["predict", str(artifact.path), str(photos), "-o", str(out), "--conf", "0.001"]
    return [sys.executable, "-m", "edgeyolo", *words, "--workers", "2", "--shard", str(SHARD)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "shards", [pytest.param(0, marks=pytest.mark.slow), 3], ids=lambda n: f"after {n} shards"
)
def test_a_killed_driver_goes_on(
    artifact: Artifact, photos: Path, undisturbed: pa.Table, tmp_path: Path, shards: int
) -> None:
    out = tmp_path / "out.parquet"
    driver = subprocess.Popen(command(artifact, photos, out), stderr=subprocess.DEVNULL)
    folder = folder_of(out)
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        if (folder / "job.json").is_file() and len(list(folder.glob("*.parquet"))) >= shards:
            break
        time.sleep(0.01)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL and not out.exists()
    for kept in sorted(folder.glob("*.parquet"))[: min(shards, 1)]:  # what is done keeps its mark to the end
        table = pq.read_table(kept)
        marks = pa.array(["marked"] * len(table))
        table = table.set_column(table.schema.get_field_index("model"), table.schema.field("model"), marks)
        pq.write_table(table, kept)
    done = subprocess.run(command(artifact, photos, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out)
    assert table.column("image").to_pylist() == undisturbed.column("image").to_pylist()
    assert table.drop_columns("model").equals(undisturbed.drop_columns("model"))
    if shards:
        assert Counter(table.column("model").to_pylist()) == {
            "marked": SHARD,
            artifact.sha256: IMAGES - SHARD,
        }
    assert not folder.exists()


def test_a_killed_worker_is_replaced(
    artifact: Artifact, photos: Path, undisturbed: pa.Table, tmp_path: Path
) -> None:
    killed: list[int] = []
    after = [3, 9, 15]  # apart: what is killed three times at one image is taken to be its fault

    def kill(at: Progress) -> None:
        if after and at.done >= after[0]:
            after.pop(0)
            victim = multiprocessing.active_children()[0]
            victim.kill()
            killed.append(victim.pid or 0)

    out = tmp_path / "out.parquet"
    predict(artifact, photos, out, Options(ARGUMENTS, workers=2, shard=SHARD), progress=kill)
    assert len(set(killed)) == 3
    assert pq.read_table(out).equals(undisturbed)


def test_a_finished_output_that_was_not_cleared_away_is_merged_again(
    artifact: Artifact, photos: Path, undisturbed: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    options = Options(ARGUMENTS, workers=1, shard=SHARD)

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edgeyolo.predict.shards.Job.discard", end)  # killed between the rename and this
        with pytest.raises(KeyboardInterrupt):
            predict(artifact, photos, out, options)
    assert out.is_file()
    predict(artifact, photos, out, options)
    assert pq.read_table(out).equals(undisturbed)


def interrupted(artifact: Artifact, photos: Path, out: Path) -> None:
    def end(at: Progress) -> None:
        if at.done > SHARD:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(artifact, photos, out, Options(ARGUMENTS, workers=1, shard=SHARD), progress=end)
    assert not multiprocessing.active_children()


def test_another_prediction_is_not_gone_on_with(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    interrupted(artifact, photos, out)
    with pytest.raises(UsageError, match=r"has conf 0\.001, not 0\.5"):
        predict(artifact, photos, out, Options({"conf": 0.5}))
    with pytest.raises(UsageError, match=r"has conf 0\.001, not None"):
        predict(artifact, photos, out)
    predict(artifact, photos, out, Options({"conf": 0.5}, overwrite=True))
    assert pq.read_table(out).num_rows == IMAGES


def test_a_prediction_keeps_the_images_it_began_with(
    artifact: Artifact, photos: Path, undisturbed: pa.Table, tmp_path: Path
) -> None:
    listed, out = photos / "list.txt", tmp_path / "out.parquet"
    names = [f"{seed:02d}.png" for seed in range(6)]
    listed.write_text("\n".join(names))
    interrupted(artifact, listed, out)
    listed.write_text("\n".join(["broken.png", *names]))
    told: list[str] = []
    predict(artifact, listed, out, Options(ARGUMENTS, workers=1), tell=told.append)
    assert "the 6 images that this prediction began with" in told[0]
    assert pq.read_table(out).equals(undisturbed.slice(0, 6))


def test_a_damaged_shard_is_named(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    interrupted(artifact, photos, out)
    shard = folder_of(out) / "00000000.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match="00000000"):
        predict(artifact, photos, out, Options(ARGUMENTS, workers=1, shard=SHARD))
    shard.unlink()
    predict(artifact, photos, out, Options(ARGUMENTS, workers=1, shard=SHARD))
    assert pq.read_table(out).num_rows == IMAGES


def test_one_process_at_a_time(artifact: Artifact, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    caught: list[str] = []

    def again(at: Progress) -> None:
        if not caught:
            with pytest.raises(UsageError, match="another process is predicting") as error:
                predict(artifact, photos, out, Options(ARGUMENTS, workers=1, shard=SHARD))
            caught.append(error.value.message)

    predict(artifact, photos, out, Options(ARGUMENTS, workers=1, shard=SHARD), progress=again)
    assert caught


DEADLY = """
import os, signal
from contextlib import contextmanager
from dataclasses import dataclass
from edgeyolo.predict.fill import Load

@dataclass(frozen=True)
class Deadly(Load):
    @contextmanager
    def detector(self):
        if self.arguments["early"]:
            os.kill(os.getpid(), signal.SIGKILL)
        with Load(self.artifact, self.sha256).detector() as real:
            def detect(image):
                if image.endswith("03.png"):
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(image)
            yield detect
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "deadly_load.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path))  # a spawned process takes over sys.path
    return importlib.import_module("deadly_load").Deadly


def shards_of(photos: Path, folder: Path) -> list[Shard]:
    names = [str(photos / f"{seed:02d}.png") for seed in range(6)]
    return [
        Shard(number, tuple(names[2 * number : 2 * number + 2]), folder / f"{number}.parquet")
        for number in range(3)
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_an_image_that_kills_three_times_is_a_row_with_an_error(
    deadly: Any, artifact: Artifact, photos: Path, tmp_path: Path
) -> None:
    shards = shards_of(photos, tmp_path)
    fill_locally(deadly(str(artifact.path), "hash", {"early": False}), shards, 2, lambda _: None)
    rows = [row for shard in shards for row in pq.read_table(shard.file).to_pylist()]
    errors = {Path(row["image"]).name: row["error"] for row in rows}
    assert len(rows) == 6 and [name for name, error in errors.items() if error] == ["03.png"]
    assert "killed, three times" in errors["03.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_model_that_kills_every_process_is_given_up(
    deadly: Any, artifact: Artifact, photos: Path, tmp_path: Path
) -> None:
    load = deadly(str(artifact.path), "hash", {"early": True})
    with pytest.raises(EdgeYoloError, match=r"3 processes in a row .*signal 9"):
        fill_locally(load, shards_of(photos, tmp_path), 2, lambda _: None)
    assert not multiprocessing.active_children()


def test_worker_errors_are_raised_by_the_driver(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        fill_locally(Load(str(tmp_path / "none"), "hash"), shards_of(photos, tmp_path), 1, lambda _: None)
    assert caught.value.hint
