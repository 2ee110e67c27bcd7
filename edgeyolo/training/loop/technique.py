"""Techniques that set a run apart from an ordinary one.

They have a module trained in place of the network, a loss of its own, and what of it all is published.
Quantization-aware training is one; the loop knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, nn

from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.models.network import Network
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.topology import Anchors

Maps: TypeAlias = tuple[Tensor, ...]


class Wrapper(nn.Module):
    """A module that is trained in place of the `network` it holds.

    The same images in, the same lead maps out.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    @property
    def spec(self) -> Spec:
        """The network's."""
        return self.network.spec

    @property
    def classes(self) -> int:
        """The network's class count."""
        return self.network.classes

    @property
    def levels(self) -> int:
        """The number of lead maps."""
        return self.network.levels

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, finest first."""
        return self.network.strides

    @property
    def anchors(self) -> Anchors:
        """(width, height) in pixels of each level's anchors."""
        return self.network.anchors


Trainable: TypeAlias = Network | Wrapper


@dataclass(frozen=True)
class Published:
    """Contents of a run's weights file.

    They are a network and, where the run learned them, its tensors' ranges.
    """

    network: Network
    ranges: LearnedRanges | None = None


def publish_network(module: Trainable) -> Published:
    """The network, without what was around it."""
    return Published(module.network if isinstance(module, Wrapper) else module)


@dataclass(frozen=True)
class Technique:
    """Differences of a run from an ordinary one.

    publish: what of the averaged module goes into a weights file. penalty: (images (N, 3, H, W) in 0..1, maps) -> a
    scalar for one image, added to the loss with the weight of an image; None for none. facts: JSON that says what it
    is, and that a resumed run makes it again from; empty for an ordinary run.
    """

    publish: Callable[[Any], Published] = publish_network
    penalty: Callable[[Tensor, Maps], Tensor] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


ORDINARY = Technique()
