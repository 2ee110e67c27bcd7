"""Distillation of a network by the raw maps of another.

The loss that keeps a network's maps near those of another, where that other sees something.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from edgeyolo.models.network import Network
from edgeyolo.training.loss.loss import ciou

Maps = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Distillation:
    """A penalty for a training run.

    `gain` times the distance of the maps from the teacher's on the same images.

    Objectness is compared everywhere; boxes and classes in proportion to the teacher's objectness, so that background
    does not drown them. Each is counted by object, and boxes by their overlap, as AP counts them.
    """

    teacher: Network
    gain: float = 1.0

    def __call__(self, images: Tensor, maps: Maps) -> Tensor:
        """A scalar: the mean over cells, added up over the levels."""
        with torch.no_grad():
            wanted = self.teacher(images)
        # The student has lead maps alone; those of auxiliary heads, which come last, have no partner.
        pairs = zip(maps, wanted, self.teacher.anchors, self.teacher.strides, strict=False)
        parts = [
            distance(self._split(one), self._split(other), one.new_tensor(anchors) / stride)
            for one, other, anchors, stride in pairs
        ]
        return self.gain * torch.stack(parts).sum()

    def _split(self, head: Tensor) -> Tensor:
        """(N, A * (5 + C), H, W) -> (N, A, 5 + C, H, W)."""
        count, channels, height, width = head.shape
        rows = 5 + self.teacher.classes
        return head.float().reshape(count, channels // rows, rows, height, width)


def distance(student: Tensor, teacher: Tensor, anchors: Tensor) -> Tensor:
    """Distance of two raw maps (N, A, 5 + C, H, W).

    It is, for each object that the teacher sees, the cross entropy of objectness and of classes beyond the
    teacher's own, and 1 - CIoU of the boxes. `anchors` (A, 2) are widths and heights in cells. Squared distances of
    boxes behind the sigmoid would be a fortieth of the whole, and classes nearly all the rest: boxes then drift
    while the distance falls, and AP with them.
    """
    seen = torch.sigmoid(teacher[:, :, 4])
    mass = seen.sum().clamp(min=1.0)
    objectness = _excess(student[:, :, 4], teacher[:, :, 4])
    boxes = 1 - ciou(_boxes(student, anchors), _boxes(teacher, anchors)).view_as(seen)
    classes = _excess(student[:, :, 5:], teacher[:, :, 5:]).sum(2)
    return (objectness + (boxes + classes) * seen).sum() / mass


def _boxes(maps: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (N * A * H * W, 4) as centre, width, height in cells.

    Centres are from the corner of the cell.
    """
    s = torch.sigmoid(maps[:, :, :4]).movedim(2, -1)
    sides = (2 * s[..., 2:]).square() * anchors[:, None, None]
    return torch.cat([2 * s[..., :2], sides], -1).flatten(0, -2)


def _excess(student: Tensor, teacher: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of two Bernoulli variables given as logits.

    0 where they agree.
    """
    wanted = torch.sigmoid(teacher)
    return bce(student, wanted, reduction="none") - bce(teacher, wanted, reduction="none")
