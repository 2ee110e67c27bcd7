"""Distillation of a network by the raw maps of another.

The loss that keeps a network's maps near those of another, where that other sees something.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from edgeyolo.models.network import Network

Maps = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Distillation:
    """A penalty for a training run.

    `gain` times the distance of the maps from the teacher's on the same images.

    Objectness is compared everywhere; boxes and classes in proportion to the teacher's objectness, so that background
    does not drown them. All three behind the sigmoid, as decoding reads them.
    """

    teacher: Network
    gain: float = 1.0

    def __call__(self, images: Tensor, maps: Maps) -> Tensor:
        """A scalar: the mean over cells, added up over the levels."""
        with torch.no_grad():
            wanted = self.teacher(images)
        parts = [
            distance(self._split(one), self._split(other)) for one, other in zip(maps, wanted, strict=False)
        ]
        return self.gain * torch.stack(parts).sum()

    def _split(self, head: Tensor) -> Tensor:
        """(N, A * (5 + C), H, W) -> (N, A, 5 + C, H, W)."""
        count, channels, height, width = head.shape
        rows = 5 + self.teacher.classes
        return head.float().reshape(count, channels // rows, rows, height, width)


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Distance of two raw maps (N, A, 5 + C, H, W).

    It is the cross entropy of objectness beyond the teacher's own, squared distance of boxes, cross entropy
    of classes beyond its own.
    """
    seen = torch.sigmoid(teacher[:, :, 4])
    objectness = _excess(student[:, :, 4], teacher[:, :, 4]).mean()
    mass = seen.sum().clamp(min=1.0)
    boxes = (torch.sigmoid(student[:, :, :4]) - torch.sigmoid(teacher[:, :, :4])).square().sum(2)
    classes = _excess(student[:, :, 5:], teacher[:, :, 5:]).sum(2)
    return objectness + ((boxes + classes) * seen).sum() / mass


def _excess(student: Tensor, teacher: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of two Bernoulli variables given as logits.

    0 where they agree.
    """
    wanted = torch.sigmoid(teacher)
    return bce(student, wanted, reduction="none") - bce(teacher, wanted, reduction="none")
