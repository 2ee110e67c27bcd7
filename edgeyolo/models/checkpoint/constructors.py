"""Results of calling allowed names, and what a pickle's BUILD may fill in.

They are functions over records.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeyolo.models.checkpoint.records import (
    ArrayRecord,
    DtypeRecord,
    ForeignRecord,
    Named,
    ObjectRecord,
    PathRecord,
    TensorRecord,
)
from edgeyolo.models.topology import MAX_CLASSES

_DTYPE_CODES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
_TEXT_CODE = re.compile(r"U[0-9]{1,4}", re.ASCII)
_OBJECT_CODE = "O8"  # an array of Python values, of which only lists of texts are taken
# What the published code's `fuse()` puts in the place of a module's forward; nothing is looked up for it.
_BOUND_METHODS = ("fuseforward", "forward_fuse")


class RefusedCallError(Exception):
    """A call of an allowed name with arguments that it never has in a checkpoint."""


@dataclass(frozen=True)
class Callee:
    """An allowed name that may be called.

    `make` is ours and gets the arguments as a tuple.
    """

    name: str
    make: Callable[[tuple[Any, ...]], Any]


def fill_record(target: Any, state: Any) -> None:
    """Give a record its attributes, once, as a pickle's BUILD asks.

    No method of anything is called.
    """
    if isinstance(target, ObjectRecord):
        _fill_object(target, state)
    elif isinstance(target, DtypeRecord):
        _fill_dtype(target, state)
    elif isinstance(target, ArrayRecord):
        _fill_array(target, state)
    elif not isinstance(target, ForeignRecord) and not (type(target) is dict and _is_attributes(state)):
        # An OrderedDict may carry attributes (a state dict's `_metadata`): they are dropped.
        raise RefusedCallError(f"state for a {_kind(target)}")


def _fill_object(target: ObjectRecord, state: Any) -> None:
    if target.filled or not _is_attributes(state):
        raise RefusedCallError(f"state for {target.kind} that is no dict of attributes, or comes twice")
    target.state.update(state)
    target.filled = True


def _fill_dtype(target: DtypeRecord, state: Any) -> None:
    if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", ">", "|", "=")):
        raise RefusedCallError("state for a numpy dtype that is no byte order")
    target.order = state[1]


def _fill_array(target: ArrayRecord, state: Any) -> None:
    if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], DtypeRecord)):
        raise RefusedCallError("state for a numpy array that is no (version, shape, dtype, order, bytes)")
    if not _is_shape(state[1]):
        raise RefusedCallError("a numpy array whose shape is no tuple of integers")
    target.shape, target.dtype, content = state[1], state[2], state[4]
    if target.dtype.code == _OBJECT_CODE:
        if type(content) is not list or not content or not all(type(value) is str for value in content):
            raise RefusedCallError("a numpy array of objects that are not all text")
        target.texts = tuple(content)
    elif not isinstance(content, bytes):
        raise RefusedCallError("a numpy array whose content is not plain bytes")
    elif _TEXT_CODE.fullmatch(target.dtype.code):
        target.texts = _texts(target.dtype, content)


def _texts(dtype: DtypeRecord, content: bytes) -> tuple[str, ...]:
    """The texts of a numpy array of type "U<n>".

    Each has n letters of four bytes, the unused ones zero.
    """
    length = int(dtype.code[1:])
    if length == 0 or len(content) % (4 * length) or len(content) > 4 * length * MAX_CLASSES:
        raise RefusedCallError(f"{len(content):,} bytes of numpy texts of {length} letters")
    try:
        letters = content.decode("utf-32-be" if dtype.order == ">" else "utf-32-le")
    except UnicodeDecodeError as error:
        raise RefusedCallError("a numpy text that is none") from error
    return tuple(letters[at : at + length].rstrip("\0") for at in range(0, len(letters), length))


def _is_attributes(state: Any) -> bool:
    if type(state) is not dict or not all(type(key) is str for key in state):
        return False
    dunder = next((key for key in state if key.startswith("__")), None)
    if dunder is not None:
        raise RefusedCallError(f"an attribute {dunder[:60]!r}")
    return True


def make_object(kind: str, arguments: tuple[Any, ...]) -> ObjectRecord:
    if arguments:
        raise RefusedCallError("constructor arguments (a module is saved as its attributes)")
    return ObjectRecord(kind)


def make_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    # Python 2 and old torch wrote OrderedDict([[key, value], ...]).
    pairs = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else []
    if (arguments and not pairs) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise RefusedCallError("arguments that are no list of pairs")
    return {check_key(key): value for key, value in pairs}


def make_defaultdict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if len(arguments) != 1 or not _is_named(arguments[0], "builtins.dict", "__builtin__.dict"):
        raise RefusedCallError("a default that is not dict")
    return {}


def make_set(arguments: tuple[Any, ...]) -> set[Any]:
    if len(arguments) != 1 or not isinstance(arguments[0], list):
        raise RefusedCallError("arguments that are no list")
    return {check_key(item) for item in arguments[0]}


def make_bytes(arguments: tuple[Any, ...]) -> bytes:
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
        raise RefusedCallError("arguments that are no text and latin1")
    try:
        return arguments[0].encode("latin1")
    except UnicodeEncodeError as error:
        raise RefusedCallError("text that is no bytes in latin1") from error


def make_parameter(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 3 or not isinstance(arguments[0], TensorRecord) or arguments[2] not in ({}, None):
        raise RefusedCallError("a parameter that is no tensor, or brings hooks along")
    return arguments[0]


def make_size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    if len(arguments) != 1 or not _is_shape(arguments[0]):
        raise RefusedCallError("a size that is no tuple of integers")
    return tuple(arguments[0])


def make_device(arguments: tuple[Any, ...]) -> Named:
    if not (1 <= len(arguments) <= 2 and all(type(a) in (str, int) for a in arguments)):
        raise RefusedCallError("a device that is no name and number")
    return Named(":".join(str(a)[:32] for a in arguments))


def make_path(arguments: tuple[Any, ...]) -> PathRecord:
    if not all(type(part) is str for part in arguments):
        raise RefusedCallError("path parts that are no text")
    return PathRecord("/".join(arguments)[:4096])


def make_dtype(arguments: tuple[Any, ...]) -> DtypeRecord:
    code = arguments[0] if arguments else None
    if type(code) is not str or not (
        code in _DTYPE_CODES or code == _OBJECT_CODE or _TEXT_CODE.fullmatch(code)
    ):
        raise RefusedCallError(f"the type {str(code)[:20]!r}" if arguments else "no type")
    return DtypeRecord(code)


def make_scalar(arguments: tuple[Any, ...]) -> int | float | bool | str:
    if len(arguments) == 2 and isinstance(arguments[0], DtypeRecord) and isinstance(arguments[1], bytes):
        record, content = arguments
        if _TEXT_CODE.fullmatch(record.code) and len(texts := _texts(record, content)) == 1:
            return texts[0]
        if record.code in _DTYPE_CODES and len(content) == record.dtype.itemsize:
            value = np.frombuffer(content, record.dtype)[0].item()
            if isinstance(value, int | float):
                return value
    raise RefusedCallError("a number or text that is no (dtype, bytes)")


def make_date(arguments: tuple[Any, ...]) -> str:
    """A date, which is how YAML reads a class name such as 2024-05-01, as its text."""
    if len(arguments) == 1 and isinstance(arguments[0], bytes) and len(arguments[0]) == 4:
        high, low, month, day = arguments[0]
        try:
            return datetime.date(high * 256 + low, month, day).isoformat()
        except ValueError as error:
            raise RefusedCallError(f"a date that does not exist: {error}") from error
    raise RefusedCallError("a date that is no four bytes")


def make_bound_method(arguments: tuple[Any, ...]) -> Named:
    """The name of a bound method, which fused modules carry.

    Their pickles ask for `getattr(module, "fuseforward")`; any other attribute is refused.
    """
    if len(arguments) == 2 and isinstance(arguments[0], ObjectRecord) and arguments[1] in _BOUND_METHODS:
        return Named(arguments[1])
    asked = ", ".join(a[:60] if type(a) is str else _kind(a) for a in arguments)
    raise RefusedCallError(f"({asked}), an attribute that no checkpoint needs")


def make_array(arguments: tuple[Any, ...]) -> ArrayRecord:
    if len(arguments) != 3 or not _is_named(arguments[0], "numpy.ndarray"):
        raise RefusedCallError("an array that is no numpy.ndarray")
    return ArrayRecord()


def refuse_call(arguments: tuple[Any, ...]) -> Any:
    raise RefusedCallError(f"a direct call with {len(arguments)} arguments")


def check_key(key: Any) -> Any:
    """A dict key or set element.

    Text or a number, so that hashing it is quick and runs nothing.
    """
    if type(key) not in (str, int, float, bool, bytes, type(None)):
        raise RefusedCallError(f"a key of type {_kind(key)}")
    return key


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= 16 and all(type(v) is int and v >= 0 for v in value)


def _is_named(value: Any, *names: str) -> bool:
    return isinstance(value, Callee) and value.name in names


def _kind(value: Any) -> str:
    if isinstance(value, Callee | Named):
        return value.name
    return value.kind if isinstance(value, ObjectRecord) else type(value).__name__
