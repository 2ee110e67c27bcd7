"""The one walk through folders.

Hidden names are left out, links are followed, and what is left out is counted.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path

from edgeyolo.support.reading import path_text

# Folders that systems and programs put beside files of one's own; names that begin with a dot are hidden anyway.
_OF_SYSTEMS = frozenset(
    (
        "@eadir",
        "__macosx",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__pycache__",
    )
)
_NAMED = 3  # examples in a sentence

HIDDEN = "hidden"
TWICE = "folder met before (links lead in a circle, or to one folder twice)"
BROKEN = "link to nothing"
SPECIAL = "not a regular file"
CLOSED = "folder that may not be read"


@dataclass
class Walk:
    """The files found, sorted, and what was left out: reason -> places."""

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)

    def leave_out(self, reason: str, path: Path) -> None:
        """Note that `path` is left out."""
        self.left_out.setdefault(reason, []).append(path)

    def add(self, other: Walk) -> None:
        """Take over what another walk found, without what is here already."""
        self.files = list(dict.fromkeys([*self.files, *other.files]))
        for reason, places in other.left_out.items():
            self.left_out[reason] = list(dict.fromkeys([*self.left_out.get(reason, []), *places]))

    def sentences(self) -> list[str]:
        """Lines on what was left out, one for each reason, with the first places."""
        lines = []
        for reason, places in self.left_out.items():
            more = f"; and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            lines.append(f"{len(places)} x {reason}: {'; '.join(map(path_text, places[:_NAMED]))}{more}")
        return lines


def walk_files(root: Path, suffixes: Collection[str], *, recursive: bool = True) -> Walk:
    """Find the regular files of some suffixes (in lower case) in a folder.

    Hidden names are those that begin with a dot and those that systems make (@eaDir, __MACOSX, ...); of hidden
    files only those with such a suffix are counted. `root` itself may have any name. Links to files and folders are
    followed; a folder is walked once, whatever leads to it.
    """
    found = Walk()
    seen: set[tuple[int, int]] = set()
    folders = [root]  # real folders first: a link to one of them is what is left out
    linked: list[Path] = []
    while folders or linked:
        folder = folders.pop() if folders else linked.pop()
        try:
            at = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            found.leave_out(CLOSED, folder)
            continue
        if (at.st_dev, at.st_ino) in seen:
            found.leave_out(TWICE, folder)
            continue
        seen.add((at.st_dev, at.st_ino))
        for entry in entries:
            if _is_folder(entry):
                if is_hidden(entry.name):
                    if recursive:
                        found.leave_out(HIDDEN, Path(entry.path))
                elif recursive:
                    (linked if entry.is_symlink() else folders).append(Path(entry.path))
            elif Path(entry.name).suffix.lower() in suffixes or (
                not is_hidden(entry.name) and entry.is_symlink() and not Path(entry.path).exists()
            ):
                _add_file(found, Path(entry.path))
    found.files.sort()
    return found


def match_files(pattern: str, suffixes: Collection[str]) -> Walk:
    """Find the files that a pattern stands for, by the rules of `walk_files`.

    It is made of `*`, `?`, `[...]`, and `**` for folders of any depth.
    """
    parts = Path(pattern).parts
    magic = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
    root, rest = Path(*parts[:magic]), parts[magic:]
    if not root.is_dir():
        return Walk()
    if "**" in rest:
        found = walk_files(root, suffixes)
        found.files = [path for path in found.files if _fits(path.relative_to(root).parts, rest)]
        return found
    found = Walk()
    for path in _matches(root, list(rest), found):
        if path.suffix.lower() in suffixes and not path.is_dir():
            _add_file(found, path)
    found.files.sort()
    return found


def is_hidden(name: str) -> bool:
    """True for a name of a file or folder that is left out of folders."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _add_file(found: Walk, path: Path) -> None:
    if is_hidden(path.name):
        found.leave_out(HIDDEN, path)
        return
    try:
        mode = path.stat().st_mode
    except OSError:
        found.leave_out(BROKEN, path)
        return
    if stat.S_ISREG(mode):
        found.files.append(path)
    else:
        found.leave_out(SPECIAL, path)


def _matches(folder: Path, parts: list[str], found: Walk) -> Iterator[Path]:
    """Paths below `folder` that fit a pattern without `**`.

    It goes part by part: no other folder is listed.
    """
    part, rest = parts[0], parts[1:]
    if not has_magic(part):
        names = [part]
    else:
        try:
            names = fnmatch.filter(sorted(os.listdir(folder)), part)  # noqa: PTH208 - names are wanted
        except OSError:
            found.leave_out(CLOSED, folder)
            return
    for name in names:
        path = folder / name
        if not rest:
            yield path
        elif has_magic(part) and is_hidden(name) and not part.startswith("."):
            continue
        elif path.is_dir():
            yield from _matches(path, rest, found)


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """True where the parts of a path fit those of a pattern."""
    if not parts:
        return not names
    if parts[0] == "**":
        return len(parts) == 1 or any(_fits(names[skip:], parts[1:]) for skip in range(len(names)))
    return bool(names) and fnmatch.fnmatch(names[0], parts[0]) and _fits(names[1:], parts[1:])
