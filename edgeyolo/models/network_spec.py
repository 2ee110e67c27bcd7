"""The spec of any network, whichever parts it is made of; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from edgeyolo.errors import DamagedFileError
from edgeyolo.models.csp_topology import CspSpec
from edgeyolo.models.lite_topology import LiteSpec
from edgeyolo.models.tiny_topology import TinySpec
from edgeyolo.models.topology import ModelSpec

Spec: TypeAlias = ModelSpec | CspSpec | TinySpec | LiteSpec
_TOPOLOGIES: Mapping[str, type[CspSpec | TinySpec | LiteSpec]] = {
    "csp": CspSpec,
    "tiny": TinySpec,
    "lite": LiteSpec,
}


def spec_from_json(data: Any, where: str = "network spec") -> Spec:
    """Rebuild the spec of any network.

    Raises DamagedFileError, beginning with `where`, on anything else.
    """
    topology = data.get("topology") if isinstance(data, Mapping) else None
    if topology is None:
        return ModelSpec.from_json(data, where)
    if not isinstance(topology, str) or topology not in _TOPOLOGIES:
        raise DamagedFileError(f"{where}: not a network spec (topology {topology!r:.40})")
    return _TOPOLOGIES[topology].from_json(data, where)
