"""The state of a run in one safetensors file.

Numbers and text, all it takes to go on bit by bit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.support.files import atomic_file

FORMAT, VERSION = "edgeyolo-training", "1"
_AGAIN = "Train on from weights/last.safetensors of the same folder in a new run, or start anew."


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
    """Read the facts of a run that `save_state` was given.

    DamagedFileError where they do not say what run it is.
    """
    facts = _text(path, _open(path)[1], "facts")
    for name, kind in (("config", dict), ("recipe", dict), ("network", dict), ("class_names", list)):
        if not isinstance(facts.get(name), kind):
            raise DamagedFileError(f"{path}: its facts have no {name.replace('_', ' ')}", hint=_AGAIN)
    return facts


def restore_state(path: Path, parts: Parts) -> Position:
    """Put a saved state into parts made for the same run; returns where the run was."""
    tensors, metadata = _open(path)
    try:
        parts.network.load_state_dict(_under(tensors, "network/"))
        parts.ema.load_state_dict(_under(tensors, "ema/"))
        parts.loss.load_state_dict(_under(tensors, "loss/"))
        _restore_optimizer(parts.optimizer, _under(tensors, "optimizer/"))
        parts.scaler.load_state_dict(_text(path, metadata, "scaler"))
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path}: the state of another run: {error}", hint=_AGAIN) from error
    position = _position(path, _text(path, metadata, "position"))
    gradients = _under(tensors, "gradient/")
    for name, parameter in parts.network.named_parameters():
        gradient = gradients.get(name)
        if gradient is not None and gradient.shape != parameter.shape:
            raise DamagedFileError(f"{path}: the gradient of {name} is {tuple(gradient.shape)}", hint=_AGAIN)
        parameter.grad = None if gradient is None else torch.empty_like(parameter).copy_(gradient)
    return position


def _text(path: Path, metadata: dict[str, str], part: str) -> dict[str, Any]:
    """One of the JSON objects beside the tensors."""
    try:
        found = json.loads(metadata[part])
    except KeyError as error:
        raise DamagedFileError(f"{path}: its part {part!r} is missing", hint=_AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path}: its part {part!r} is not JSON ({error})", hint=_AGAIN) from error
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path}: its part {part!r} is not a JSON object", hint=_AGAIN)
    return found


def _position(path: Path, values: dict[str, Any]) -> Position:
    """The position of a run, every value of the kind that `save_state` wrote."""
    kinds = {field.name: type(getattr(Position(), field.name)) for field in fields(Position)}
    if values.keys() != kinds.keys():
        raise DamagedFileError(
            f"{path}: its position has {', '.join(sorted(values)) or 'nothing'}", hint=_AGAIN
        )
    for name, kind in kinds.items():
        value = values[name]
        allowed = (list, type(None)) if name == "ap" else (int, float) if kind is float else (kind,)
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise DamagedFileError(f"{path}: its position has {name} = {str(value)[:40]}", hint=_AGAIN)
    numbers = all(isinstance(value, int | float) for value in [*values["sums"], *(values["ap"] or ())])
    rows = all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in values["history"])
    counts = min(values[name] for name in ("epoch", "batch", "iteration", "updates"))
    if not numbers or not rows or len(values["sums"]) != 4 or counts < 0:
        raise DamagedFileError(f"{path}: its position is not one of a run", hint=_AGAIN)
    return Position(**values)


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
