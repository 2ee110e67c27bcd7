"""The optimiser and its three groups of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgeyolo.errors import UsageError
from edgeyolo.training.loop.schedule import Rates, Schedule


def make_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that are not frozen.

    It is SGD with Nesterov momentum or AdamW.

    Groups: "plain" (batch norm weights and implicit vectors; no decay), "decayed" (convolution weights),
    "bias".
    """
    groups = [
        {"name": kind, "params": values, "weight_decay": schedule.weight_decay if kind == "decayed" else 0.0}
        for kind, values in _groups(network).items()
        if values
    ]
    if not groups:
        raise UsageError("every parameter is frozen: there is nothing to train")
    rates = schedule.at(0)
    if schedule.recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rates.lr, momentum=rates.momentum, nesterov=True)
    return torch.optim.AdamW(groups, lr=rates.lr, betas=(rates.momentum, 0.999))


def set_rates(optimizer: torch.optim.Optimizer, rates: Rates) -> None:
    """Give the groups the learning rates and momentum of an iteration."""
    for group in optimizer.param_groups:
        group["lr"] = rates.bias_lr if group["name"] == "bias" else rates.lr
        if "betas" in group:
            group["betas"] = (rates.momentum, group["betas"][1])
        else:
            group["momentum"] = rates.momentum


def freeze(network: nn.Module, prefixes: Sequence[str]) -> None:
    """Freeze the modules whose names begin with one of `prefixes`.

    Prefixes are like "stem", "backbone", "backbone.0".

    Their batch norm statistics stand still too, see `hold_frozen_norms`.
    """
    for prefix in prefixes:
        found = [value for name, value in network.named_parameters() if f"{name}.".startswith(f"{prefix}.")]
        if not found:
            top = ", ".join(name for name, _ in network.named_children())
            raise UsageError(f"freeze {prefix!r}: no module begins with that", hint=f"There are: {top}.")
        for value in found:
            value.requires_grad_(False)


def hold_frozen_norms(network: nn.Module) -> None:
    """Put batch norms without trainable weights into inference mode.

    Call it after `network.train()`.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def _groups(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    groups: dict[str, list[nn.Parameter]] = {"plain": [], "decayed": [], "bias": []}
    for module in network.modules():
        for name, value in module.named_parameters(recurse=False):
            if not value.requires_grad:
                continue
            if name == "bias":
                groups["bias"].append(value)
            elif name == "weight" and isinstance(module, nn.Conv2d):
                groups["decayed"].append(value)
            else:
                groups["plain"].append(value)
    return groups
