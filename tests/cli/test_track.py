"""`edgeyolo track` without a model: detections from a file, and measures of a result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeyolo.cli.track_command import command
from edgeyolo.errors import DatasetError, UsageError

INFO = (
    "[Sequence]\nname=made\nimDir=img1\nframeRate=10\nseqLength=30\nimWidth=640\nimHeight=480\nimExt=.jpg\n"
)


def run(*arguments: object) -> Result:
    """The command as a process would run it; its errors are raised."""
    return CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two people who walk for three seconds; the detector misses one of ten, at random."""
    rng = np.random.default_rng(0)
    (tmp_path / "seqinfo.ini").write_text(INFO)
    truth, detections = [], []
    for frame in range(1, 31):
        for number, (x, y) in enumerate(((50 + 6 * frame, 100), (400 - 6 * frame, 250)), 1):
            truth.append(f"{frame},{number},{x},{y},30,60,1,-1,-1,-1")
            if rng.random() < 0.9:
                detections.append(f"{frame},-1,{x + rng.normal():.2f},{y},30,60,0.95,-1,-1,-1")
    (tmp_path / "gt.txt").write_text("\n".join(truth) + "\n")
    (tmp_path / "det.txt").write_text("\n".join(detections) + "\n")
    return tmp_path


def test_detections_of_a_file_are_tracked_and_measured(made: Path) -> None:
    out = made / "new" / "tracks.txt"
    done = run("--detections", made / "det.txt", "--seqinfo", made / "seqinfo.ini", "--mot", out)
    assert done.exit_code == 0 and not done.stdout and "2 objects" in done.stderr
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert {row[1] for row in rows} == {"1", "2"} and all(row[7:] == ["-1"] * 3 for row in rows)
    frames = [int(row[0]) for row in rows]
    assert frames == sorted(frames) and 1 <= frames[0] <= 3 and frames[-1] == 30
    measured = run("--eval", made / "gt.txt", out, "--json")
    measures = json.loads(measured.stdout)
    assert list(measures)[:4] == ["HOTA", "MOTA", "IDF1", "switches"]
    assert measures["MOTA"] > 0.8 and measures["IDF1"] > 0.9 and measures["switches"] == 0
    assert "HOTA" in run("--eval", made / "gt.txt", out).stdout


def test_json_has_an_entry_a_frame(made: Path) -> None:
    done = run("--detections", made / "det.txt", "--seqinfo", made / "seqinfo.ini", "--json")
    entries = json.loads(done.stdout)
    assert [entry["frame"] for entry in entries] == list(range(1, 31))
    assert entries[10]["time"] == pytest.approx(1.0) and set(entries[10]["tracks"][0]) == {
        "track_id", "box", "confidence", "class_id", "name",
    }  # fmt: skip


def test_a_file_that_cannot_be_read_leaves_nothing(made: Path) -> None:
    out = made / "tracks.txt"
    (made / "det.txt").write_text("1,-1,5,5,10,10,0.9\n2,-1,broken\n")
    with pytest.raises(DatasetError, match="line 2"):
        run("--detections", made / "det.txt", "--seqinfo", made / "seqinfo.ini", "--mot", out)
    assert sorted(path.name for path in made.iterdir()) == ["det.txt", "gt.txt", "seqinfo.ini"]


@pytest.mark.parametrize(
    ("row", "message"), [("1,-1,5,5,10,10,37.5", "from 0 to 1"), ("31,-1,5,5,10,10,0.9", "frame 31")]
)
def test_detections_that_do_not_fit_the_sequence(made: Path, row: str, message: str) -> None:
    (made / "det.txt").write_text(row + "\n")
    with pytest.raises(DatasetError, match=message):
        run("--detections", made / "det.txt", "--seqinfo", made / "seqinfo.ini")


@pytest.mark.parametrize(
    "text", ["", "[Sequence]\nframeRate=0\nseqLength=3\nimWidth=1\nimHeight=1\n", "[Other]\n"]
)
def test_facts_that_are_missing(made: Path, text: str) -> None:
    (made / "seqinfo.ini").write_text(text)
    with pytest.raises(DatasetError, match=r"seqinfo\.ini: expected"):
        run("--detections", made / "det.txt", "--seqinfo", made / "seqinfo.ini")


@pytest.mark.parametrize(
    "arguments",
    [(), ("--detections", "d"), ("--eval", "gt.txt"), ("--eval", "gt.txt", "t.txt", "--mot", "x")],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        run(*arguments)
    assert "edgeyolo track" in caught.value.hint
