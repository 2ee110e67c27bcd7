"""Options of `edgeyolo bench` that measure rows of the paper's tables.

Their values are resolved here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgeyolo_bench.measure.jobs import Wanted
    from edgeyolo_bench.measure.measure import Labelled
    from edgeyolo_bench.paper.paper_run import PaperRun

TABLES = ("1", "2", "9", "10")
_SUFFIXES = (".safetensors", ".pt", ".pth", "")

_OPTIONS = (
    click.option("--table", "tables", multiple=True, type=click.Choice(TABLES), help="Rows of a table of the paper's."),
    click.option("--tables", "every_table", is_flag=True, help="Of all four."),
    click.option("--models", "networks", help="With --table: only these networks, with commas."),
    click.option("--device", "kind", help="With --table: cpu (the default), cuda, intel:gpu ..."),
    click.option("--weights", multiple=True, metavar="NAME=FILE", help="With --table: instead of random ones."),
    click.option(
        "--weights-folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="With --table: only the networks of which weights or an artifact are here, called NAME, NAME.pt ...",
    ),
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


def tables_asked(  # noqa: PLR0917 - as click names them
    tables: tuple[str, ...], every_table: bool, networks: str | None, kind: str | None, weights: tuple[str, ...],
    weights_folder: Path | None = None,
) -> Asked | None:  # fmt: skip
    """Tables that were asked for, None without --table.

    Raises UsageError for options that fit no table.
    """
    from edgeyolo.cli.options import locate_weights
    from edgeyolo.errors import UsageError

    numbers = tuple(dict.fromkeys(int(number) for number in (TABLES if every_table else tables)))
    given = {
        "--models": networks, "--device": kind, "--weights": weights, "--weights-folder": weights_folder,
    }  # fmt: skip
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
    if weights_folder is not None:
        found = weights_in(weights_folder, numbers, chosen) | found
        chosen = chosen or tuple(found)
    return Asked(numbers, chosen, kind or "cpu", found)


def weights_in(folder: Path, numbers: Iterable[int], networks: Iterable[str] = ()) -> dict[str, Path]:
    """Weights or artifacts in a folder, by the names of the tables' networks.

    They are called as the network: `yolov7.pt`, `.pth`, `.safetensors`, or a folder `yolov7` with a manifest. networks:
    only these, all where empty. Raises UsageError where there are none.
    """
    from edgeyolo.errors import UsageError
    from edgeyolo_bench.paper.paper_tables import PaperRow, table

    rows = (row.network for number in numbers for row in table(number) if isinstance(row, PaperRow))
    known = dict.fromkeys(name for name in rows if name)
    found = {}
    for name in tuple(networks) or known:
        files = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
        file = next((file for file in files if file.is_file() or (file / "manifest.json").is_file()), None)
        if file is not None:
            found[name] = file
    if not found:
        raise UsageError(
            f"{folder}: no weights of a network with a row in these tables",
            hint=f"Expected files such as {next(iter(known))}.pt; there may be {', '.join(known)}.",
        )
    return found
