"""The state of a run in one safetensors file.

Numbers and text, all it takes to go on bit by bit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.support.files import atomic_file

FORMAT, VERSION = "edgeyolo-training", "1"


@dataclass
class Position:
    """Position of a run.

    Counts start at 0: `batch` is the next one of `epoch`, `iteration` the next of the run.

    last_step: the iteration at which the next gradient accumulation began. updates: optimiser steps so far.
    sums: losses of the epoch so far, added up over its iterations. ap: AP of each class at the last
    validation.
    """

    epoch: int = 0
    batch: int = 0
    iteration: int = 0
    last_step: int = 0
    updates: int = 0
    best: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    ap: list[float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a run that have a state."""

    network: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    loss: nn.Module
    scaler: torch.amp.GradScaler


def save_state(path: Path, parts: Parts, position: Position, facts: dict[str, Any]) -> None:
    """Write the whole state atomically.

    facts: any JSON object that says what run this is.
    """
    from safetensors.torch import save_file

    tensors = {f"network/{key}": value for key, value in parts.network.state_dict().items()}
    tensors |= {f"ema/{key}": value for key, value in parts.ema.state_dict().items()}
    tensors |= {f"loss/{key}": value for key, value in parts.loss.state_dict().items()}
    for name, parameter in parts.network.named_parameters():
        if parameter.grad is not None:
            tensors[f"gradient/{name}"] = parameter.grad
    for number, values in parts.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{key}": value for key, value in values.items() if value is not None}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "position": json.dumps(asdict(position)),
        "scaler": json.dumps(parts.scaler.state_dict()),
        "facts": json.dumps(facts),
    }
    with atomic_file(path) as draft:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, draft, metadata)


def read_facts(path: Path) -> dict[str, Any]:
    """Facts of the run that were given to `save_state`."""
    return dict(json.loads(_open(path)[1]["facts"]))


def restore_state(path: Path, parts: Parts) -> Position:
    """Put a saved state into parts made for the same run; returns where the run was."""
    tensors, metadata = _open(path)
    try:
        parts.network.load_state_dict(_under(tensors, "network/"))
        parts.ema.load_state_dict(_under(tensors, "ema/"))
        parts.loss.load_state_dict(_under(tensors, "loss/"))
        _restore_optimizer(parts.optimizer, _under(tensors, "optimizer/"))
    except (RuntimeError, KeyError, ValueError) as error:
        raise DamagedFileError(f"{path}: the state of another run: {error}") from error
    gradients = _under(tensors, "gradient/")
    for name, parameter in parts.network.named_parameters():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else torch.empty_like(parameter).copy_(gradient)
    parts.scaler.load_state_dict(json.loads(metadata["scaler"]))
    return Position(**json.loads(metadata["position"]))


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(
            f"{path}: there is no training state to resume", hint="Start the run without --resume."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path}: not a training state, or cut short ({error})") from error
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise DamagedFileError(f"{path}: expected a training state of version {VERSION}")
    return tensors, metadata
