"""Check of the values that came out of a pickle.

It is made so that everything after it may walk the values without care.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgeyolo.errors import UntrustedFileError
from edgeyolo.models.checkpoint.archive import NOT_TORCH
from edgeyolo.models.checkpoint.limits import Limits
from edgeyolo.models.checkpoint.records import ObjectRecord


def check_graph(root: Any, where: str, limits: Limits) -> None:
    """Refuse values that are cyclic, too deep or too large.

    Too large are those that grow without end when written out as a tree.

    A few dozen lists, each holding the next one twice, are a billion values to whoever walks them. The walk
    here visits every container once and keeps its depth and its size as a tree.
    """
    done: dict[int, tuple[int, int]] = {}  # id -> (depth, size); ids stay valid as `root` holds everything
    open_: set[int] = set()
    pending = [root]
    while pending:
        value = pending[-1]
        if id(value) in done:
            pending.pop()
            continue
        children = [child for child in _children(value) if not _is_leaf(child)]
        if id(value) in open_:
            pending.pop()
            open_.discard(id(value))
            done[id(value)] = _measure(value, children, done, where, limits)
            continue
        open_.add(id(value))
        if any(id(child) in open_ for child in children):
            raise UntrustedFileError(f"{where}: it asks for a value that contains itself", hint=NOT_TORCH)
        pending.extend(child for child in children if id(child) not in done)


def _measure(
    value: Any, children: list[Any], done: dict[int, tuple[int, int]], where: str, limits: Limits
) -> tuple[int, int]:
    depth = 1 + max((done[id(child)][0] for child in children), default=0)
    size = 1 + len(list(_children(value))) - len(children) + sum(done[id(child)][1] for child in children)
    if depth > limits.depth:
        raise UntrustedFileError(
            f"{where}: it asks for values nested deeper than {limits.depth}", hint=NOT_TORCH
        )
    if size > limits.values:
        raise UntrustedFileError(
            f"{where}: it asks for shared values that expand to more than {limits.values:,}", hint=NOT_TORCH
        )
    return depth, size


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    return value.state.values() if isinstance(value, ObjectRecord) else ()


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, dict | list | tuple | ObjectRecord)
