"""Nothing that is printed moves the cursor, sets a title or is taken for markup."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.cli.console import LogFormatter, note, print_json, print_table, say, steps
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.support.printable import printable, printable_line, tolerate
from edgeyolo_bench.render.display import listening
from edgeyolo_bench.render.markdown import _plain

EVIL = "\x1b]0;OWNED\x07\x1b[31mred\u202e\x9b2J\r"
TITLE = "\\x1b]0;OWNED\\x07\\x1b[31mred\\u202e\\x9b2J\\x0d"


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    shown = printable(text)
    assert all(
        character in "\n\t" or not (ord(character) < 32 or 127 <= ord(character) < 160) for character in shown
    )
    assert "\n" not in printable_line(text)
    assert printable(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["plain", "naïve 名前 مرحبا", "👩‍🚀", "two\nlines"])
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text


def test_what_an_encoding_lacks_is_written_out() -> None:
    """A pipe on Windows, for one: no lines of tables, no Chinese names."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    tolerate(stream)
    stream.write("── 車 ü")
    stream.flush()
    assert raw.getvalue() == b"-- \\u8eca \xfc"


@pytest.mark.parametrize("arguments", [("models",), ("models", "--json"), ("nosuch-車",)])
def test_every_command_prints_in_a_poor_encoding(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from edgeyolo.cli import main; main()", *arguments],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert done.returncode == (2 if "nosuch" in arguments[0] else 0), done.stderr
    assert b"codec" not in done.stderr
    assert b"----" in done.stdout or arguments != ("models",)


def test_a_name_that_is_not_utf8() -> None:
    assert printable(os.fsdecode(b"p\xff.jpg")) == "p\\udcff.jpg"


def test_every_way_to_print_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    print_table((EVIL,), [(EVIL,)])
    say(EVIL)
    note(EVIL)
    print_json({EVIL: EVIL})
    with steps() as step:
        step(EVIL)
    with listening() as listener:
        listener.step(EVIL)
    printed = capsys.readouterr()
    for text, times in ((printed.out, 3), (printed.err, 3)):
        assert not set(text) & set("\x1b\x07\u202e\x9b\r")
        assert text.count(TITLE) == times, text
    record = logging.LogRecord("x", logging.WARNING, "", 0, "left out: %s", (EVIL,), None)
    assert LogFormatter().format(record) == f"left out: {TITLE}"


def test_reports_take_names_as_text() -> None:
    assert _plain("<img src=x onerror=alert(1)>`a`[b](c)*d*") == (
        "&lt;img src=x onerror=alert(1)&gt;\\`a\\`\\[b](c)\\*d\\*"
    )


def test_names_in_files_reach_the_terminal_clean(small_artifact: Path, tmp_path: Path) -> None:
    place = tmp_path / "artifact"
    shutil.copytree(small_artifact, place)
    photo = tmp_path / f"p{EVIL[:10]}.png"
    cv2.imwrite(str(tmp_path / "p.png"), make_scene(1, (96, 96)).image)
    (tmp_path / "p.png").rename(photo)
    (tmp_path / f"torn{EVIL[:10]}.png").write_bytes(b"torn")
    program = [sys.executable, "-c", "from edgeyolo.cli import main; main()"]
    for words in (["--no-save"], ["--classes", EVIL], ["--json"]):
        done = subprocess.run(
            [*program, "detect", str(place), str(tmp_path), *words],
            capture_output=True, check=False, env={**os.environ, "EDGEYOLO_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert b"\x1b]0" in said.replace(b"\\x1b", b"\x1b") or b"u001b" in said
        assert b"\x1b" not in said and b"\x07" not in said
    assert json.loads(done.stdout)
