"""Failing commands: one JSON document with --json, the exit code of the error's kind, a sentence."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import cv2
import numpy as np
import pytest

from edgeyolo import errors
from edgeyolo.cli import main
from edgeyolo.cli.failure import explain


def edgeyolo(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of a run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setenv("EDGEYOLO_CACHE", str(cwd / "cache"))
        patch.setattr(sys, "argv", ["edgeyolo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.getvalue(), err.getvalue()


WRONG = [
    ("nosuch", "UsageError"),
    ("val ARTIFACT", "UsageError"),
    ("val ARTIFACT --data nosuch.yaml", "MissingDatasetError"),
    ("val ARTIFACT --data data.yaml --split nosuch", "MissingDatasetError"),
    ("val nosuch --data data.yaml", "MissingDatasetError"),  # its folder of images is empty
    ("val nosuch --data whole.yaml", "UsageError"),
    ("detect ARTIFACT nosuch.jpg", "MissingImageError"),
    ("detect ARTIFACT empty", "MissingImageError"),
    ("detect nosuch empty", "MissingImageError"),
    ("export nosuch.pt --target cpu-onnx-fp32", "UsageError"),
    ("export ARTIFACT --target cpu-onnx-int8 --calib nosuch", "MissingImageError"),
    ("calibrate nosuch.pt --calib empty", "MissingImageError"),
    ("bench ARTIFACT --data nosuch.yaml", "MissingDatasetError"),
    ("bench ARTIFACT --images empty", "MissingImageError"),
    ("train yolov7-tiny", "UsageError"),
    ("train yolov7-tiny --data nosuch", "MissingDatasetError"),
    ("train --resume empty", "UsageError"),
    ("ablate --table 3 --data nosuch", "MissingDatasetError"),
    ("verify empty", "UsageError"),
    ("import nosuch.pt", "UsageError"),
    ("adopt nosuch.onnx", "UsageError"),
    ("build empty", "UsageError"),
    ("check nosuch.pt --target cpu-onnx-fp32", "UsageError"),
    ("doctor --nosuch", "UsageError"),
    ("models nosuch", "UsageError"),
    ("targets nosuch", "UsageError"),
]


@pytest.mark.parametrize(("line", "kind"), WRONG, ids=[line for line, _ in WRONG])
def test_missing_things_are_wrong_usage_in_one_document(
    line: str, kind: str, small_artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "data.yaml").write_text("names: [cat, dog, bird]\nval: images\n")
    (tmp_path / "some").mkdir()
    cv2.imwrite(str(tmp_path / "some" / "a.png"), np.full((20, 30, 3), 90, np.uint8))
    (tmp_path / "some" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "whole.yaml").write_text("names: [cat, dog, bird]\nval: some\n")
    words = [str(small_artifact) if word == "ARTIFACT" else word for word in line.split()]
    code, out, err = edgeyolo(*words, "--json", cwd=tmp_path)
    document = json.loads(out)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "kind", "message", "hint"}
    assert (document["error"]["code"], document["error"]["kind"]) == (code, kind) == (2, kind)
    assert document["error"]["message"] in err
    assert not (tmp_path / "runs").exists()


def test_a_document_that_was_printed_is_the_only_one(small_artifact: Path, tmp_path: Path) -> None:
    """Some pictures cannot be read: the document has what was found of the others, and says so of these."""
    cv2.imwrite(str(tmp_path / "whole.png"), np.full((20, 30, 3), 90, np.uint8))
    (tmp_path / "torn.jpg").write_bytes(b"torn")
    code, out, err = edgeyolo("detect", small_artifact, "whole.png", "torn.jpg", "--json", cwd=tmp_path)
    assert code == 1
    assert [(item["image"], "error" in item) for item in json.loads(out)] == [
        ("whole.png", False),
        ("torn.jpg", True),
    ]
    assert "torn.jpg" in err


@pytest.mark.parametrize("source", ["torn.jpg", "torn.mp4"])
def test_where_nothing_can_be_read_the_document_is_the_error(
    source: str, small_artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / source).write_bytes(b"torn")
    code, out, _ = edgeyolo("detect", small_artifact, source, "--json", cwd=tmp_path)
    assert code == 1
    assert source in json.loads(out)["error"]["message"]


def test_without_a_command_it_is_the_help(tmp_path: Path) -> None:
    code, out, err = edgeyolo(cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.splitlines()[0].endswith("edgeyolo [OPTIONS] COMMAND [ARGS]...")
    assert "error" not in err


def test_every_command_takes_json() -> None:
    from edgeyolo.cli.program import cli

    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_a_picture_in_the_place_of_the_model(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30, 3), 90, np.uint8))
    code, _, err = edgeyolo("predict", "a.png", ".", "-o", "a.json", cwd=tmp_path)
    assert code == 2
    assert "got an image" in err


def test_without_json_nothing_is_on_standard_output(tmp_path: Path) -> None:
    code, out, err = edgeyolo("verify", "nosuch", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "error: nosuch" in err


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (errors.GateError("x"), 4, "GateError"),
        (errors.DamagedFileError("x"), 6, "DamagedFileError"),
        (errors.MissingImageError("x"), 2, "MissingImageError"),
        (click.UsageError("x"), 2, "UsageError"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "here/file"), 1, "EdgeYoloError"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 1, "EdgeYoloError"),
        (MemoryError(), 1, "EdgeYoloError"),
        (ModuleNotFoundError("no torch", name="torch.nn"), 3, "RuntimeMissingError"),
        (ModuleNotFoundError("no part", name="edgeyolo.nosuch"), 1, "Defect"),
        (ZeroDivisionError("x"), 1, "Defect"),
        (RuntimeError("shapes do not fit"), 1, "Defect"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_kinds_and_codes(error: BaseException, code: int, kind: str) -> None:
    failure = explain(error, "train")
    assert (failure.code, failure.kind) == (code, kind)
    assert failure.defect == (kind == "Defect")


def test_cause_of_an_error_counts() -> None:
    """A library that wraps the system's error has not made a defect of it."""
    try:
        try:
            raise OSError(errno.EROFS, "Read-only file system", "place")
        except OSError as error:
            raise ValueError("the writer failed") from error
    except ValueError as error:
        assert explain(error).message == "place: Read-only file system"


def test_a_home_directory_is_expanded_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _, out, _ = edgeyolo("val", "~/artifact", "--data=~/data.yaml", "--json", cwd=tmp_path)
    assert json.loads(out)["error"]["message"].startswith(str(tmp_path / "data.yaml"))


SIGNAL_AT_IMPORT = """
import os, signal, sys
class AtClick:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.{})
        return None
sys.meta_path.insert(0, AtClick())
from edgeyolo.cli import main
main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_while_it_loads_is_one_word(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIGNAL_AT_IMPORT.format(name), "models", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"
    assert json.loads(done.stdout)["error"]["kind"] == "Interrupted"


@pytest.mark.parametrize(
    "words", ["detect photo.jpg -o found", "models", "import weights.pt", "train yolov7"]
)
def test_a_deleted_working_directory_is_a_sentence(words: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\nfrom edgeyolo.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=False,
        env={**os.environ, "EDGEYOLO_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: the current directory is no longer there")
