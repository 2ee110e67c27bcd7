"""Starting from another network's weights.

Everything that fits is taken, and what does not is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edgeyolo.models.network import Network


@dataclass(frozen=True)
class TransferReport:
    """Report of the entries taken from other weights.

    taken: entries copied whole. classes: class names whose output channels were copied by name. left: entries
    that kept their fresh values, with the reason.
    """

    taken: int
    classes: tuple[str, ...]
    left: tuple[str, ...]

    def sentences(self) -> list[str]:
        """The report as sentences for a reader."""
        lines = [f"{self.taken} of {self.taken + len(self.left)} tensors taken from the weights"]
        if self.classes:
            lines.append(f"output channels of {len(self.classes)} classes taken by name")
        if self.left:
            shown = "; ".join(self.left[:6])
            more = f"; and {len(self.left) - 6} more" if len(self.left) > 6 else ""
            lines.append(f"fresh: {shown}{more}")
        return lines


@torch.no_grad()
def transfer(
    network: Network, names: Sequence[str], source: Network, source_names: Sequence[str]
) -> TransferReport:
    """Copy into `network` what `source` has under the same name and shape.

    Output layers of another class list keep box and objectness channels, and those of classes of the same
    name.
    """
    ours, theirs = network.state_dict(), source.state_dict()
    same_classes = tuple(names) == tuple(source_names)
    shared = {new: tuple(source_names).index(name) for new, name in enumerate(names) if name in source_names}
    anchors = len(network.anchors[0])
    taken, left = 0, []
    for key, value in ours.items():
        other = theirs.get(key)
        if not value.is_floating_point():
            continue
        if other is None:
            left.append(f"{key} (not in the weights)")
        elif value.shape == other.shape and (same_classes or not _per_class(key)):
            value.copy_(other)
            taken += 1
        elif _per_class(key) and _copy_rows(_by_anchor(value, anchors), _by_anchor(other, anchors), shared):
            if len(shared) == len(names):
                taken += 1
            else:
                left.append(f"{key} (channels of {_new(len(names) - len(shared))})")
        else:
            left.append(f"{key} (shape {tuple(other.shape)}, needed {tuple(value.shape)})")
    by_name = () if same_classes else tuple(names[new] for new in shared)
    return TransferReport(taken, by_name, tuple(left))


def _copy_rows(rows: torch.Tensor, source: torch.Tensor, shared: dict[int, int]) -> bool:
    """Copy the channels of box, objectness and shared classes.

    False where the inputs are not the same.
    """
    if rows[:, :5].shape != source[:, :5].shape:
        return False
    rows[:, :5] = source[:, :5]
    for new, old in shared.items():
        rows[:, 5 + new] = source[:, 5 + old]
    return True


def _new(classes: int) -> str:
    return f"{classes} new class" + ("es" if classes > 1 else "")


def _per_class(key: str) -> bool:
    """Return True if an entry has one row per output channel."""
    module, _, rest = key.partition(".")
    return module in ("outputs", "aux_outputs") and not rest.endswith("offset")


def _by_anchor(value: torch.Tensor, anchors: int) -> torch.Tensor:
    """Rows of an output layer as (anchors, 5 + classes, ...)."""
    if value.ndim == 4 and value.shape[0] == 1:  # implicit scale
        return value[0].view(anchors, -1)
    return value.view(anchors, -1, *value.shape[1:])
