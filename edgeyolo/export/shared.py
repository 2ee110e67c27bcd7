"""Work that exports of one weights file have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.op_graph import Graph
from edgeyolo.export.options import COMPARED

if TYPE_CHECKING:
    from torch import Tensor

    from edgeyolo.models.importer import Imported


@dataclass
class Shared:
    """Network, traces and torch's maps for several exports.

    The first export that is given it makes them, the others use them.

    Attributes:
        networks: re-parameterized networks by their file.
        traces: operations by the input that they were traced for.
    """

    networks: dict[Path, Imported] = field(default_factory=dict)
    traces: dict[InputContract, Graph] = field(default_factory=dict)
    _maps: dict[str, Any] = field(default_factory=dict)

    def network(self, weights: str | Path, make: Callable[[], Imported]) -> Imported:
        """The re-parameterized network of a file; `make` is called once for each."""
        place = Path(weights).resolve()
        if place not in self.networks:
            # Traces and maps are those of one network.
            self.traces.clear()
            self._maps.clear()
            self.networks = {place: make()}
        return self.networks[place]

    def remembering(self, network: Any) -> Callable[[Tensor], Any]:
        """The network as a function that keeps its maps of the last few inputs."""

        def maps(images: Tensor) -> Any:
            key = sha256(images.numpy().tobytes() + repr(tuple(images.shape)).encode()).hexdigest()
            if key not in self._maps:
                while len(self._maps) >= COMPARED:
                    del self._maps[next(iter(self._maps))]
                self._maps[key] = network(images)
            return self._maps[key]

        return maps
