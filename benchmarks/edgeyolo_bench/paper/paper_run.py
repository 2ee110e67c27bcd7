"""Measure the rows of the paper's tables on this machine.

The networks at the paper's sizes, with the user's weights or with random ones, in the paper's protocol.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo.models import specs
from edgeyolo_bench.limits.gpu_peaks import measure_gpu_peaks
from edgeyolo_bench.limits.peaks import measure_peaks
from edgeyolo_bench.measure.jobs import Wanted, make_jobs
from edgeyolo_bench.measure.measure import Labelled, Listener, measure
from edgeyolo_bench.measure.physics import with_limits
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.paper.paper_tables import PROTOCOLS, PaperRow, table
from edgeyolo_bench.paper.table10 import with_other_iou
from edgeyolo_bench.values.measurement import Failure
from edgeyolo_bench.values.report import Report, gather, join

# Runtimes by device: those that a person would take for speed; any other device's own runtimes, in the paper's FP16.
_CPU = ("openvino", "onnx")


@dataclass(frozen=True)
class PaperRun:
    """Rows of the paper to measure.

    They are tables by number, networks (all of the tables where empty), targets; `weights` maps networks to
    files or artifacts, the others get random ones. A size in `wanted` replaces the paper's image sizes.
    `device` is what the report calls this machine, `command` what was typed.
    """

    numbers: tuple[int, ...]
    wanted: Wanted
    networks: tuple[str, ...] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)
    labelled: Labelled | None = None
    limits: bool = True
    device: str = ""
    command: str = ""


@dataclass(frozen=True, order=True)
class Cell:
    """One network at one image size and batch: what a row needs."""

    place: int
    network: str
    imgsz: int
    batch: int

    @property
    def name(self) -> str:
        """Name in the report where the network occurs several times."""
        return f"{self.network}-{self.imgsz}" + (f"-batch{self.batch}" if self.batch > 1 else "")


def cells(run: PaperRun) -> tuple[Cell, ...]:
    """Cells that the rows of the tables need.

    Each once: the eight, smallest first, then the baselines.

    Raises UsageError for a network that is in none of the tables, and for weights of a network that is not measured.
    """
    side = _side(run.wanted)
    order, rows = specs.known(), _rows(run.numbers)
    chosen = [row for row in rows if not run.networks or row.network in run.networks]
    found = {
        Cell(order.index(row.network), row.network, side or row.imgsz, _batch(row, run.wanted))
        for row in chosen
        if row.network and row.imgsz
    }
    known = {row.network for row in rows if row.network}
    for name in (*run.networks, *run.weights):
        if name not in known:
            raise UsageError(
                f"{name} has no row in these tables", hint=f"They have {', '.join(sorted(known))}."
            )
    return tuple(sorted(_once_for_artifacts(found, run.weights)))


def _once_for_artifacts(found: Iterable[Cell], weights: Mapping[str, Path]) -> Iterator[Cell]:
    """Keep one cell for each artifact.

    It has its own size and batch, and is measured once, whatever sizes its rows have.
    """
    seen: set[str] = set()
    for cell in sorted(found):
        if cell.network in weights and weights[cell.network].is_dir():
            if cell.network not in seen:
                contract = Artifact.open(weights[cell.network]).manifest.input
                yield replace(cell, imgsz=max(contract.size), batch=contract.batch)
            seen.add(cell.network)
        else:
            yield cell


def _rows(numbers: Sequence[int]) -> list[PaperRow]:
    return [row for number in numbers for row in table(number) if isinstance(row, PaperRow)]


def _side(wanted: Wanted) -> int | None:
    """The side of the squares that --imgsz asks for, None for the paper's."""
    if wanted.size is None:
        return None
    height, width = wanted.size
    if height != width:
        raise UsageError(
            f"--imgsz {height}x{width}: the paper's tables are of square images", hint=f"--imgsz {width}"
        )
    return height


def _batch(row: PaperRow, wanted: Wanted) -> int:
    """Batch of a table's rows.

    Table 1's milliseconds are of batch 32; rows without them have no speed to compare and run as Table 2's.
    """
    if wanted.batch != 1:
        return wanted.batch
    return PROTOCOLS[1].batch or 1 if row.batch32_ms is not None else 1


def default_targets(device: str) -> tuple[str, ...]:
    """Targets of a device that can be made and run here.

    The device is a name of `edgeyolo.backend.devices`. CPUs have those of OpenVINO and ONNX Runtime in
    float32, other devices those in the paper's float16.

    Raises UsageError for a device that is none, RuntimeMissingError where none of its targets can be measured, with the
    reason of the first.
    """
    wanted, found, reasons = registry.parse_device(device), [], []
    for profile, backend in registry.profiles():
        target = profile.target
        on_cpu = target.device == "cpu" and target.runtime in _CPU and target.precision == "fp32"
        fits = on_cpu or (target.device != "cpu" and target.precision == "fp16")
        if not wanted.admits(target) or not fits:
            continue
        states = (backend.can_compile(), backend.can_run())
        reasons += [f"{target}: {state.reason}" for state in states if not state.ok]
        if all(state.ok for state in states):
            found.append(target)
    if not found:
        reason = reasons[0] if reasons else "it has no target in the paper's float16; name one with --target"
        raise RuntimeMissingError(f"device {wanted}: nothing to measure here: {reason}")
    return tuple(
        str(target) for target in sorted(found, key=lambda target: (target.device != "cpu", _order(target)))
    )


def _order(target: Target) -> int:
    return _CPU.index(target.runtime) if target.runtime in _CPU else len(_CPU)


def run_tables(run: PaperRun, listener: Listener) -> Report:
    """Measure network by network, the targets of each in turns, and give one report.

    A network that fails is in the report's `failures`; where all fail, the first error is raised. Ctrl-C gives a
    report of what was completed.
    """
    wanted = cells(run)
    several = Counter(cell.network for cell in wanted)
    # The machine's limits once for all networks, so that all stand under one roofline.
    limits = partial(with_limits, measure=cache(measure_peaks), measure_gpu=cache(measure_gpu_peaks))

    def measure_cell(cell: Cell) -> Report:
        name = cell.name if several[cell.network] > 1 else cell.network
        return _measure(run, cell, listener, name, limits)

    return gather(wanted, measure_cell, lambda cell: f"{cell.network} at {cell.imgsz}", join)


def _measure(
    run: PaperRun, cell: Cell, listener: Listener, name: str, limits: Callable[..., Report]
) -> Report:
    scenario = replace(run.wanted.scenario, query_images=cell.batch)
    wanted = replace(run.wanted, scenario=scenario, size=(cell.imgsz, cell.imgsz), batch=cell.batch)
    if cell.network in run.weights and run.weights[cell.network].is_dir():
        wanted = replace(wanted, size=None, targets=())  # an artifact's own
    with _models(run, cell, wanted, listener.step) as (models, failed):
        random = cell.network not in run.weights
        jobs, failures = make_jobs(models, wanted, listener.step, listener.remark)
        jobs = [replace(_checked(job, cell.network), name=name, random_weights=random) for job in jobs]
        labelled = None if random else run.labelled
        failures = [*failed, *failures]
        report = measure(
            jobs, failures, labelled=labelled, device=run.device, command=run.command, listener=listener
        )
        if labelled and 10 in run.numbers and not report.interrupted:
            report = with_other_iou(report, jobs, labelled, listener)
        if not run.limits or report.interrupted:
            return report
        listener.step("measuring this machine's limits")
        return limits(report, jobs, threads=wanted.threads)


def _checked(job: Job, network: str) -> Job:
    """The job, if its artifact is of that network.

    Else its row would compare one network with another.
    """
    model = Artifact.open(job.artifact).manifest.model
    if model != network:
        raise UsageError(
            f"--weights {network}=...: they are of the network {model!r}",
            hint=f"--weights {model}=FILE, if the tables have it.",
        )
    return job


@contextmanager
def _models(
    run: PaperRun, cell: Cell, wanted: Wanted, step: Callable[[str], None]
) -> Iterator[tuple[Sequence[Path], Sequence[Failure]]]:
    """The user's weights.

    Networks without weights get artifacts of random ones, which are large and removed again. What failed is
    given too.
    """
    if cell.network in run.weights:
        yield [run.weights[cell.network]], []
        return
    from edgeyolo.export import ExportOptions, export
    from edgeyolo_bench.measure.random_weights import save_random

    # Random weights detect nothing that could be judged.
    options = ExportOptions(
        size=wanted.size, batch=wanted.batch, calibration=wanted.calibration, unjudged=True
    )
    made, errors = [], []
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        weights = Path(folder) / f"{cell.network}.safetensors"
        step(f"making random weights of {cell.network}")
        save_random(weights, specs.find(cell.network))
        for target in wanted.targets:
            step(f"exporting {cell.network} at {cell.imgsz} for {target}")
            try:
                made.append(export(weights, target, Path(folder) / target, options).path)
            except EdgeYoloError as error:
                errors.append((f"{cell.network} {target}", error))
        if not made:
            raise errors[0][1]
        weights.unlink()
        yield made, [Failure.of(name, error) for name, error in errors]
