"""The engine of Ray Train: processes of a cluster train one network together.

Ray starts them, keeps the checkpoints and starts all of them again where one is lost. A checkpoint is the run's own
state.safetensors. The data and the folder of the run lie on storage that every node has under the same name.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.models.topology import Activation
from edgeyolo.support.cluster import ray_session, require_ray
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.loop.listener import Listener, Listeners
from edgeyolo.training.loop.state import Position
from edgeyolo.training.loop.trainer import OCCUPIED, STATE
from edgeyolo.training.recipe import Recipe
from edgeyolo.training.sources import DataSource

CHECKPOINTS = "ray"
"""The folder, in that of the run, where Ray keeps its checkpoints and its account of the run."""

FAILURES = 3
"""Lost processes, after each of which all go on from the last checkpoint."""


@dataclass(frozen=True)
class Job:
    """A run for Ray: what every process needs to begin it or to go on with it.

    model, weights, activation, autoanchor, config, recipe: as for `train`, and not used where the folder has a state.
    threads: of each process. epochs: in place of the run's own. command: words of the command line, for settings.yaml.
    """

    folder: Path
    source: DataSource
    model: str = ""
    config: TrainConfig | None = None
    recipe: Recipe | None = None
    weights: str | None = None
    activation: Activation | None = None
    autoanchor: bool = True
    threads: int = 1
    epochs: int | None = None
    gpu: bool = False
    command: tuple[str, ...] = ()


def train_by_ray(job: Job, processes: int) -> list[dict[str, Any]]:
    """Train, or go on, with so many processes of a cluster.

    Returns the table of epochs, as `train` does. The cluster is the one of RAY_ADDRESS, or the one that runs on this
    machine, or a new one here that ends with it. Where a process is lost, all go on from the last checkpoint, at most
    FAILURES times.

    Raises:
        RuntimeMissingError: Ray Train is not installed.
        UsageError: a batch that cannot be shared by so many processes, or a folder that holds a run already.
        EdgeYoloError: what a process could not do, or Ray.
    """
    ray = require_ray("train", "train.torch")
    if job.config is not None and job.config.batch_size % processes:
        raise UsageError(
            f"batch_size={job.config.batch_size}: expected a multiple of the {processes} processes"
        )
    folder = job.folder.absolute()
    if job.model and (folder / STATE).exists():
        raise UsageError(f"{job.folder} holds a run already", hint=OCCUPIED)
    # Of an earlier session: the folder's own state is at least as new.
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    with ray_session(ray, show_workers=True):
        trainer = ray.train.torch.TorchTrainer(
            _work,
            train_loop_config={"job": job, "folder": folder},
            scaling_config=ray.train.ScalingConfig(
                num_workers=processes,
                use_gpu=job.gpu,
                resources_per_worker={"CPU": job.threads, "GPU": int(job.gpu)},
            ),
            run_config=ray.train.RunConfig(
                name=CHECKPOINTS,
                storage_path=str(folder),
                failure_config=ray.train.FailureConfig(max_failures=FAILURES),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
                logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            ),
        )
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _explained(error) from error
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    history: list[dict[str, Any]] = result.metrics["history"]
    return history


def _work(values: dict[str, Any]) -> None:
    """Begin the run in one process, or go on with it.

    It goes on from Ray's checkpoint, else from the state in the folder.
    """
    import torch
    import torch.distributed as dist
    from ray import train as cluster

    from edgeyolo.training.run import resume, train

    logging.getLogger().setLevel(logging.WARNING)  # Ray shows all that libraries would say
    job, folder = values["job"], values["folder"]
    sys.argv = list(job.command)
    torch.set_num_threads(job.threads)
    leads = cluster.get_context().get_world_rank() == 0
    checkpoint = cluster.get_checkpoint()
    if checkpoint is not None and leads:
        with checkpoint.as_directory() as kept:
            _copy(Path(kept) / STATE, folder / STATE)
    if dist.is_initialized():
        dist.barrier()
    data = job.source.load()
    reporter = _Reporter(cluster, leads)
    listener = Listeners([reporter, *(_listeners(job, folder, data) if leads else ())])
    if (folder / STATE).is_file():
        history = resume(folder, data.training, data.validation, epochs=job.epochs, listener=listener)
    else:
        history = train(
            job.model, data.training, data.validation, folder, config=job.config, recipe=job.recipe,
            listener=listener, autoanchor=job.autoanchor, weights=job.weights, activation=job.activation,
        )  # fmt: skip
    # Ray hands back what came with the last checkpoint.
    reporter.report(folder / STATE, {"history": history})


def _listeners(job: Job, folder: Path, data: Any) -> list[Listener]:
    """Listeners of the leading process, which tells and writes of the run."""
    from edgeyolo.training.report.pages import PageListener
    from edgeyolo.training.report.progress import ProgressListener
    from edgeyolo.training.report.settings import SettingsListener
    from edgeyolo.training.sources import SourceListener

    kept = (SourceListener(folder, job.source), SettingsListener(folder, job.source))
    return [ProgressListener(), *kept, PageListener(folder, data.training.class_names)]


class _Reporter(Listener):
    """Gives Ray every saved state as a checkpoint.

    All processes report, the leading one the file.
    """

    def __init__(self, cluster: Any, leads: bool) -> None:
        self._cluster, self._leads = cluster, leads

    def saved(self, state: Path, position: Position) -> None:
        self.report(state, {"epoch": position.epoch, **(position.history[-1] if position.history else {})})

    def report(self, state: Path, metrics: dict[str, Any]) -> None:
        """Give Ray the state, and numbers with it."""
        if not self._leads:
            self._cluster.report(metrics)
            return
        # Beside the state: a link costs nothing, and Ray copies the file once, to its storage.
        with tempfile.TemporaryDirectory(dir=state.parent, prefix=".checkpoint-") as made:
            _link(state, Path(made) / STATE)
            self._cluster.report(metrics, checkpoint=self._cluster.Checkpoint.from_directory(made))


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # a file system without links
        shutil.copyfile(source, place)


def _copy(source: Path, place: Path) -> None:
    """Put a checkpoint's state in the place of the run's own, whole or not at all."""
    from edgeyolo.support.files import atomic_file

    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(place) as draft:
        shutil.copyfile(source, draft)


def _explained(error: Any) -> EdgeYoloError:
    """A process's own error where it was raised on purpose, else Ray's in a sentence."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, EdgeYoloError):
            return cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return EdgeYoloError(f"Ray: {lines[-1] if lines else type(error).__name__}", hint="Its log is above.")
