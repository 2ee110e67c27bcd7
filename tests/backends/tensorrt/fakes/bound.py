"""Python classes that behave as pybind11's do: fixed attributes, typed arguments, enumerations that are no integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorrt_fakes.world import World


class Bound:
    """An object of a C++ class: it takes no attribute that the class does not declare.

    The classes of the fakes are written once, with all names of all versions. `bind` makes those of one version.
    """

    _world: World  # the machine and the version that the class belongs to

    def __setattr__(self, name: str, value: Any) -> None:
        declared = getattr(type(self), name, None)
        if "_world" in vars(type(self)) and not name.startswith("_"):  # not so for a user's own subclass
            if not isinstance(declared, property):
                raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
            if declared.fset is None:
                raise AttributeError(f"can't set attribute '{name}'")
        object.__setattr__(self, name, value)


def bind(kind: type, world: World, offered: dict[str, Any]) -> type:
    """The class as one version has it: without the names it lacks, and with what cannot be set there read-only."""
    content: dict[str, Any] = {"_world": world}
    for name, each in vars(kind).items():
        if name in ("__dict__", "__weakref__") or not (name.startswith("_") or name in offered):
            continue
        read_only = isinstance(each, property) and offered.get(name) == "ro"
        content[name] = property(each.fget) if read_only else each
    return type(kind.__name__, (Bound,), content)


class Enum:
    """A pybind11 enumeration: int() gives its number, arithmetic with it is a TypeError."""

    def __init__(self, name: str, value: int) -> None:
        self.name, self.value = name, value

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}: {self.value}>"


def make_enum(name: str, members: dict[str, int]) -> type:
    kind = type(name, (Enum,), {})
    kind.__members__ = {key: kind(key, value) for key, value in members.items()}  # type: ignore[attr-defined]
    for key, member in kind.__members__.items():  # type: ignore[attr-defined]
        setattr(kind, key, member)
    return kind


def value(name: str, kind: type | str) -> property:
    """A property that can be set to values of a kind; a string is the name of one of TensorRT's own."""
    place = f"_value_{name}"

    def get(self: Bound) -> Any:
        return getattr(self, place, None)

    def put(self: Bound, new: Any) -> None:
        expect(new, getattr(self._world.module, kind) if isinstance(kind, str) else kind, name)
        object.__setattr__(self, place, new)

    return property(get, put)


def expect(given: Any, kinds: type | tuple[type, ...], name: str) -> None:
    """pybind11's "incompatible function arguments"."""
    if not isinstance(given, kinds) or (kinds is int and isinstance(given, bool)):
        raise TypeError(f"incompatible function arguments: {name}={given!r} of type {type(given).__name__}")
