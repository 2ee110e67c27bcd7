"""Slices of slices as one slice.

Half of a map is then not written first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from edgeyolo.backend.op_graph import Graph, Operation

_PARTS = ("start", "end", "axis", "steps")


def join_slices(graph: Graph) -> Graph:
    """Join slices of slices into one over several axes.

    Those that nothing reads any more are left out. Slices over the same axis stay what they are.
    """
    joined: dict[str, Operation] = {}
    for operation in graph.operations:
        joined[operation.output] = _joined(operation, MappingProxyType(joined))
    read = {*graph.outputs, *(name for each in joined.values() for name in each.inputs)}
    kept = (each for each in joined.values() if each.kind != "Slice" or each.output in read)
    return replace(graph, operations=tuple(kept))


def _joined(operation: Operation, earlier: Mapping[str, Operation]) -> Operation:
    """A slice of a slice over other axes as one slice.

    Every other operation is itself.
    """
    inner = earlier.get(operation.inputs[0])
    if inner is None or not operation.kind == inner.kind == "Slice":
        return operation
    outer_parts, inner_parts = ({name: _listed(each, name) for name in _PARTS} for each in (operation, inner))
    if {*outer_parts["axis"]} & {*inner_parts["axis"]}:
        return operation
    attributes = {name: inner_parts[name] + outer_parts[name] for name in _PARTS}
    return replace(operation, inputs=inner.inputs, attributes=attributes)


def _listed(operation: Operation, name: str) -> tuple[int | None, ...]:
    value = operation.attributes[name]
    return value if isinstance(value, tuple) else (value,)
