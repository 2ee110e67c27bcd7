"""Label assignment: positives of a head for each target.

Paper section 4.2, Tables 6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from edgeyolo.training.loss.candidates import (
    Candidates,
    Levels,
    PaddedTargets,
    compact,
    find_candidates,
    host_reads,
)
from edgeyolo.training.loss.simota import IOU_WEIGHT, class_cost, pairwise_iou, sim_ota
from edgeyolo.training.loss.strategy import Reach

# Pairs of targets and candidates judged at once; 2 ** 22 of them need about 130 MB.
PAIRS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Positives:
    """P predictions that learn a target.

    image, level, anchor, row, column: int64 (P,). target: int64 (P,), the slot in the image's PaddedTargets.
    order: int64 (P,): where two positives share a cell of an anchor, its objectness follows the larger one.
    valid: bool (P,); all true on a CPU.
    """

    image: Tensor
    level: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    target: Tensor
    order: Tensor
    valid: Tensor

    def _take(self, here: Tensor) -> Positives:
        """The positives where `here` (P,) is true; for a CPU, as their number is read."""
        number = here.nonzero()[:, 0]  # once: a mask would be counted for every part anew
        return Positives(*(part.index_select(0, number) for part in _fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Positives]) -> Positives:
        """All positives of `parts`, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat(same) for same in zip(*map(_fields, parts), strict=True)))

    def at(self, level: int) -> Positives:
        """Positives of one level.

        Fewer on a CPU, a smaller mask on an accelerator.
        """
        here = self.valid & (self.level == level)
        if host_reads(here):
            return self._take(here)
        parts = [torch.where(here, part, 0) for part in _fields(self)[:-1]]
        return Positives(*[*parts, here])


def _fields(positives: Positives) -> tuple[Tensor, ...]:
    return tuple(getattr(positives, field.name) for field in fields(positives))


@torch.no_grad()
def assign(
    maps: Sequence[Tensor],
    targets: PaddedTargets,
    levels: Levels,
    reach: Reach,
    *,
    top: int | None,
    ratio: float = 4.0,
) -> Positives:
    """Choose the positives among the `reach` candidates.

    They are judged by the predictions of `maps`.

    maps: raw head maps (B, A * (5 + C), H, W), one per level. top: how many IoUs make up a target's k (10
    for networks without auxiliary heads, 20 with them); None takes every candidate. Deterministic. On an
    accelerator no shape depends on a value, so the host never waits.
    """
    heads = [_by_anchor(head, levels.anchors.shape[1]) for head in maps]
    parts: list[Positives] = []
    for group, slots in _chunks(targets.counts, levels.slots):
        chosen = group.to(targets.boxes.device, non_blocking=True)
        here = targets.images(chosen, slots)
        candidates = find_candidates(here, levels, reach, ratio)
        candidates = _dense(candidates, candidates.valid.shape[1])
        owner, owned = candidates.target, candidates.valid
        if top is not None:
            raw = _rows(heads, chosen, candidates)
            owner, owned = _judge(raw, candidates, here, levels, top)
        capacity = candidates.valid.shape[1] if top is None else slots * top
        parts.append(_collect(candidates, owner, owned, chosen, min(capacity, owned.shape[1])))
    return Positives.join(parts)


def _by_anchor(head: Tensor, anchors: int) -> Tensor:
    """A raw map seen as (B, A, 5 + C, H, W)."""
    batch, _, height, width = head.shape
    return head.detach().view(batch, anchors, -1, height, width)


def _chunks(counts: tuple[int, ...], slots_per_target: int) -> Iterator[tuple[Tensor, int]]:
    """Image numbers, and the target slots they need, in groups of bounded memory.

    Crowded images with their like.
    """
    group: list[int] = []
    for image in sorted(range(len(counts)), key=lambda image: counts[image]):
        slots = max(1, counts[image])
        if group and (len(group) + 1) * slots * slots * slots_per_target > PAIRS_AT_ONCE:
            yield torch.tensor(sorted(group)), max(1, *(counts[other] for other in group))
            group = []
        group.append(image)
    if group:
        yield torch.tensor(sorted(group)), max(1, *(counts[other] for other in group))


def _dense(candidates: Candidates, capacity: int) -> Candidates:
    position, valid = compact(candidates.valid, capacity)
    parts = (candidates.level, candidates.anchor, candidates.row, candidates.column, candidates.target)
    return Candidates(*[*(part.gather(1, position) for part in parts), valid])


def _judge(
    raw: Tensor, candidates: Candidates, targets: PaddedTargets, levels: Levels, top: int
) -> tuple[Tensor, Tensor]:
    """SimOTA over the candidates' raw predictions (B, M, 5 + C).

    Owners and whether there is one, (B, M).
    """
    box = _decode(raw[..., :4].sigmoid(), candidates, levels)
    score = raw[..., 5:].sigmoid().mul_(raw[..., 4:5].sigmoid()).sqrt_()
    size = (levels.grids[0] * levels.strides[0]).repeat(2)  # width, height, width, height in pixels
    iou = pairwise_iou(_corners(targets.boxes * size), box)
    cost = class_cost(score.transpose(1, 2).contiguous(), targets.classes)
    cost -= iou.add(1e-8).log_().mul_(IOU_WEIGHT)
    return sim_ota(iou, cost, targets.valid, candidates.valid, top)


def _rows(heads: list[Tensor], image: Tensor, candidates: Candidates) -> Tensor:
    """The raw predictions of the candidates of the images numbered `image` (B,).

    float32 (B, M, 5 + C).
    """
    places = (
        image[:, None].expand_as(candidates.level),
        candidates.anchor,
        candidates.row,
        candidates.column,
    )
    rows = torch.empty(*candidates.level.shape, heads[0].shape[2], device=image.device)
    for level, head in enumerate(heads):
        here = candidates.level == level
        if host_reads(here):
            number = here.flatten().nonzero()[:, 0]
            b, a, y, x = (place.flatten().index_select(0, number) for place in places)
            rows.view(-1, rows.shape[2]).index_copy_(0, number, head[b, a, :, y, x].float())
        else:
            b, a, y, x = (torch.where(here, place, 0) for place in places)
            rows = torch.where(here[..., None], head[b, a, :, y, x].float(), rows)
    return rows


def _decode(s: Tensor, candidates: Candidates, levels: Levels) -> Tensor:
    """Decoded xyxy boxes in pixels of sigmoids (B, M, 4)."""
    stride = levels.strides[candidates.level][..., None]
    cell = torch.stack([candidates.column, candidates.row], -1)
    centre = (s[..., :2] * 2 - 0.5 + cell) * stride
    half = (s[..., 2:] * 2).square_() * levels.anchors[candidates.level, candidates.anchor] / 2
    return torch.cat([centre - half, centre + half], -1)


def _corners(box: Tensor) -> Tensor:
    half = box[..., 2:] / 2
    return torch.cat([box[..., :2] - half, box[..., :2] + half], -1)


def _collect(
    candidates: Candidates, owner: Tensor, owned: Tensor, chosen: Tensor, capacity: int
) -> Positives:
    position, valid = compact(owned, capacity)
    image = chosen[:, None].expand_as(position)
    parts = [candidates.level, candidates.anchor, candidates.row, candidates.column, owner]
    level, anchor, row, column, target = (part.gather(1, position) for part in parts)
    flat = [part.flatten() for part in (image, level, anchor, row, column, target, position, valid)]
    found = Positives(*flat)
    return found._take(found.valid) if host_reads(valid) else found
