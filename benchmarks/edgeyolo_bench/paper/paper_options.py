"""Options of `edgeyolo bench` that measure rows of the paper's tables.

Their values are resolved here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgeyolo_bench.measure.jobs import Wanted
    from edgeyolo_bench.measure.measure import Labelled
    from edgeyolo_bench.paper.paper_run import PaperRun

TABLES = ("1", "2", "9", "10")

_OPTIONS = (
    click.option("--table", "tables", multiple=True, type=click.Choice(TABLES), help="Rows of a table of the paper's."),
    click.option("--tables", "every_table", is_flag=True, help="Of all four."),
    click.option("--models", "networks", help="With --table: only these networks, with commas."),
    click.option("--device", "kind", help="With --table: cpu (the default), cuda, intel:gpu ..."),
    click.option("--weights", multiple=True, metavar="NAME=FILE", help="With --table: instead of random ones."),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """Tables and networks that were asked for.

    They are tables by number, networks (all where empty), the device whose targets are measured, and weights.
    """

    numbers: tuple[int, ...]
    networks: tuple[str, ...]
    kind: str
    weights: Mapping[str, Path]

    def run(self, wanted: Wanted, labelled: Labelled | None, **facts: Any) -> PaperRun:
        """Rows to measure.

        Targets that were not named are the device's own.
        """
        from dataclasses import replace

        from edgeyolo_bench.paper.paper_run import PaperRun, default_targets

        targets = wanted.targets or default_targets(self.kind)
        named = replace(wanted, targets=targets)
        return PaperRun(self.numbers, named, self.networks, self.weights, labelled, **facts)


def paper_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it gets them by name, for `tables_asked`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def tables_asked(
    tables: tuple[str, ...], every_table: bool, networks: str | None, kind: str | None, weights: tuple[str, ...]
) -> Asked | None:  # fmt: skip
    """Tables that were asked for, None without --table.

    Raises UsageError for options that fit no table.
    """
    from edgeyolo.cli.options import locate_weights
    from edgeyolo.errors import UsageError

    numbers = tuple(dict.fromkeys(int(number) for number in (TABLES if every_table else tables)))
    given = {"--models": networks, "--device": kind, "--weights": weights}
    alone = [name for name, value in given.items() if value]
    if not numbers and alone:
        raise UsageError(
            f"{alone[0]} goes with --table", hint="edgeyolo bench --table 2 " + alone[0] + " ..."
        )
    if not numbers:
        return None
    pairs = [text.partition("=") for text in weights]
    wrong = next(
        (text for text, (name, _, file) in zip(weights, pairs, strict=True) if not name or not file), None
    )
    if wrong is not None:
        raise UsageError(f"--weights {wrong}: expected NAME=FILE, such as yolov7=best.pt")
    found = {name.strip(): locate_weights(file) for name, _, file in pairs}
    chosen = tuple(name.strip() for name in (networks or "").split(",") if name.strip())
    return Asked(numbers, chosen, kind or "cpu", found)
