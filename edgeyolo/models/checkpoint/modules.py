"""State dict with the published keys from records of modules."""

from __future__ import annotations

from typing import Any

from edgeyolo.errors import DamagedFileError, UntrustedFileError
from edgeyolo.models.checkpoint.archive import AGAIN, NOT_TORCH
from edgeyolo.models.checkpoint.limits import Limits
from edgeyolo.models.checkpoint.records import ObjectRecord, TensorRecord


def walk_modules(root: ObjectRecord, where: str, limits: Limits | None = None) -> dict[str, ObjectRecord]:
    """Every module below (and with) `root` by its dotted path, in execution order.

    The root's path is "".
    """
    most = (limits or Limits()).modules
    found: dict[str, ObjectRecord] = {}
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        path, module = pending.pop()
        if not isinstance(module, ObjectRecord):
            raise DamagedFileError(
                f"{where}: {path or 'the network'} is a {type(module).__name__}, expected a module"
            )
        if len(found) >= most:
            raise UntrustedFileError(f"{where}: it asks for more than {most:,} modules", hint=NOT_TORCH)
        found[path] = module
        children = _attribute(module, "_modules", path, where)
        named = [
            (f"{path}.{name}".lstrip("."), child) for name, child in children.items() if child is not None
        ]
        pending.extend(reversed(named))
    return found


def state_dict(root: ObjectRecord, where: str, limits: Limits | None = None) -> dict[str, TensorRecord]:
    """Parameters and persistent buffers by published key.

    Keys are like "model.0.conv.weight", in torch's own order.
    """
    tensors: dict[str, TensorRecord] = {}
    for path, module in walk_modules(root, where, limits).items():
        hidden = module.state.get("_non_persistent_buffers_set", set())
        own = {
            **_attribute(module, "_parameters", path, where),
            **{
                name: value
                for name, value in _attribute(module, "_buffers", path, where).items()
                if not (isinstance(hidden, set) and name in hidden)
            },
        }
        for name, value in own.items():
            if value is None:  # for example the absent bias of a convolution
                continue
            if not isinstance(value, TensorRecord):
                raise DamagedFileError(
                    f"{where}: {path}.{name} is a {type(value).__name__}, expected a tensor", hint=AGAIN
                )
            tensors[f"{path}.{name}".lstrip(".")] = value
    return tensors


def _attribute(module: ObjectRecord, name: str, path: str, where: str) -> dict[str, Any]:
    value = module.state.get(name)
    if not isinstance(value, dict) or not all(type(key) is str for key in value):
        raise DamagedFileError(
            f"{where}: {path or 'the network'} ({module.kind}) has no {name} of named values", hint=AGAIN
        )
    return value
