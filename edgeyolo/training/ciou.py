"""Complete IoU, the box regression measure of the loss (Zheng et al., Distance-IoU Loss, AAAI 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_EPS = 1e-7


def ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """CIoU of matching rows of two (n, 4) tensors of centre x, centre y, width, height, in any one unit:
    (n,).
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
