"""The table of a run's epochs, as CSV and as curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.files import atomic_file
from edgeyolo.support.install import install_hint

COLUMNS = (
    "epoch",
    "lr",
    "box",
    "obj",
    "cls",
    "loss",
    "AP",
    "AP50",
    "val_box",
    "val_obj",
    "val_cls",
    "seconds",
)


def fitness(row: Mapping[str, Any]) -> float:
    """Fitness of an epoch: AP, and a little AP50.

    The best epoch has most of it.
    """
    return float(0.1 * row["AP50"] + 0.9 * row["AP"])


def best_row(history: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The epoch whose weights are in best.safetensors.

    None where no epoch was validated: it is the last one.
    """
    validated = [row for row in history if row.get("AP") is not None]
    return max(validated, key=fitness) if validated else None


def write_csv(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """One line an epoch.

    AP and the columns val_box, val_obj and val_cls are empty where an epoch was not validated.
    """
    with atomic_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(history)


def draw_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Losses and AP over the epochs, as results.png.

    Epochs count from 1, as everywhere that a person reads them.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeMissingError("curves need matplotlib", hint=install_hint("train")) from error
    figure = Figure(figsize=(12, 6), layout="constrained")
    for axes, name in zip(figure.subplots(2, 3).flat, ("box", "obj", "cls", "lr", "AP50", "AP"), strict=True):
        known = [(row["epoch"] + 1, row[name]) for row in history if row.get(name) is not None]
        axes.plot([epoch for epoch, _ in known], [value for _, value in known], marker=".", label="training")
        judged = [(row["epoch"] + 1, row[f"val_{name}"]) for row in history if f"val_{name}" in row]
        if judged:
            axes.plot(*zip(*judged, strict=True), marker=".", label="validation")
            axes.legend(fontsize=8, frameon=False)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
    with atomic_file(path) as draft:
        figure.savefig(draft, dpi=120)
