"""The two things a loss reads from a head map.

Objectness everywhere, and the whole rows of the positives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeyolo.training.loss.assign import Positives


def place_labels(objectness: Tensor, positives: Positives, label: Tensor) -> Tensor:
    """Write the labels of the positives (P,) into a zero map like `objectness`.

    The later of two in a cell counts.
    """
    _, anchors, height, width = objectness.shape
    place = (
        (positives.image * anchors + positives.anchor) * height + positives.row
    ) * width + positives.column
    order = torch.where(positives.valid, positives.order + 1, 0)
    last = torch.zeros(objectness.numel(), dtype=torch.long, device=label.device)
    last.scatter_reduce_(0, place, order, "amax")
    counts = positives.valid & (last[place] == order)
    flat = torch.zeros(objectness.numel(), dtype=label.dtype, device=label.device)
    # At most one addend of a cell is not zero, so the order of the additions does not matter.
    return flat.scatter_add_(0, place, torch.where(counts, label, 0)).view_as(objectness)


def split_head(head: Tensor, positives: Positives, anchors: int) -> tuple[Tensor, Tensor]:
    """Objectness logits (B, A, H, W) and raw rows (P, 5 + C) of the positives.

    Both are float32.
    """
    result = _SplitHead.apply(  # type: ignore[no-untyped-call]
        head, anchors, positives.image, positives.anchor, positives.row, positives.column
    )
    return result[0], result[1]


def _by_anchor(head: Tensor, anchors: int) -> Tensor:
    batch, _, height, width = head.shape
    return head.view(batch, anchors, -1, height, width)


class _SplitHead(torch.autograd.Function):
    """Indexing twice with one dense gradient of the head map.

    Autograd would make two and add them.
    """

    @staticmethod
    def forward(ctx: Any, head: Tensor, anchors: int, *index: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*index)
        ctx.like, ctx.anchors = (head.shape, head.stride(), head.dtype, head.device), anchors
        image, anchor, row, column = index
        view = _by_anchor(head, anchors)
        return view[:, :, 4].float(), view[image, anchor, :, row, column].float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        image, anchor, row, column = ctx.saved_tensors
        shape, stride, dtype, device = ctx.like
        grad = torch.empty_strided(shape, stride, dtype=dtype, device=device).zero_()
        view = _by_anchor(grad, ctx.anchors)
        view[:, :, 4] = grads[0].to(grad.dtype)
        rows = view.permute(0, 1, 3, 4, 2)
        rows.index_put_((image, anchor, row, column), grads[1].to(grad.dtype), accumulate=True)
        return grad, None, None, None, None, None
