"""Text, YAML and bytes from files that people made: what is read, and the sentence for what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeyolo.errors import DatasetError, EdgeYoloError, ImageError, UsageError
from edgeyolo.support.reading import path_text, read_regular, read_text, read_yaml, readable


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf0 0.5\n")
    assert read_text(tmp_path / "a.txt") == "0 0.5\n"


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-32", "UTF-32"), ("gbk", "byte 0x")],
)
def test_other_encodings_are_named_with_the_way_out(tmp_path: Path, encoding: str, named: str) -> None:
    (tmp_path / "a.txt").write_bytes("dog 狗\n".encode(encoding))
    with pytest.raises(DatasetError, match=rf"expected text in UTF-8.*{named}[^\n]*\n.*iconv"):
        read_text(tmp_path / "a.txt", error=DatasetError)


def test_only_regular_files_are_read_and_no_more_than_the_limit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="a pipe, expected a regular file"):
        read_regular(tmp_path / "pipe", error=ImageError)
    with pytest.raises(ImageError, match="a character device, expected a regular file"):
        read_regular("/dev/zero", limit=10, error=ImageError)
    with pytest.raises(EdgeYoloError, match="a folder, expected"):
        read_regular(tmp_path)
    (tmp_path / "five").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "five")
    assert read_regular(tmp_path / "link", limit=5) == b"12345"
    with pytest.raises(EdgeYoloError, match="5 bytes, the limit is 4"):
        read_regular(tmp_path / "five", limit=4)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "six")


def yaml(folder: Path, text: str) -> object:
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    return read_yaml(folder / "a.yaml")


def test_yaml_gives_plain_values(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs the eval extra")
    text = "\ufeffa: &x [1, 2.5, yes, null]\nb: *x\nday: 2024-02-30\nc: {<<: {d: 1}}\nbig: 18446744073709551615\n"
    assert yaml(tmp_path, text) == {
        "a": [1, 2.5, True, None],
        "b": [1, 2.5, True, None],
        "day": "2024-02-30",
        "c": {"d": 1},
        "big": 2**64 - 1,
    }


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{there}: &{there} [{', '.join([f'*{here}'] * 9)}]\n"
    for here, there in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "aliases stand for more than"),
        ("a: &a [*a]\n", "for nothing, or for itself"),
        ("a: *b\n", "for nothing, or for itself"),
        ("[" * 10_000 + "]" * 10_000, "nested more than 64 levels"),
        ("n: 0x" + "f" * 20_000, "a whole number of 80,000 bits"),
        ("n: 1" + "0" * 10_000, "not valid YAML"),
        ("n: !!timestamp 2024-01-01\n", "not valid YAML"),
        ("n: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
        ("{[1]: 2}\n", "not valid YAML"),
        ("a: [", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_yaml_that_would_hang_or_surprise_is_refused(tmp_path: Path, text: str, words: str) -> None:
    pytest.importorskip("yaml", reason="needs the eval extra")
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_yaml(tmp_path / "a.yaml", error=UsageError)
    assert len(str(caught.value)) < 1000 and str(caught.value).count("a.yaml") == 1


def test_names_that_are_not_utf8_can_be_written() -> None:
    assert path_text(Path(os.fsdecode(b"x\xff \xe7\x8c\xab.jpg"))) == "x\\xff 猫.jpg"
    assert readable("\ud800") == "\\ud800"
