"""Loss of a network with or without auxiliary heads.

It stands here once (paper section 4.2 and its appendix).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from edgeyolo.errors import UsageError
from edgeyolo.training.loss.assign import Positives, assign
from edgeyolo.training.loss.candidates import Levels, PaddedTargets, host_reads, pad_targets
from edgeyolo.training.loss.head_rows import place_labels, split_head
from edgeyolo.training.loss.strategy import COARSE_TO_FINE, Strategy

_EPS = 1e-7


def ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """CIoU (n,) of matching rows of two (n, 4) tensors of boxes.

    Boxes are centre x, centre y, width, height, in any one unit.
    """
    x, y, w, h = boxes.unbind(1)
    u, v, p, q = others.unbind(1)
    inter_w = (torch.minimum(x + w / 2, u + p / 2) - torch.maximum(x - w / 2, u - p / 2)).clamp(min=0)
    inter_h = (torch.minimum(y + h / 2, v + q / 2) - torch.maximum(y - h / 2, v - q / 2)).clamp(min=0)
    inter = inter_w * inter_h
    iou = inter / (w * h + p * q - inter + _EPS)
    hull_w = torch.maximum(x + w / 2, u + p / 2) - torch.minimum(x - w / 2, u - p / 2)
    hull_h = torch.maximum(y + h / 2, v + q / 2) - torch.minimum(y - h / 2, v - q / 2)
    distance = ((x - u) ** 2 + (y - v) ** 2) / (hull_w**2 + hull_h**2 + _EPS)
    shape = 4 / math.pi**2 * (torch.atan(p / (q + _EPS)) - torch.atan(w / (h + _EPS))) ** 2
    weight = (shape / (shape - iou + 1 + _EPS)).detach()
    return iou - distance - weight * shape


BALANCE = (4.0, 1.0, 0.25, 0.06, 0.02)
BALANCE_3 = (4.0, 1.0, 0.4)
_FOCAL_ALPHA = 0.25


@dataclass(frozen=True)
class LossConfig:
    """Gains and options of the loss.

    The gains are scaled by levels, classes and image size (see DetectionLoss).

    anchor_t: largest ratio of a target's side to an anchor's. top: IoUs that make up k in SimOTA, None for
    10 without auxiliary heads and 20 with them. focal_gamma: 0 is off. autobalance: level weights follow
    the objectness losses.
    """

    box: float = 0.05
    cls: float = 0.3
    obj: float = 0.7
    cls_pw: float = 1.0
    obj_pw: float = 1.0
    anchor_t: float = 4.0
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    auxiliary: float = 0.25
    autobalance: bool = False
    top: int | None = None
    strategy: Strategy = COARSE_TO_FINE


@dataclass(frozen=True)
class LossValue:
    """Loss and its items.

    total: scalar to call `backward` on, summed over the images. items: float32 (4,) box, objectness, class
    and their sum, each scaled by its gain, per image, detached.
    """

    total: Tensor
    items: Tensor


class DetectionLoss(nn.Module):
    """Raw head maps and labels -> LossValue.

    anchors: L x A x (width, height) in pixels. strides: L. image_size: the side in pixels that the
    objectness gain is scaled for. Total = images x (box * CIoU loss + obj * objectness + cls * class),
    auxiliary heads with their weight, where box *= 3 / L, cls *= C / 80 * 3 / L, obj *= (image_size /
    640)^2 * 3 / L.
    """

    anchors: Tensor
    strides: Tensor
    balance: Tensor

    def __init__(
        self,
        anchors: Sequence[Sequence[Sequence[float]]],
        strides: Sequence[int],
        classes: int,
        config: LossConfig | None = None,
        *,
        image_size: int = 640,
    ) -> None:
        super().__init__()
        self.config = config or LossConfig()
        self.classes = classes
        levels = len(strides)
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32))
        self.register_buffer("strides", torch.tensor(strides, dtype=torch.float32))
        balance = BALANCE_3 if levels == 3 else BALANCE[:levels]
        self.register_buffer("balance", torch.tensor(balance, dtype=torch.float32))
        # In distributed training: the mean of a tensor over the processes. It makes their losses add up to
        # the loss of one process with all the images, whose means are over all positives.
        self.mean_over_processes: Callable[[Tensor], Tensor] = lambda value: value
        self._middle = list(strides).index(16) if 16 in strides else 0
        self.suit(image_size)

    def suit(self, image_size: int) -> None:
        """Scale the gains for pictures of another size from now on."""
        levels = len(self.strides)
        self.gains = (
            self.config.box * 3 / levels,
            self.config.obj * (image_size / 640) ** 2 * 3 / levels,
            self.config.cls * self.classes / 80 * 3 / levels,
        )

    def forward(self, maps: Sequence[Tensor], targets: Tensor | PaddedTargets) -> LossValue:
        """Loss of the raw maps of a batch.

        maps: (B, A * (5 + C), H, W) of the lead levels, then of the auxiliary ones if any.

        targets: float32 (n, 6) rows of image, class, cx, cy, w, h (relative), or the same from
        `pad_targets`. Give them on the CPU: labels already on an accelerator make the host wait once, to
        count them.
        """
        levels, lead, auxiliary = self._split(maps)
        images, device = maps[0].shape[0], maps[0].device
        labels = self._labels(targets, images).to(device)
        fine, coarse = self.positives(maps, labels)
        parts = self._head_terms(lead, labels, fine, levels, lead=True)
        if auxiliary:
            assert coarse is not None
            parts = parts + self.config.auxiliary * self._head_terms(
                auxiliary, labels, coarse, levels, lead=False
            )
        parts = torch.stack([part * gain for part, gain in zip(parts.unbind(), self.gains, strict=True)])
        total = parts.sum()
        items = torch.cat([parts, total[None]]).detach()
        return LossValue(total * images, items)

    def _labels(self, targets: Tensor | PaddedTargets, images: int) -> PaddedTargets:
        if isinstance(targets, PaddedTargets):
            return targets
        if host_reads(targets) and targets.numel():
            low, high = int(targets[:, 1].min()), int(targets[:, 1].max())
            if low < 0 or high >= self.classes:
                raise UsageError(f"targets: expected classes 0 to {self.classes - 1}; got {low} to {high}")
        return pad_targets(targets, images)

    def positives(self, maps: Sequence[Tensor], labels: PaddedTargets) -> tuple[Positives, Positives | None]:
        """Positives of the lead head and, if any, of the auxiliary head."""
        levels, lead, auxiliary = self._split(maps)
        strategy = self.config.strategy
        top = self.config.top or (20 if auxiliary else 10)
        options: dict[str, Any] = {
            "top": top if strategy.dynamic else None,
            "ratio": self.config.anchor_t,
        }
        fine = assign(lead, labels, levels, "fine", **options)
        if not auxiliary:
            return fine, None
        if strategy.guide == "lead" and strategy.auxiliary == "fine":
            return fine, fine
        guide = lead if strategy.guide == "lead" else auxiliary
        return fine, assign(guide, labels, levels, strategy.auxiliary, **options)

    def _split(self, maps: Sequence[Tensor]) -> tuple[Levels, Sequence[Tensor], Sequence[Tensor]]:
        levels = len(self.strides)
        channels = self.anchors.shape[1] * (5 + self.classes)
        if len(maps) not in (levels, 2 * levels) or any(head.shape[1] != channels for head in maps):
            raise UsageError(
                f"loss: expected {levels} lead maps (and as many auxiliary ones) of {channels} channels; "
                f"got {[tuple(head.shape) for head in maps]}"
            )
        lead = maps[:levels]
        return Levels.of(lead, self.anchors, self.strides), lead, maps[levels:]

    def _head_terms(
        self,
        maps: Sequence[Tensor],
        labels: PaddedTargets,
        positives: Positives,
        levels: Levels,
        *,
        lead: bool,
    ) -> Tensor:
        """Unweighted box, objectness and class loss of one head, summed over its levels.

        (3,).
        """
        bounded = self.config.strategy.bounded and not lead
        here = [positives.at(number) for number in range(len(maps))]
        split = [split_head(head, part, self.anchors.shape[1]) for head, part in zip(maps, here, strict=True)]
        # What concerns positives alone is computed for all levels at once: a level has few of them.
        every, raw = Positives.join(here), torch.cat([rows for _, rows in split])
        sizes = [len(part.valid) for part in here]
        overlap, label = self._overlaps(raw, labels, every, levels, bounded=bounded)
        box = self._level_means(1 - overlap, every, sizes)
        obj = torch.stack([
            self._objectness(objectness, part, asked)
            for (objectness, _), part, asked in zip(split, here, torch.split(label, sizes), strict=True)
        ])  # fmt: skip
        cls = torch.zeros_like(box)
        if self.classes > 1:
            classes = labels.classes[every.image, every.target]
            cls = self._level_means(self._class_losses(raw[:, 5:], classes), every, sizes)
        weighted = obj * self.balance[: len(maps)]
        if self.config.autobalance and lead and self.training:
            self._rebalance(self.mean_over_processes(obj.detach()))
        return torch.stack([box.sum(), weighted.sum(), cls.sum()])

    def _rebalance(self, objectness: Tensor) -> None:
        self.balance.mul_(0.9999).add_(0.0001 / objectness.clamp(min=1e-9))
        self.balance.div_(self.balance[self._middle].clone())

    def _objectness(self, objectness: Tensor, positives: Positives, label: Tensor) -> Tensor:
        """The mean objectness loss of a level's map (B, A, H, W).

        Its positives are asked for `label` (P,).
        """
        return self._bce(objectness, place_labels(objectness, positives, label), self.config.obj_pw).mean()

    def _overlaps(
        self, raw: Tensor, labels: PaddedTargets, positives: Positives, levels: Levels, *, bounded: bool
    ) -> tuple[Tensor, Tensor]:
        """CIoU (P,) of positives with their targets, and their labels."""
        cell = torch.stack([positives.column, positives.row], 1)
        wanted = labels.boxes[positives.image, positives.target] * levels.grids[positives.level].repeat(1, 2)
        wanted = torch.cat([wanted[:, :2] - cell, wanted[:, 2:]], 1)
        anchor = self.anchors[positives.level, positives.anchor] / self.strides[positives.level, None]
        s = raw[:, :4].sigmoid()
        overlap = ciou(torch.cat([s[:, :2] * 2 - 0.5, (s[:, 2:] * 2) ** 2 * anchor], 1), wanted)
        label = overlap.detach().clamp(min=0)
        return overlap, label * distance_bound(wanted[:, :2]) if bounded else label

    @torch.no_grad()
    def objectness_labels(self, maps: Sequence[Tensor], targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The objectness that every map is asked for, and its positives.

        Labels float32 and positives bool (B, A, H, W), those of the lead maps first; arguments as for `forward`.
        """
        levels, lead, auxiliary = self._split(maps)
        labels = self._labels(targets, maps[0].shape[0]).to(maps[0].device)
        fine, coarse = self.positives(maps, labels)
        heads: list[tuple[Sequence[Tensor], Positives, bool]] = [(lead, fine, False)]
        if coarse is not None:
            heads.append((auxiliary, coarse, self.config.strategy.bounded))
        made = []
        for head, positives, bounded in heads:
            for number, raw_map in enumerate(head):
                here = positives.at(number)
                objectness, raw = split_head(raw_map, here, self.anchors.shape[1])
                _, label = self._overlaps(raw, labels, here, levels, bounded=bounded)
                taken = place_labels(objectness, here, torch.ones_like(label)) > 0
                made.append((place_labels(objectness, here, label), taken))
        return made

    def _class_losses(self, raw: Tensor, classes: Tensor) -> Tensor:
        """The mean class loss of each positive (P,)."""
        low = 0.5 * self.config.label_smoothing
        wanted = torch.full_like(raw, low).scatter_(1, classes[:, None], 1 - low)
        return self._bce(raw, wanted, self.config.cls_pw).mean(1)

    def _level_means(self, values: Tensor, positives: Positives, sizes: Sequence[int]) -> Tensor:
        """Means (L,) over the valid positives of each level, 0 where there are none.

        `sizes` of them, in turn, are of the levels.
        """
        parts = torch.split(torch.where(positives.valid, values, 0), list(sizes))
        valid = torch.split(positives.valid, list(sizes))
        count = self.mean_over_processes(torch.stack([part.sum() for part in valid]).float())
        return torch.stack([part.sum() for part in parts]) / torch.where(count > 0, count, 1)

    def _bce(self, raw: Tensor, wanted: Tensor, positive_weight: float) -> Tensor:
        weight = None if positive_weight == 1 else torch.full_like(raw[..., :1], positive_weight)
        loss = bce(raw, wanted, reduction="none", pos_weight=weight)
        if not self.config.focal_gamma:
            return loss
        p = raw.sigmoid()
        right = wanted * p + (1 - wanted) * (1 - p)
        alpha = wanted * _FOCAL_ALPHA + (1 - wanted) * (1 - _FOCAL_ALPHA)
        return loss * alpha * (1 - right) ** self.config.focal_gamma


def distance_bound(offset: Tensor) -> Tensor:
    """Upper bound of an objectness label (Table 7).

    It is for a centre at `offset` (P, 2) cells from the cell's corner.

    1 for the cells that the fine assignment may take (within one cell of the centre), then falling linearly
    to 0 at two cells, so that a coarse positive never asks for as much as a fine one.
    """
    return (2 - (offset - 0.5).abs().amax(1)).clamp(0, 1)
