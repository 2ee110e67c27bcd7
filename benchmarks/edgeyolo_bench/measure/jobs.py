"""Jobs of what the user named.

Artifacts are taken as they are, weights exported for each target through the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.trained_size import manifest_remark
from edgeyolo.backend import registry
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo_bench.measure.scenarios import Scenario
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.measure.workload import Workload
from edgeyolo_bench.values.measurement import Failure

if TYPE_CHECKING:
    from edgeyolo.backend.interface import CalibrationSource

DEFAULT_TARGET = "cpu-onnx-fp32"


@dataclass(frozen=True)
class Wanted:
    """Common settings of the jobs of a call.

    `runs_here` is False where another device will run them: then only the toolchain must be here. `sweep` are several
    sizes in place of `size`: weights are measured at each, an artifact's own must be among them.
    """

    scenario: Scenario
    workload: Workload
    targets: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    batch: int = 1
    threads: int | None = None
    calibration: CalibrationSource | None = None
    runs_here: bool = True
    processes: int = 1
    sweep: tuple[tuple[int, int], ...] = ()


def make_jobs(
    models: Sequence[Path],
    wanted: Wanted,
    step: Callable[[str], None] = lambda _: None,
    remark: Callable[[str], None] = lambda _: None,
) -> tuple[list[Job], list[Failure]]:
    """A job for each artifact and for each pair of weights and target.

    It also gives what cannot be measured here. `remark` is told once of weights that are measured at another size than
    that of their training, or at a guess.

    Where nothing can be measured, the first error is raised.
    """
    jobs: list[Job] = []
    failures: list[Failure] = []
    errors: list[EdgeYoloError] = []
    told: set[str] = set()
    for model, target, at in _variants(models, wanted):
        name = f"{model.name if model.is_dir() else model.stem}{_at(at)} {target}".strip()
        try:
            place = _artifact_of(model, target, at, step)
            jobs.append(_job(model, place, at))
            if target and (text := _size_remark(model, place, at)) not in ("", *told):
                remark(text)
                told.add(text)
        except EdgeYoloError as error:
            errors.append(error)
            failures.append(Failure.of(name, error))
    if errors and not jobs:
        raise errors[0]
    return _distinct(jobs), failures


def _variants(models: Sequence[Path], wanted: Wanted) -> Iterator[tuple[Path, str, Wanted]]:
    """Every model with every target and, of weights, every size."""
    for model in models:
        for target in _targets_of(model, wanted):
            for size in wanted.sweep if target and wanted.sweep else (wanted.size,):
                yield model, target, replace(wanted, size=size)


def _at(wanted: Wanted) -> str:
    """End of a name that tells swept sizes apart."""
    if not wanted.sweep or wanted.size is None:
        return ""
    height, width = wanted.size
    return f"-{height}" if height == width else f"-{height}x{width}"


def split_targets(texts: Sequence[str]) -> tuple[str, ...]:
    """`("a,b", "c")` -> every target once, in order.

    One that does not exist is an error before any work is done.
    """
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(str(registry.find_target(part)[0].target) for part in parts))


def _size_remark(weights: Path, place: Path, wanted: Wanted) -> str:
    return manifest_remark(Artifact.open(place).manifest, weights.name, asked=wanted.size is not None)


def _targets_of(model: Path, wanted: Wanted) -> tuple[str, ...]:
    """Targets of a job: an artifact's own, or those asked for.

    An artifact knows its target; weights are measured on each one that was asked for.
    """
    if model.name == MANIFEST or model.is_dir():
        return ("",)
    return wanted.targets or (DEFAULT_TARGET,)


def _artifact_of(model: Path, target: str, wanted: Wanted, step: Callable[[str], None]) -> Path:
    if not target:
        return model.parent if model.name == MANIFEST else model
    _, backend = registry.find_target(target)
    if wanted.runs_here:  # said before minutes of exporting
        registry.require(backend.can_run(), f"{target} cannot be measured here")
    from edgeyolo.export.cache import cached_artifact

    step(f"exporting {model.name} for {target}")
    return cached_artifact(
        model, target, size=wanted.size, batch=wanted.batch, calibration=wanted.calibration, step=step
    ).path


def _job(model: Path, place: Path, wanted: Wanted) -> Job:
    manifest = Artifact.open(place).manifest
    target = str(manifest.target)
    asked = wanted.sweep or ((wanted.size,) if wanted.size else (manifest.input.size,))
    if manifest.input.size not in asked:
        height, width = manifest.input.size
        raise UsageError(
            f"{model}: --imgsz asks for another size than the artifact's, {height}x{width}",
            hint="Leave out --imgsz, or give bench the weights.",
        )
    if wanted.targets and target not in wanted.targets:
        raise UsageError(
            f"{model} was exported for {target}, not for {', '.join(wanted.targets)}",
            hint="Leave out --target, or give bench the weights.",
        )
    name = model.parent.name if model.name == MANIFEST else model.name if model.is_dir() else model.stem
    return Job(
        name + _at(wanted),
        target,
        place.resolve(),
        wanted.scenario,
        wanted.workload,
        wanted.threads,
        processes=wanted.processes,
    )


def _distinct(jobs: Sequence[Job]) -> list[Job]:
    """Number jobs of one name and target.

    An artifact may be measured against itself.
    """
    taken: set[str] = set()
    found = []
    for job in jobs:
        number, name = 1, job.name
        while replace(job, name=name).label in taken:
            number += 1
            name = f"{job.name} ({number})"
        found.append(replace(job, name=name))
        taken.add(found[-1].label)
    return found
