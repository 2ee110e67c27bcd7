"""Operators that `--nms graph` adds on a target, and where they run.

They decode and suppress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edgeyolo.artifact.contracts import GraphDetections, InputContract, RawMaps
from edgeyolo.backend.capabilities import Finding, Limits, Place
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.export.graph_ends.nms import suppression_graph

OLDEST = 11  # of the operators in the graph; only their kinds are asked for where a target has no opset


@dataclass(frozen=True)
class Tail:
    """Suppression that is asked for behind a network.

    Its raw maps, and what the file shall give in their place.
    """

    maps: RawMaps
    given: GraphDetections


def tail_misfits(profile: TargetProfile, tail: Tail | None) -> Iterator[Finding]:
    """Reasons why a target's file cannot have suppression in the graph."""
    if tail and profile.refuses_nms:
        yield Finding(f"suppression in the graph: {profile.refuses_nms}", "Leave it to the host: --nms host.")


def tail_places(
    profile: TargetProfile, limits: Limits, tail: Tail | None, contract: InputContract, opset: int | None
) -> tuple[Place, ...]:
    """Places of suppression's operators by kind; none where the target refuses."""
    if tail is None or profile.refuses_nms:
        return ()
    way = limits.suppression
    if way.own:
        return way.own
    number = opset or profile.opset or OLDEST
    graph = suppression_graph(tail.maps, tail.given, contract, number, plugin=way.plugin).graph
    names = limits.operators or {}
    kinds = Counter(names.get(node.op_type, node.op_type) for node in graph.node)
    where = way.where or limits.accelerator
    return tuple(Place(kind, count, where, way.reason) for kind, count in kinds.items())


def merged(places: Iterable[Place]) -> tuple[Place, ...]:
    """Merge rows of the same operator, place and reason.

    They stay in the order of their first appearance.
    """
    found: dict[tuple[str, str, str], Place] = {}
    for place in places:
        key = (place.operator, place.where, place.reason)
        found[key] = replace(place, count=place.count + found[key].count) if key in found else place
    return tuple(found.values())
