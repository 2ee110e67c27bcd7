"""`ablate`: train every row of a table, beside the paper's results.

Rows are trained from scratch and alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import torch

from edgeyolo.datasets import Dataset
from edgeyolo.errors import UsageError
from edgeyolo.models import weights
from edgeyolo.models.complexity import fused_parameters, gflops
from edgeyolo.models.network import Network
from edgeyolo.support.files import atomic_file
from edgeyolo.training.ablation.ablation_tables import Table, Variant
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.loop.history import best_row
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.processes import join_processes
from edgeyolo.training.loop.state import read_facts
from edgeyolo.training.loop.trainer import BEST, STATE, Trainer
from edgeyolo.training.recipe import Recipe
from edgeyolo.training.run import suit_anchors

RESULT = "ablation.json"


@dataclass(frozen=True)
class Row:
    """A variant's results, one for each seed.

    params: as deployed. gflops: for one image of the run's size. ap, ap50: of the epoch with the best fitness.
    seconds: training and validation. paper: AP in the paper. reading: how the paper's row is understood, where it
    leaves that open. base: the row it is compared with, "" for the first.
    """

    name: str
    params: int
    gflops: float
    ap: tuple[float, ...]
    ap50: tuple[float, ...]
    seconds: tuple[float, ...]
    paper: float | None = None
    reading: str = ""
    base: str = ""

    @property
    def mean(self) -> float:
        """AP over the seeds."""
        return mean(self.ap)

    @property
    def spread(self) -> float | None:
        """The standard deviation of AP over the seeds; None where there is one."""
        return stdev(self.ap) if len(self.ap) > 1 else None


@dataclass(frozen=True)
class Ablation:
    """A table with results.

    Differences are to each row's base, by default the first row.
    """

    number: int
    title: str
    note: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    kind: Literal["Table", "Figure"] = "Table"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            **asdict(self),
            "rows": [{**asdict(row), "mean": row.mean, "spread": row.spread} for row in self.rows],
        }

    def cells(self) -> list[tuple[str, ...]]:
        """The table as text.

        Variant, parameters, GFLOPs, AP, AP50, difference, the paper's AP and difference.
        """
        named = {row.name: row for row in self.rows}
        return [_cells(row, named.get(row.base, self.rows[0])) for row in self.rows]

    def readings(self) -> list[str]:
        """The rows as they are read where the paper leaves that open, a line each."""
        return [f"{row.name}: {row.reading}" for row in self.rows if row.reading]


def _cells(row: Row, base: Row) -> tuple[str, ...]:
    other = row is not base
    return (
        row.name,
        f"{row.params / 1e6:.2f}",
        f"{row.gflops:.3g}",
        f"{100 * row.mean:.2f}" + (f" ± {100 * row.spread:.2f}" if row.spread is not None else ""),
        f"{100 * mean(row.ap50):.2f}",
        f"{100 * (row.mean - base.mean):+.2f}" if other else "",
        f"{100 * row.paper:.2f}" if row.paper else "",
        f"{100 * (row.paper - base.paper):+.2f}" if other and row.paper and base.paper else "",
    )


COLUMNS = (
    "variant",
    "M params",
    "GFLOPs",
    "AP %",
    "AP50 %",
    "to the base",
    "paper AP %",
    "paper's difference",
)


def ablate(
    table: Table,
    training: Dataset,
    validation: Dataset,
    folder: str | Path,
    *,
    config: TrainConfig,
    recipe: Recipe,
    seeds: int = 1,
    listener: Callable[[], Listener] = Listener,
) -> Ablation:
    """Train every variant of a table with the seeds config.seed, config.seed + 1 ...

    folder: gets a run for each variant and seed, and ablation.json. Runs that are there already are gone on with,
    finished ones are read; UsageError where they were made with other settings. recipe: its strategy is replaced
    by the variant's. listener: makes one for every run.
    """
    if seeds < 1:
        raise UsageError(f"seeds={seeds}: expected at least 1")
    folder, chosen = Path(folder), tuple(range(config.seed, config.seed + seeds))
    results: dict[str, list[dict[str, Any]]] = {row.name: [] for row in table.variants}
    fitted = [_fitted(variant, training, config, recipe) for variant in table.variants]
    for variant in fitted:  # a row that cannot be built is better known before the first is trained
        variant.build(len(training.class_names), device="meta")
    for seed in chosen:
        for variant in fitted:
            run = _Run(
                variant, folder / _file_name(variant.name) / f"seed{seed}", replace(config, seed=seed), recipe
            )
            results[variant.name].append(run.train(training, validation, listener()))
    rows = tuple(_row(variant, training, config, results[variant.name]) for variant in fitted)
    ablation = Ablation(table.number, table.title, table.note, chosen, rows, table.kind)
    with atomic_file(folder / RESULT) as draft:
        draft.write_text(
            json.dumps({**ablation.to_json(), "config": config.to_dict(), "recipe": recipe.to_dict()})
        )
    return ablation


def trained(table: Table, folder: str | Path, seed: int) -> list[tuple[str, Network]]:
    """Best weights of every row that `ablate` trained with a seed, by name."""
    runs = ((row.name, Path(folder) / _file_name(row.name) / f"seed{seed}") for row in table.variants)
    return [(name, weights.load(run / BEST).network) for name, run in runs]


@dataclass(frozen=True)
class _Run:
    variant: Variant
    folder: Path
    config: TrainConfig
    recipe: Recipe

    def train(self, training: Dataset, validation: Dataset, listener: Listener) -> dict[str, Any]:
        """The best epoch of the run, trained now, gone on with, or found finished."""
        processes = join_processes(self.config.device, self.config.batch_size)
        torch.manual_seed(self.config.seed)
        trainer = Trainer(
            self.variant.build(len(training.class_names)),
            training.class_names,
            training,
            validation,
            recipe=replace(self.recipe, strategy=self.variant.strategy.name),
            config=replace(self.config, device=processes.device),
            folder=self.folder,
            processes=processes,
            listener=listener if processes.leads else Listener(),
        )
        if (self.folder / STATE).exists():
            _require_same(self.folder, trainer.facts())
            trainer.resume()
        trainer.listener.note(f"{self.variant.name}, seed {self.config.seed}")
        history = trainer.run()
        best = best_row(history)
        assert best is not None  # it is validated at the last epoch at least
        return {**best, "seconds": history[-1]["seconds"]}


def _require_same(folder: Path, facts: dict[str, Any]) -> None:
    known = read_facts(folder / STATE)
    for part in ("config", "recipe", "network", "class_names", "data"):
        if known[part] != json.loads(json.dumps(facts[part])):
            raise UsageError(
                f"{folder} holds a run with another {part.replace('_', ' ')}",
                hint="Repeat the command as it was, or choose another folder for the new settings.",
            )


def _fitted(variant: Variant, dataset: Dataset, config: TrainConfig, recipe: Recipe) -> Variant:
    """The variant with anchors that suit the objects.

    The same for all rows of as many levels.
    """
    return replace(variant, spec=suit_anchors(variant.spec, dataset, config.image_size, recipe.anchor_t)[0])


def _row(variant: Variant, dataset: Dataset, config: TrainConfig, runs: Sequence[dict[str, Any]]) -> Row:
    deployed = variant.build(len(dataset.class_names), "deploy", device="meta")
    size = (config.image_size, config.image_size)
    numbers = {key: tuple(run[name] for run in runs) for key, name in (("ap", "AP"), ("ap50", "AP50"))}
    seconds = tuple(run["seconds"] for run in runs)
    return Row(
        variant.name, fused_parameters(deployed), gflops(deployed, size), **numbers, seconds=seconds,
        paper=variant.paper, reading=variant.reading, base=variant.base,
    )  # fmt: skip


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
