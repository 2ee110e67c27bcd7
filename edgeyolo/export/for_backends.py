"""Public part of the export wing for backends.

Everything that `Backend.compile` may use of it.

Backends, ours and third parties', import from here and nothing else of `edgeyolo.export` and `edgeyolo.models`, and
only inside `compile` or modules that only `compile` imports: what runs a detector needs none of it. Names are loaded
when first used, as one of them may need torch where another needs onnx only.

| name | for |
|---|---|
| `with_graph_ends` | decoding, suppression and uint8 input put around an ONNX network, as the source asks for |
| `edge_contracts` | contracts of a file that follows all that the source asks for |
| `suppression_graph`, `GraphWriter` | the same by hand, for graphs in a runtime's own operators |
| `with_halves` | an ONNX network with its weights stored in float16 |
| `tensors_of` | every inner tensor of an ONNX model, for a report on the first layer that deviates |
| `SpaceToDepth`, `ConvAct`, `PartialBlock` | blocks of a plain network that a converter may want in other operators |
| `has_groups`, `to_twins` | E-ELAN in groups, and the same network without their slices |
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeyolo.export.graph_ends import with_graph_ends
    from edgeyolo.export.graph_ends.nms import GraphWriter, suppression_graph
    from edgeyolo.export.halves import with_halves
    from edgeyolo.export.layer_report import tensors_of
    from edgeyolo.export.source import edge_contracts
    from edgeyolo.models.blocks import SpaceToDepth
    from edgeyolo.models.cardinality import has_groups, to_twins
    from edgeyolo.models.tiny_network import PartialBlock
    from edgeyolo.models.units import ConvAct

__all__ = [
    "ConvAct",
    "GraphWriter",
    "PartialBlock",
    "SpaceToDepth",
    "edge_contracts",
    "has_groups",
    "suppression_graph",
    "tensors_of",
    "to_twins",
    "with_graph_ends",
    "with_halves",
]

_HOMES = {
    "with_graph_ends": "edgeyolo.export.graph_ends",
    "edge_contracts": "edgeyolo.export.source",
    "GraphWriter": "edgeyolo.export.graph_ends.nms",
    "suppression_graph": "edgeyolo.export.graph_ends.nms",
    "with_halves": "edgeyolo.export.halves",
    "tensors_of": "edgeyolo.export.layer_report",
    "SpaceToDepth": "edgeyolo.models.blocks",
    "PartialBlock": "edgeyolo.models.tiny_network",
    "has_groups": "edgeyolo.models.cardinality",
    "to_twins": "edgeyolo.models.cardinality",
    "ConvAct": "edgeyolo.models.units",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
