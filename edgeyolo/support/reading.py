"""Files of users' own making, read with care.

Regular files only and never more than a limit, text in UTF-8, YAML without surprises.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError

MAX_TEXT = 1 << 26
"""64 MiB: no label file, list or YAML file has more."""

_MARKS = (  # the longer ones first: UTF-32's little-endian mark begins like UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)
_DEEPEST = 64  # levels of nesting in YAML
_MOST_NODES = 100_000  # that aliases may stand for
_BITS = 64  # of a whole number in YAML


def read_regular(
    path: str | Path, *, limit: int | None = None, error: type[EdgeYoloError] = EdgeYoloError
) -> bytes:
    """The bytes of a regular file; links are followed.

    A pipe is not waited for and a device not read. Raises `error` where it is no regular file, holds more than
    `limit` bytes or cannot be read; FileNotFoundError where there is none.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{path}: {_kind(found.st_mode)}, expected a regular file")
            if limit is not None and found.st_size > limit:
                raise error(f"{path}: {found.st_size:,} bytes, the limit is {limit:,}")
            # A file may be growing. Memory for the limit itself would be asked for by a read of so many bytes.
            data = file.read() if limit is None else _read_up_to(file, found.st_size, limit)
    except FileNotFoundError:
        raise
    except ValueError as problem:  # a name with a zero byte
        raise error(f"{str(path)!r}: not a file name ({problem})") from problem
    except OSError as problem:
        raise error(f"{path}: {_unreadable(path, problem)}") from problem
    if limit is not None and len(data) > limit:
        raise error(f"{path}: more than {limit:,} bytes, the limit")
    return data


def _read_up_to(file: BinaryIO, expected: int, limit: int) -> bytes:
    """All of a file of about `expected` bytes.

    Of one that has more than `limit`, one byte more than that.
    """
    data = file.read(min(expected, limit) + 1)
    return data if len(data) <= expected else data + file.read(limit + 1 - len(data))


def is_regular(path: Path) -> bool:
    """True where a regular file is; False too for what cannot be a file's name."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _unreadable(path: str | Path, problem: OSError) -> str:
    """Sockets and unreadable devices fail when they are opened: say what they are."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the path may be text
    except (OSError, ValueError):
        mode = stat.S_IFREG
    if stat.S_ISREG(mode):
        return f"cannot be read ({problem.strerror or problem})"
    return f"{_kind(mode)}, expected a regular file"


def _kind(mode: int) -> str:
    return next((words for test, words in _KINDS if test(mode)), "a special file")


def read_text(path: str | Path, *, error: type[EdgeYoloError] = EdgeYoloError) -> str:
    """The text of a file in UTF-8, without its byte order mark.

    Raises `error` as `read_regular` does, and, with the way out, for text in another encoding.
    """
    data = read_regular(path, limit=MAX_TEXT, error=error)
    other = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    other = other or ("UTF-16 without a mark, or no text" if b"\0" in data else "")
    try:
        text = "" if other else data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        other = f"byte {data[problem.start]:#04x} at {problem.start:,}"
    if other:
        hint = (
            "Save it as UTF-8, for example: iconv -f GB18030 -t UTF-8 OLD > NEW, with -f UTF-16 or its own."
        )
        raise error(f"{path}: expected text in UTF-8, got another encoding ({other})", hint=hint)
    return text


def read_yaml(path: str | Path, *, error: type[EdgeYoloError] = EdgeYoloError) -> Any:
    """Read a YAML file of plain values.

    They are mappings, lists, text, numbers, true or false, None.

    Dates stay the text that was written. Aliases may stand for 100,000 nodes in all, nesting may be 64 levels deep
    and whole numbers have 64 bits. Raises `error` for what goes beyond, is no YAML or cannot be read;
    RuntimeMissingError without PyYAML.
    """
    try:
        import yaml
    except ImportError as missing:
        from edgeyolo.support.install import install_hint

        raise RuntimeMissingError(
            f"{path}: reading YAML needs PyYAML, which is not installed", hint=install_hint("eval")
        ) from missing
    try:
        text = read_text(path, error=error)
    except FileNotFoundError as missing:
        raise error(f"{path}: there is no such file") from missing
    try:
        _refuse_bomb(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), error, path)
        return yaml.load(text, _plain_loader(yaml))
    except EdgeYoloError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as problem:
        raise error(f"{path}: not valid YAML: {_shortened(str(problem))}") from problem


def _plain_loader(yaml: Any) -> Any:
    """PyYAML's safe loader, without dates, bytes, sets and numbers above 64 bits."""
    plain = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "float", "seq", "map", "str")}

    safe = yaml.SafeLoader
    resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
        for first, known in safe.yaml_implicit_resolvers.items()
    }
    makers = {tag: make for tag, make in safe.yaml_constructors.items() if tag is None or tag in plain}
    parts = {
        "yaml_implicit_resolvers": resolvers,
        "yaml_constructors": makers,
    }  # None: any other tag is refused
    loader: Any = type("Loader", (getattr(yaml, "CSafeLoader", safe),), parts)

    def whole_number(reader: Any, node: Any) -> int:
        value = int(reader.construct_yaml_int(node))
        if value.bit_length() > _BITS:
            raise ValueError(f"a whole number of {value.bit_length():,} bits; at most {_BITS} are read")
        return value

    loader.add_constructor("tag:yaml.org,2002:int", whole_number)
    return loader


def _refuse_bomb(events: Iterable[Any], error: type[EdgeYoloError], path: str | Path) -> None:
    """Count the nodes behind aliases, and the depth, before anything is built."""
    sizes: dict[str, int] = {}  # anchor -> nodes that an alias of it stands for
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and how many nodes there were before it
    count = extra = 0
    for event in events:
        kind = type(event).__name__
        if kind == "AliasEvent":
            if event.anchor not in sizes:
                raise error(
                    f"{path}: not valid YAML: alias {event.anchor!r} stands for nothing, or for itself"
                )
            count, extra = count + sizes[event.anchor], extra + sizes[event.anchor]
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            open_nodes.append((event.anchor, count))
            count += 1
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before
        elif kind == "ScalarEvent":
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if extra > _MOST_NODES:
            raise error(f"{path}: its aliases stand for more than {_MOST_NODES:,} values, so it is not read")
        if len(open_nodes) > _DEEPEST:
            raise error(f"{path}: nested more than {_DEEPEST} levels deep, so it is not read")


def _shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[:limit]} ..."


def path_text(path: str | os.PathLike[str]) -> str:
    r"""A file name that can be written as UTF-8: bytes that are none are shown as \xff."""
    return readable(os.fspath(path))


def readable(text: str) -> str:
    r"""Text that can be written as UTF-8: undecodable bytes of names become \xff."""
    return re.sub("[\ud800-\udfff]", _escaped, text)


def _escaped(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    return rf"\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else rf"\u{code:04x}"
