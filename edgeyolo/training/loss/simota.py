"""SimOTA: candidates of each target by cost (paper section 4.2).

The cost follows from a head's own predictions.

One image with T targets and M candidates costs O(T x M) numbers: the classes enter as one sum per candidate
and one lookup per pair, never as targets x candidates x classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeyolo.training.loss.candidates import compact

IOU_WEIGHT = 3.0
_TINY = 1e-8


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of every pair of xyxy boxes: (B, T, 4) and (B, M, 4) give (B, T, M).

    Boxes of no area give 0.
    """
    x1, y1, x2, y2 = boxes[:, :, None].unbind(-1)
    a1, b1, a2, b2 = others[:, None].unbind(-1)
    inter = (torch.minimum(x2, a2) - torch.maximum(x1, a1)).clamp_(min=0)
    inter *= (torch.minimum(y2, b2) - torch.maximum(y1, b1)).clamp_(min=0)
    union = ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1)).sub_(inter)
    return inter.div_(union.clamp_(min=1e-12))


def class_cost(scores: Tensor, classes: Tensor) -> Tensor:
    """Sum over the classes of BCE(one-hot target, score) for every pair.

    scores: (B, C, M) probabilities of M candidates. classes: int64 (B, T). Returns (B, T, M).
    """
    # Of a target of class t, BCE is the sum over all c of -log(1 - s_c), plus log(1 - s_t) - log(s_t).
    absent = scores.neg().log1p_().clamp_(min=-100)
    own = classes[:, :, None].expand(-1, -1, scores.shape[2])
    chosen = absent.gather(1, own)
    chosen -= scores.gather(1, own).log_().clamp_(min=-100)
    return chosen.sub_(absent.sum(1, keepdim=True))


def sim_ota(
    iou: Tensor, cost: Tensor, target_valid: Tensor, candidate_valid: Tensor, top: int
) -> tuple[Tensor, Tensor]:
    """Give each target its k cheapest candidates.

    k = max(1, int(sum of its `top` largest IoUs)).

    iou, cost: (B, T, M), cost >= 0. Returns the owner of each candidate int64 (B, M) and whether it has
    one. A candidate claimed twice goes to the target of the image to which it is cheapest; among equal
    costs the first counts.
    """
    top = min(top, iou.shape[2])
    iou = iou.masked_fill(~candidate_valid[:, None], 0)
    cost = cost.masked_fill(~(target_valid[:, :, None] & candidate_valid[:, None]), torch.inf)
    wanted = iou.topk(top, dim=2).values.sum(2).long().clamp_(min=1)
    choice = _cheapest(cost, top)
    takes = torch.arange(top, device=cost.device) < wanted[:, :, None]
    takes &= cost.gather(2, choice) < torch.inf

    claims = torch.zeros_like(candidate_valid, dtype=torch.int32)
    claims.scatter_add_(1, choice.flatten(1), takes.flatten(1).int())
    claimant = torch.arange(cost.shape[1], device=cost.device)[:, None].expand_as(choice)
    owner = torch.zeros_like(candidate_valid, dtype=torch.long)
    owner.scatter_add_(1, choice.flatten(1), torch.where(takes, claimant, 0).flatten(1))
    return _settle(owner, claims, cost), claims > 0


def _cheapest(cost: Tensor, top: int) -> Tensor:
    """The `top` cheapest candidates of each target, ties in order: int64 (B, T, top)."""
    # topk breaks ties as it likes. Bits of non-negative floats sort as integers, so cost and position fit
    # one key.
    position = torch.arange(cost.shape[2], device=cost.device)
    key = cost.clamp_(min=0).view(torch.int32).long().bitwise_left_shift_(32).bitwise_or_(position)
    return key.topk(top, dim=2, largest=False).values.bitwise_and_(0xFFFFFFFF)


def _settle(owner: Tensor, claims: Tensor, cost: Tensor) -> Tensor:
    """Give candidates claimed by several targets to the cheapest of these."""
    column, contested = compact(claims > 1, claims.shape[1])
    rival = cost.gather(2, column[:, None].expand(-1, cost.shape[1], -1)).min(1).indices
    settled = torch.where(contested, rival, owner.gather(1, column))
    # Slots that are not contested point at column 0; a spare last column takes what they would write there.
    spare = torch.where(contested, column, owner.shape[1])
    padded = torch.cat([owner, owner.new_zeros(owner.shape[0], 1)], 1)
    return padded.scatter_(1, spare, settled)[:, :-1]
