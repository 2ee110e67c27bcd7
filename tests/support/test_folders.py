"""The walk through folders: what is found, and that everything left out is counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeyolo.support.folders import BROKEN, CLOSED, HIDDEN, SPECIAL, TWICE, Walk, match_files, walk_files

SUFFIXES = {".jpg"}


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def found(root: Path, walk: Walk) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk.files]


def left_out(root: Path, walk: Walk) -> dict[str, list[str]]:
    return {
        why: [path.relative_to(root).as_posix() for path in places] for why, places in walk.left_out.items()
    }


def test_hidden_files_and_folders_of_systems_are_left_out_and_counted(tmp_path: Path) -> None:
    make(
        tmp_path, "b.jpg", "a/a.JPG", "a/notes.txt", "._b.jpg", ".DS_Store", ".ipynb_checkpoints/b-checkpoint.jpg",
        "@eaDir/b.jpg", "__MACOSX/._b.jpg",
    )  # fmt: skip
    walk = walk_files(tmp_path, SUFFIXES)
    assert found(tmp_path, walk) == ["a/a.JPG", "b.jpg"]
    assert left_out(tmp_path, walk) == {HIDDEN: ["._b.jpg", ".ipynb_checkpoints", "@eaDir", "__MACOSX"]}
    (sentence,) = walk.sentences()
    assert sentence.startswith("4 x hidden: ") and sentence.endswith("; and 1 more")
    flat = walk_files(tmp_path, SUFFIXES, recursive=False)
    assert found(tmp_path, flat) == ["b.jpg"] and left_out(tmp_path, flat) == {HIDDEN: ["._b.jpg"]}
    hidden = make(tmp_path / ".cache" / "pictures", "c.jpg")
    assert found(hidden, walk_files(hidden, SUFFIXES)) == ["c.jpg"], (
        "what is named is walked, whatever its name"
    )


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    root, elsewhere = make(tmp_path / "root", "real/a.jpg"), make(tmp_path / "camera", "b.jpg")
    (root / "camera").symlink_to(elsewhere)
    (root / "again").symlink_to(root / "real")
    (root / "real" / "up").symlink_to(root)
    (elsewhere / "self").symlink_to(elsewhere)
    (root / "c.jpg").symlink_to(elsewhere / "b.jpg")
    walk = walk_files(root, SUFFIXES)
    assert found(root, walk) == ["c.jpg", "camera/b.jpg", "real/a.jpg"], (
        "the real place of a folder comes first"
    )
    assert sorted(left_out(root, walk)[TWICE]) == ["again", "camera/self", "real/up"]


def test_other_entries_than_files_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "unmounted").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    walk = walk_files(tmp_path, SUFFIXES)
    assert found(tmp_path, walk) == ["a.jpg"]
    assert left_out(tmp_path, walk) == {BROKEN: ["gone.jpg", "loop", "unmounted"], SPECIAL: ["pipe.jpg"]}


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="needs a user whom a folder can be closed to"
)
def test_a_closed_folder_is_counted(tmp_path: Path) -> None:
    make(tmp_path, "closed/a.jpg", "b.jpg")
    (tmp_path / "closed").chmod(0)
    walk = walk_files(tmp_path, SUFFIXES)
    (tmp_path / "closed").chmod(0o700)
    assert found(tmp_path, walk) == ["b.jpg"] and left_out(tmp_path, walk) == {CLOSED: ["closed"]}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg", "b.jpg"]),
        ("[!a].jpg", ["b.jpg"]),
        ("*/*.jpg", ["below/c.jpg", "linked/e.jpg"]),
        ("bel*/deep/?.jpg", ["below/deep/d.jpg"]),
        ("**/*.jpg", ["a.jpg", "b.jpg", "below/c.jpg", "below/deep/d.jpg", "linked/e.jpg"]),
        ("below/**", ["below/c.jpg", "below/deep/d.jpg"]),
        ("**/deep/*", ["below/deep/d.jpg"]),
        ("none/*.jpg", []),
        ("*.txt", []),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    root = make(
        tmp_path / "root", "a.jpg", "b.jpg", "notes.txt", "below/c.jpg", "below/deep/d.jpg", ".trash/f.jpg"
    )
    (root / "linked").symlink_to(make(tmp_path / "other", "e.jpg"))
    (root / "below" / "circle").symlink_to(root / "below")
    assert found(root, match_files(f"{root}/{pattern}", SUFFIXES)) == expected
