"""Candidate positives: anchors and cells at which a target may be learned.

Paper section 4.2, Figure 5.

Everything is padded to fixed shapes, so that no shape depends on values and nothing waits for the device:
an image has T target slots, a target has levels x anchors x 5 candidate slots, and a mask says which of
them are real. On a CPU, where looking at a value costs nothing, `compact` drops the empty slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeyolo.errors import UsageError
from edgeyolo.training.loss.strategy import Reach

# (column, row) steps in the order centre, left, up, right, down; where two positives share a cell, the
# later one counts.
STEPS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))


@dataclass(frozen=True)
class PaddedTargets:
    """The labels of a batch of B images, padded to T slots each.

    boxes: float32 (B, T, 4) centre x, centre y, width, height, relative to the image. classes: int64 (B, T).
    valid: bool (B, T). counts: real targets of each image, known to the host.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    counts: tuple[int, ...]

    def to(self, device: torch.device) -> PaddedTargets:
        """The same labels on `device`.

        It does not wait for the copy where the memory is pinned.
        """
        move = [part.to(device, non_blocking=True) for part in (self.boxes, self.classes, self.valid)]
        return PaddedTargets(move[0], move[1], move[2], self.counts)

    def images(self, chosen: Tensor, slots: int) -> PaddedTargets:
        """The images `chosen` (int64, on any device), cut to their first `slots` slots."""
        parts = [part.index_select(0, chosen)[:, :slots] for part in (self.boxes, self.classes, self.valid)]
        return PaddedTargets(parts[0], parts[1], parts[2], ())


def pad_targets(targets: Tensor, images: int) -> PaddedTargets:
    """Pad (n, 6) rows of image, class, cx, cy, w, h (relative) to one block per image.

    Call it on CPU tensors, before the labels travel: counting labels that are on an accelerator waits for
    it once.
    """
    if targets.ndim != 2 or targets.shape[1] != 6:
        raise UsageError(
            f"targets: expected shape (n, 6) for image, class, cx, cy, w, h; got {tuple(targets.shape)}"
        )
    targets = targets.float()
    image = targets[:, 0].long()
    counts = [int(count) for count in torch.bincount(image, minlength=images).tolist()]
    if len(counts) > images:
        raise UsageError(f"targets: image number {len(counts) - 1} in a batch of {images} images")
    order = torch.argsort(image, stable=True)
    image = image[order]
    starts = torch.tensor([0, *counts[:-1]], device=targets.device).cumsum(0)
    slot = torch.arange(len(order), device=targets.device) - starts[image]
    shape = (images, max(1, *counts))
    boxes = targets.new_zeros(*shape, 4)
    boxes[image, slot] = targets[order, 2:]
    classes = torch.zeros(shape, dtype=torch.long, device=targets.device)
    classes[image, slot] = targets[order, 1].long()
    valid = torch.zeros(shape, dtype=torch.bool, device=targets.device)
    valid[image, slot] = True
    return PaddedTargets(boxes, classes, valid, tuple(counts))


@dataclass(frozen=True)
class Candidates:
    """M candidate slots of each of B images, ordered by level, step, anchor, target.

    level, anchor, row, column, target: int64 (B, M), `target` being the slot in the image's PaddedTargets
    that the candidate came from. valid: bool (B, M). Invalid slots hold indices that exist but mean
    nothing.
    """

    level: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    target: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Levels:
    """The detection levels of a head, on its device.

    anchors: float32 (L, A, 2) width, height in pixels. strides: float32 (L,) in pixels. grids: int64 (L, 2)
    width, height in cells.
    """

    anchors: Tensor
    strides: Tensor
    grids: Tensor

    @classmethod
    def of(cls, maps: Sequence[Tensor], anchors: Tensor, strides: Tensor) -> Levels:
        """The levels that `maps` (B, A * (5 + C), H, W) cover.

        Anchors and strides are on their device.
        """
        grids = torch.tensor([(head.shape[3], head.shape[2]) for head in maps])
        return cls(anchors, strides, grids.to(anchors.device, non_blocking=True))

    @property
    def slots(self) -> int:
        """Candidate slots of one target."""
        return self.anchors.shape[0] * self.anchors.shape[1] * len(STEPS)


def find_candidates(targets: PaddedTargets, levels: Levels, reach: Reach, ratio: float = 4.0) -> Candidates:
    """Candidates of all targets at all levels.

    They are every anchor whose sides are within `ratio` of the target's, at the cell of its centre and at
    neighbours.

    "fine" adds the nearest horizontal and the nearest vertical neighbour (at most 3 cells), "coarse" all
    four direct ones (at most 5); a neighbour counts only where the centre is more than one cell from that
    border.
    """
    device = targets.boxes.device
    grid = levels.grids[:, None]  # (L, 1, 2)
    centre = targets.boxes[:, None, :, :2] * grid  # (B, L, T, 2) in cells
    side = targets.boxes[:, None, None, :, 2:] * grid[:, None]  # (B, L, 1, T, 2)
    quotient = side / (levels.anchors / levels.strides[:, None, None])[:, :, None]  # (B, L, A, T, 2)
    fits = torch.maximum(quotient, 1 / quotient).amax(-1) < ratio
    fits &= targets.valid[:, None, None]

    inside = _steps_inside(centre, grid, reach)  # (B, L, 5, T)
    steps = torch.tensor(STEPS).to(device, non_blocking=True)
    cell = centre.long()[:, :, None] + steps[:, None]  # (B, L, 5, T, 2)
    cell = torch.minimum(cell.clamp_(min=0), grid[:, None] - 1)

    valid = fits[:, :, None] & inside[:, :, :, None]  # (B, L, 5, A, T)
    shape = valid.shape
    index = [torch.arange(size, device=device) for size in shape]
    return Candidates(
        level=index[1].view(1, -1, 1, 1, 1).expand(shape).flatten(1),
        anchor=index[3].view(1, 1, 1, -1, 1).expand(shape).flatten(1),
        row=cell[..., 1][:, :, :, None].expand(shape).flatten(1),
        column=cell[..., 0][:, :, :, None].expand(shape).flatten(1),
        target=index[4].expand(shape).flatten(1),
        valid=valid.flatten(1),
    )


def _steps_inside(centre: Tensor, grid: Tensor, reach: Reach) -> Tensor:
    """STEPS that a centre (B, L, T, 2) takes: bool (B, L, 5, T)."""
    before, after = centre > 1, grid - centre > 1
    if reach == "fine":
        part = centre - centre.floor()
        before, after = before & (part < 0.5), after & (part > 0.5)
    always = torch.ones_like(before[..., 0])
    return torch.stack([always, before[..., 0], before[..., 1], after[..., 0], after[..., 1]], 2)


def host_reads(tensor: Tensor) -> bool:
    """Return True if the host may read values without waiting for a device.

    It may then choose shapes by them.
    """
    return tensor.device.type == "cpu"


def compact(valid: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Positions of the true values of each row of `valid` (B, M), in order.

    They stand in at most `capacity` slots.

    Returns positions int64 (B, K) and a mask bool (B, K). K is `capacity` (which must be enough) on an
    accelerator, where counting would wait for it, and the largest count on a CPU, where it is free.
    """
    slot = valid.cumsum(1) - 1
    if host_reads(valid) and valid.numel():
        capacity = max(1, int(slot[:, -1].max()) + 1)
    slot = torch.where(valid, slot, capacity)
    source = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    position = source.new_full((valid.shape[0], capacity + 1), -1).scatter_(1, slot, source)[:, :capacity]
    return position.clamp(min=0), position >= 0
