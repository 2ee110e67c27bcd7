"""Several processes that train one network together, started by `torchrun`.

A run without `torchrun` has just this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from edgeyolo.errors import UsageError


@dataclass(frozen=True)
class Processes:
    """This process, number `rank` of `count`, on `device`."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Return True if this process evaluates, prints and writes."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes, without gradient."""
        if self.count == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.count

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in one message."""
        if self.count == 1:
            return
        gradients = [value.grad for value in parameters if value.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def settle_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give all processes the same waiting gradients, whose sum is what it was.

        One state then stands for all.
        """
        values = [value for value in parameters if value.grad is not None]
        if self.count == 1 or not values:
            return
        self.sum_gradients(values)
        for value in values:
            if value.grad is not None:
                value.grad /= self.count

    def any_of(self, *flags: bool) -> list[bool]:
        """Combine flags of all processes: True where some process raises one."""
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(value) for value in raised.tolist()]

    def least(self, value: int) -> int:
        """The smallest of the processes' values."""
        if self.count == 1:
            return value
        found = torch.tensor(value, device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return int(found)

    def share(self, value: Any) -> Any:
        """A value of the leading process, for all."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def join_processes(device: str, batch_size: int) -> Processes:
    """Join the processes that torchrun started, if it did.

    This process among them and the device it should use.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(device=device)
    if batch_size % count:
        raise UsageError(f"batch_size={batch_size}: expected a multiple of the {count} processes")
    if device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Processes(dist.get_rank(), count, device)


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are over the images of all processes.

    On the CPU too, unlike torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        count = dist.get_world_size() * x.numel() / x.shape[1]
        mean = _sum_over_processes(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _sum_over_processes(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            assert self.momentum is not None and self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        factor = self.weight * torch.rsqrt(variance + self.eps)
        result: Tensor = centred * factor[:, None, None] + self.bias[:, None, None]
        return result.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes; each one's input gets the gradients of all of them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total


def synchronize_norms(network: nn.Module) -> None:
    """Make every batch norm of a network a SyncedBatchNorm, keeping its state."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm
