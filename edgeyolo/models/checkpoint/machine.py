"""A pickle reader that cannot run anything: its only values are plain data and the records of this package.

Python's own unpickler imports and calls what a file names. This one decodes the opcodes with the standard
library's disassembler tables (`pickletools`, which only parse) and carries out the few that `torch.save`
uses. Names resolve in a fixed table; every other name, opcode or call refuses the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from edgeyolo.errors import DamagedFileError, FileRefusedError, UntrustedFileError
from edgeyolo.models.checkpoint.archive import AGAIN
from edgeyolo.models.checkpoint.constructors import Callee, RefusedCallError, check_key, fill_record
from edgeyolo.models.checkpoint.limits import Limits

DISTRUST = (
    "A YOLOv7 checkpoint needs nothing of the kind, and nothing of this file was run. "
    "Do not open it with torch.load; get the checkpoint again from a source you trust."
)
_NEWEST_PROTOCOL = 5
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_LINES = {
    "GLOBAL": 2,
    "INST": 2,
    "PERSID": 1,
}  # lines of text that follow; the last two are refused by that name
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}


class PickleMachine:
    """Runs one pickle stream. `names` resolves globals, `storage` persistent ids; `where` starts messages."""

    def __init__(
        self,
        names: Mapping[tuple[str, str], Any],
        storage: Callable[[Any], Any],
        where: str,
        limits: Limits,
    ) -> None:
        self._names = names
        self._storage = storage
        self._where = where
        self._limits = limits
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._actions: dict[str, Callable[[Any], None]] = {
            "MARK": self._mark,
            "TUPLE": lambda _: self._push(tuple(self._pop_to_mark())),
            "TUPLE1": lambda _: self._push(self._pop_many(1)),
            "TUPLE2": lambda _: self._push(self._pop_many(2)),
            "TUPLE3": lambda _: self._push(self._pop_many(3)),
            "FROZENSET": lambda _: self._push({check_key(item) for item in self._pop_to_mark()}),
            "APPEND": lambda _: self._extend(list(self._pop_many(1))),
            "APPENDS": lambda _: self._extend(self._pop_to_mark()),
            "ADDITEMS": lambda _: self._add(self._pop_to_mark()),
            "SETITEM": lambda _: self._set_items(list(self._pop_many(2))),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "GLOBAL": lambda lines: self._push(self._resolve(*lines)),
            "STACK_GLOBAL": lambda _: self._push(self._resolve(*self._pop_many(2))),
            "REDUCE": self._call,
            "NEWOBJ": self._call,
            "BUILD": self._build,
            "BINPERSID": lambda _: self._push(self._storage(self._pop())),
            "FRAME": lambda _: None,
            "PROTO": self._check_protocol,
        }

    def run(self, data: bytes) -> Any:
        """The value of the stream; raises a FileRefusedError for what is not allowed or not readable."""
        stream, position = BytesIO(data), 0
        try:
            for count, opcode in enumerate(iter(lambda: stream.read(1), b"")):
                position = stream.tell() - 1
                if opcode == b".":
                    return self._result()
                if count >= self._limits.operations:
                    raise self._refused(f"more than {self._limits.operations:,} pickle operations")
                self._step(opcode, stream)
        except RefusedCallError as refusal:
            raise self._refused(f"{refusal} (at byte {position:,})") from refusal
        except FileRefusedError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise self._damaged(f"byte {position:,} and on cannot be read: {str(error)[:200]}") from error
        raise self._damaged("it ends without a STOP")

    def _step(self, code: bytes, stream: BytesIO) -> None:
        opcode = _OPCODES.get(code.decode("latin1"))
        if opcode is None:
            raise self._damaged(f"byte {stream.tell() - 1:,} is no pickle operation ({code!r})")
        lines = [self._line(stream) for _ in range(_LINES.get(opcode.name, 0))]
        if opcode.name in self._actions:
            self._actions[opcode.name](lines or _argument(opcode, stream))
        elif opcode.name in _VALUES:
            self._push(self._bounded(_argument(opcode, stream)))
        elif opcode.name in _CONSTANTS:
            self._push(_CONSTANTS[opcode.name])
        elif opcode.name in _EMPTY:
            self._push(_EMPTY[opcode.name]())
        else:
            what = f" for {'.'.join(lines)!r:.200}" if lines else ""
            raise self._refused(f"the pickle operation {opcode.name}{what}, which torch.save never writes")

    def _line(self, stream: BytesIO) -> str:
        line = stream.readline()
        if not line.endswith(b"\n"):
            raise self._damaged("a name has no end")
        return line[:-1].decode()

    def _push(self, value: Any) -> None:
        if len(self._stack) >= self._limits.stack:
            raise self._refused(f"more than {self._limits.stack:,} values at once")
        self._stack.append(value)

    def _pop(self) -> Any:
        return self._pop_many(1)[0]

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) - count < floor:
            raise self._damaged("an operation finds fewer values than it takes")
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        return values

    def _mark(self, _: Any) -> None:
        if len(self._marks) >= self._limits.marks:
            raise self._refused(f"containers nested deeper than {self._limits.marks}")
        self._marks.append(len(self._stack))

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise self._damaged("an operation finds no mark")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _top(self, kind: type, operation: str) -> Any:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            raise self._damaged(f"{operation} finds nothing to work on")
        if type(self._stack[-1]) is not kind:
            raise self._refused(
                f"{operation} on a {type(self._stack[-1]).__name__}, expected a {kind.__name__}"
            )
        return self._stack[-1]

    def _extend(self, values: list[Any]) -> None:
        self._top(list, "APPENDS").extend(values)

    def _add(self, values: list[Any]) -> None:
        self._top(set, "ADDITEMS").update(check_key(value) for value in values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top(dict, "SETITEMS")
        if len(values) % 2:
            raise self._damaged("SETITEMS with a key but no value")
        target.update(zip(map(check_key, values[::2]), values[1::2], strict=True))

    def _put(self, index: int) -> None:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            raise self._damaged("an operation memorizes nothing")
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise self._damaged(f"value {index} is used before it was given")
        self._push(self._memo[index])

    def _resolve(self, module: Any, name: Any) -> Any:
        key = (module, name)
        if type(module) is not str or type(name) is not str or key not in self._names:
            asked = ".".join(part if type(part) is str else type(part).__name__ for part in key)
            raise self._refused(f"{asked!r:.200}, which is not on the list of names a checkpoint may use")
        return self._names[key]

    def _call(self, _: Any) -> None:
        callee, arguments = self._pop_many(2)
        if not isinstance(callee, Callee) or type(arguments) is not tuple:
            raise self._refused(f"a call of a {type(callee).__name__} with a {type(arguments).__name__}")
        try:
            self._push(callee.make(arguments))
        except RefusedCallError as refusal:
            raise RefusedCallError(f"{callee.name} with {refusal}") from refusal

    def _build(self, _: Any) -> None:
        state = self._pop()
        target = self._pop()
        fill_record(target, state)
        self._push(target)

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, str | bytes) and len(value) > self._limits.text_bytes:
            raise self._refused(
                f"a text of {len(value):,} characters, at most {self._limits.text_bytes:,} are read"
            )
        if type(value) is int and value.bit_length() > 64:
            raise self._refused(f"an integer of {value.bit_length()} bits")
        return value

    def _check_protocol(self, version: int) -> None:
        if version > _NEWEST_PROTOCOL:
            raise self._damaged(f"pickle protocol {version}, the newest known is {_NEWEST_PROTOCOL}")

    def _result(self) -> Any:
        if len(self._stack) != 1 or self._marks:
            raise self._damaged(f"it ends with {len(self._stack)} values, expected one")
        return self._stack[0]

    def _refused(self, what: str) -> UntrustedFileError:
        return UntrustedFileError(f"{self._where}: it asks for {what}", hint=DISTRUST)

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"{self._where}: damaged pickle: {what}", hint=AGAIN)


def _argument(opcode: pickletools.OpcodeInfo, stream: BytesIO) -> Any:
    return opcode.arg.reader(stream) if opcode.arg is not None else None
