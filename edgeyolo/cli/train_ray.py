"""`edgeyolo train --engine ray`: a run of several processes, begun or resumed."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.cli.idle_options import refuse_idle
from edgeyolo.cli.train_options import resumable

if TYPE_CHECKING:
    from edgeyolo.training.config import TrainConfig
    from edgeyolo.training.sources import DataSource


def refuse_unfit_for_ray(options: dict[str, Any]) -> None:
    """Raise UsageError for options that do not go with the engine.

    It is Ray; or it is not, and --processes is given.
    """
    from edgeyolo.errors import UsageError

    if options["engine"] != "ray":
        refuse_idle({"processes"}, "for --engine ray", hint="Add --engine ray, or use torchrun.")
        return
    refuse_idle(
        {"qat", "distill", "calib_images", "search", "space", "tensorboard"},
        "cannot be had with --engine ray",
        hint="Leave one out.",
    )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "--engine ray starts its processes itself, and torchrun did too", hint="Leave one out."
        )


def begin_by_ray(
    model: str, folder: Path, source: DataSource, options: dict[str, Any], *, config: TrainConfig, **run: Any
) -> list[dict[str, Any]]:
    """Train in the folder with the processes of Ray."""
    from edgeyolo.training.ray_engine import Job, train_by_ray

    run["weights"] = _absolute(run["weights"])
    job = Job(
        folder, source.absolute(), _absolute(model) or model, config, threads=options["threads"] or 1,
        gpu=config.device.startswith("cuda"), command=tuple(sys.argv), **run,
    )  # fmt: skip
    with _told(folder):
        return train_by_ray(job, options["processes"] or 1)


def resume_by_ray(
    folder: Path, source: DataSource, epochs: int | None, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Go on with the run in the folder."""
    from edgeyolo.training.config import settings_of
    from edgeyolo.training.loop.state import read_facts
    from edgeyolo.training.loop.trainer import STATE
    from edgeyolo.training.ray_engine import Job, train_by_ray

    config, _ = settings_of(read_facts(folder / STATE))
    job = Job(
        folder, source.absolute(), config=config, threads=options["threads"] or 1, epochs=epochs,
        gpu=config.device.startswith("cuda"), command=tuple(sys.argv),
    )  # fmt: skip
    with _told(folder):
        return train_by_ray(job, options["processes"] or 1)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    from edgeyolo.training.loop.trainer import STATE

    with resumable(f"edgeyolo train --resume {shlex.quote(str(folder))}", folder / STATE):
        yield


def _absolute(file: str | Path | None) -> str | None:
    """The absolute path of a file that is there; a name as it is."""
    if file is None:
        return None
    return str(Path(file).absolute()) if Path(file).is_file() else str(file)
