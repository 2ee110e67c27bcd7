"""Places that take no files: a sentence, exit code 1, and nothing left, before the work where it can be known."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeyolo.cli import main
from edgeyolo.errors import EdgeYoloError
from edgeyolo.stream.film_writer import FilmWriter
from edgeyolo.support import files
from edgeyolo.support.files import atomic_directory, atomic_file, require_writable

COMMAND = "from edgeyolo.cli import main; main()"
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a picture, a data set and a file where a folder would be needed."""
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.full((96, 96, 3), 90, np.uint8))
    (tmp_path / "photos" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("names: [cat, dog, bird]\ntrain: photos\nval: photos\n")
    (tmp_path / "file").write_text("mine")
    return tmp_path


def edgeyolo(*arguments: object, cwd: Path) -> tuple[int, str]:
    """The exit code and standard error of a run in this process."""
    err = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setenv("EDGEYOLO_CACHE", str(cwd / "cache"))
        patch.setattr(sys, "argv", ["edgeyolo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, err.getvalue()


def command(place: Path, before: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + COMMAND, *map(str, arguments)], capture_output=True, text=True,
        check=False, cwd=place, env={**os.environ, "EDGEYOLO_CACHE": str(place / "cache")},
    )  # fmt: skip


# Every command that writes, and what it is given besides -o.
WRITING = {
    "import": ("WEIGHTS",),
    "export": ("WEIGHTS", "--target", "cpu-onnx-fp32"),
    "detect": ("ARTIFACT", "photos"),
    "val": ("ARTIFACT", "--data", "data.yaml"),
    "bench": ("ARTIFACT", "--no-limits", "--min-duration", "60"),
    "calibrate": ("WEIGHTS", "--calib", "photos"),
    "train": ("WEIGHTS", "--data", "data.yaml", "--imgsz", "64"),
    "ablate": ("--table", "3", "--data", "data.yaml", "--imgsz", "64"),
}


@pytest.mark.parametrize(
    ("name", "output"),
    [
        (name, output)
        for name in WRITING
        for output in ("file/below", "file")
        # To these a file that is there is wrong usage, as it always is.
        if output != "file" or name not in ("import", "export")
    ],
)
def test_a_file_in_the_way_is_a_sentence(
    name: str, output: str, place: Path, small_weights: Path, small_artifact: Path
) -> None:
    given = {"WEIGHTS": small_weights, "ARTIFACT": small_artifact}
    before = sorted(path.name for path in place.rglob("*"))
    code, err = edgeyolo(name, *(given.get(word, word) for word in WRITING[name]), "-o", output, cwd=place)
    assert code == 1, err
    assert "file" in err.splitlines()[-2]
    assert "defect" not in err
    assert (place / "file").read_text() == "mine"
    assert sorted(path.name for path in place.rglob("*") if "cache" not in str(path)) == before


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
@pytest.mark.parametrize("name", ["import", "export", "detect", "val"])
def test_no_more_room_is_a_sentence_and_leaves_nothing(
    name: str, place: Path, small_weights: Path, small_artifact: Path
) -> None:
    """A limit of the size of files stands for a full disk: the system refuses in the middle of a file."""
    cv2.imwrite(
        str(place / "photos" / "a.png"), np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    )
    given = {"WEIGHTS": small_weights, "ARTIFACT": small_artifact}
    words = (given.get(word, word) for word in WRITING[name])
    done = command(place, LIMITED, 30_000, name, *words, "-o", "made/below")
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "defect" not in done.stderr
    assert not (place / "made").exists()


@pytest.mark.parametrize("option", ["--mot", "--csv", "--jsonl", "-o"])
def test_tracks_are_asked_for_room_before_the_film_is_read(
    option: str, place: Path, small_artifact: Path
) -> None:
    film = place / "film.mp4"
    with FilmWriter(film) as writer:
        writer.write(np.full((64, 64, 3), 90, np.uint8), 0.0)
    done = command(place, LIMITED, 3_000, "track", small_artifact, film, option, "made/tracks")
    assert done.returncode == 1, done.stderr
    assert "cannot write made" in done.stderr
    assert "File too large" in done.stderr
    assert "frames in" not in done.stderr
    assert not (place / "made").exists()


KEPT = """
from pathlib import Path
from edgeyolo.cli.stream_results import kept_file
written = []
try:
    with kept_file(Path(sys.argv[1]), written) as handle:
        handle.write(5000 * "1")  # waits in the buffer until the file is closed
finally:
    print(*written)
"""


@pytest.mark.parametrize(("limit", "fits"), [(3_000, False), (100_000, True)])
def test_a_file_that_no_room_is_left_for_is_named_and_not_called_written(
    tmp_path: Path, limit: int, fits: bool
) -> None:
    path = tmp_path / "tracks.csv"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + KEPT, str(limit), str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == (str(path) if fits else "")
    assert list(tmp_path.iterdir()) == ([path] if fits else [])
    assert fits or f"EdgeYoloError: cannot write {path}: File too large" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_that_takes_nothing_is_a_sentence(place: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "models", "--json"], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, cwd=place,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_unusable_cache_is_named_with_its_variable(place: Path, small_weights: Path) -> None:
    env = {**os.environ, "EDGEYOLO_CACHE": str(place / "file" / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "detect", str(small_weights), "photos", "--no-save"],
        capture_output=True, text=True, check=False, cwd=place, env=env,
    )  # fmt: skip
    assert done.returncode == 1
    assert "EDGEYOLO_CACHE" in done.stderr
    assert "defect" not in done.stderr


def test_a_place_that_takes_files_stays_as_it_was(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "er")
    assert not list(tmp_path.iterdir())


def test_a_library_that_fails_on_a_full_disk_without_saying_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = files.shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(EdgeYoloError, match="No space left"), atomic_directory(tmp_path / "made"):
        raise RuntimeError("write failed")
    with pytest.raises(EdgeYoloError, match="No space left"), atomic_file(tmp_path / "made"):
        pass  # a writer that returns False in place of raising


def test_errors_of_other_files_and_defects_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "made"):
        (tmp_path / "other").read_text()
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "made"):
        raise ZeroDivisionError
