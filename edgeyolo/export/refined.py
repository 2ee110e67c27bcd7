"""A network that is changed for the sake of its integers, on its way to a backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry

if TYPE_CHECKING:
    from edgeyolo.export.source import NetworkSource


def refined(
    source: NetworkSource, target: Target, *, step: Callable[[str], None]
) -> tuple[NetworkSource, list[dict[str, Any]]]:
    """Change a source's network for the sake of its integers.

    Also gives what was tried. The result is for the backend; what that makes is judged against `source`, the network as
    it was.
    """
    found = registry.refine(source, target, step=step)
    workspace = source.workspace / "refined"
    workspace.mkdir()
    made = replace(source, network=found.network, workspace=workspace, _onnx={})
    return made, [vars(each) for each in found.tried]
