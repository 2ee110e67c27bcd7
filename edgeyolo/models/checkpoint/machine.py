"""A pickle reader that cannot run anything.

Its only values are plain data and the records of this package.

Python's own unpickler imports and calls what a file names. This one decodes the opcodes with the standard
library's disassembler tables (`pickletools`, which only parse) and carries out the few that `torch.save`
uses. Names resolve in a fixed table; every other name, opcode or call refuses the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from edgeyolo.errors import DamagedFileError, UntrustedFileError
from edgeyolo.models.checkpoint.archive import AGAIN
from edgeyolo.models.checkpoint.constructors import Callee, RefusedCallError, check_key, fill_record
from edgeyolo.models.checkpoint.limits import Limits
from edgeyolo.models.checkpoint.stack import ValueStack

_Action = Callable[[Any], None]

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
    """Machine for one pickle stream.

    `names` resolves globals, `storage` persistent ids; `where` starts messages.
    """

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
        self._stack = ValueStack(limits)
        self._memo: dict[int, Any] = {}
        self._actions = self._containers() | self._references()

    def run(self, data: bytes) -> Any:
        """The value of the stream.

        Raises a FileRefusedError for what is not allowed or not readable.
        """
        stream, position = BytesIO(data), 0
        try:
            for count, opcode in enumerate(iter(lambda: stream.read(1), b"")):
                position = stream.tell() - 1
                if opcode == b".":
                    return self._stack.result()
                if count >= self._limits.operations:
                    raise RefusedCallError(f"more than {self._limits.operations:,} pickle operations")
                self._step(opcode, stream)
        except RefusedCallError as refusal:
            raise UntrustedFileError(
                f"{self._where}: it asks for {refusal} (at byte {position:,})", hint=DISTRUST
            ) from refusal
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise self._damaged(f"at byte {position:,}: {str(error)[:200]}") from error
        raise self._damaged("it ends without a STOP")

    def _step(self, code: bytes, stream: BytesIO) -> None:
        opcode = _OPCODES.get(code.decode("latin1"))
        if opcode is None:
            raise ValueError(f"no pickle operation ({code!r})")
        lines = [_line(stream) for _ in range(_LINES.get(opcode.name, 0))]
        if opcode.name in self._actions:
            self._actions[opcode.name](lines or _argument(opcode, stream))
        elif opcode.name in _VALUES:
            self._stack.push(self._bounded(_argument(opcode, stream)))
        elif opcode.name in _CONSTANTS:
            self._stack.push(_CONSTANTS[opcode.name])
        elif opcode.name in _EMPTY:
            self._stack.push(_EMPTY[opcode.name]())
        else:
            what = f" for {'.'.join(lines)!r:.200}" if lines else ""
            raise RefusedCallError(f"the pickle operation {opcode.name}{what}, which torch.save never writes")

    def _containers(self) -> dict[str, _Action]:
        stack = self._stack
        return {
            "MARK": lambda _: stack.mark(),
            "TUPLE": lambda _: stack.push(tuple(stack.pop_to_mark())),
            "TUPLE1": lambda _: stack.push(stack.pop(1)),
            "TUPLE2": lambda _: stack.push(stack.pop(2)),
            "TUPLE3": lambda _: stack.push(stack.pop(3)),
            "FROZENSET": lambda _: stack.push({check_key(item) for item in stack.pop_to_mark()}),
            "APPEND": lambda _: self._extend(list(stack.pop(1))),
            "APPENDS": lambda _: self._extend(stack.pop_to_mark()),
            "ADDITEMS": lambda _: self._add(stack.pop_to_mark()),
            "SETITEM": lambda _: self._set_items(list(stack.pop(2))),
            "SETITEMS": lambda _: self._set_items(stack.pop_to_mark()),
        }

    def _references(self) -> dict[str, _Action]:
        stack = self._stack
        return {
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "GLOBAL": lambda lines: stack.push(self._resolve(*lines)),
            "STACK_GLOBAL": lambda _: stack.push(self._resolve(*stack.pop(2))),
            "REDUCE": self._call,
            "NEWOBJ": self._call,
            "BUILD": self._build,
            "BINPERSID": lambda _: stack.push(self._storage(*stack.pop(1))),
            "FRAME": lambda _: None,
            "PROTO": _check_protocol,
        }

    def _top(self, kind: type, operation: str) -> Any:
        value = self._stack.top()
        if type(value) is not kind:
            raise RefusedCallError(f"{operation} on a {type(value).__name__}, expected a {kind.__name__}")
        return value

    def _extend(self, values: list[Any]) -> None:
        self._top(list, "APPENDS").extend(values)

    def _add(self, values: list[Any]) -> None:
        self._top(set, "ADDITEMS").update(check_key(value) for value in values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top(dict, "SETITEMS")
        if len(values) % 2:
            raise ValueError("SETITEMS with a key but no value")
        target.update(zip(map(check_key, values[::2]), values[1::2], strict=True))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack.top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise ValueError(f"value {index} is used before it was given")
        self._stack.push(self._memo[index])

    def _resolve(self, module: Any, name: Any) -> Any:
        key = (module, name)
        if type(module) is not str or type(name) is not str or key not in self._names:
            asked = ".".join(part if type(part) is str else type(part).__name__ for part in key)
            raise RefusedCallError(f"{asked!r:.200}, which is not on the list of names a checkpoint may use")
        return self._names[key]

    def _call(self, _: Any) -> None:
        callee, arguments = self._stack.pop(2)
        if not isinstance(callee, Callee) or type(arguments) is not tuple:
            raise RefusedCallError(f"a call of a {type(callee).__name__} with a {type(arguments).__name__}")
        try:
            self._stack.push(callee.make(arguments))
        except RefusedCallError as refusal:
            raise RefusedCallError(f"{callee.name} with {refusal}") from refusal

    def _build(self, _: Any) -> None:
        target, state = self._stack.pop(2)
        fill_record(target, state)
        self._stack.push(target)

    def _bounded(self, value: Any) -> Any:
        most = self._limits.text_bytes
        if isinstance(value, str | bytes) and len(value) > most:
            raise RefusedCallError(f"a text of {len(value):,} characters, at most {most:,} are read")
        if type(value) is int and value.bit_length() > 64:
            raise RefusedCallError(f"an integer of {value.bit_length()} bits")
        return value

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"{self._where}: damaged pickle: {what}", hint=AGAIN)


def _check_protocol(version: int) -> None:
    if version > _NEWEST_PROTOCOL:
        raise ValueError(f"pickle protocol {version}, the newest known is {_NEWEST_PROTOCOL}")


def _line(stream: BytesIO) -> str:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ValueError("a name has no end")
    return line[:-1].decode()


def _argument(opcode: pickletools.OpcodeInfo, stream: BytesIO) -> Any:
    return opcode.arg.reader(stream) if opcode.arg is not None else None
