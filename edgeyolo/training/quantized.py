"""Quantization-aware training.

A trained network learns on with the roundings of its INT8 form, and so learns to bear them. Where the
roundings stand is the calibration package's to say; it is found through the registry.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.registry import quantized_training
from edgeyolo.datasets import Dataset, align_classes, describe_problems
from edgeyolo.errors import UsageError
from edgeyolo.export.options import network_maps
from edgeyolo.export.source import NetworkSource
from edgeyolo.models import weights
from edgeyolo.models.build import build
from edgeyolo.models.importer import import_checkpoint
from edgeyolo.models.network import Network
from edgeyolo.models.network_spec import spec_from_json
from edgeyolo.models.reparameterize import reparameterize
from edgeyolo.training.config import TrainConfig, settings_of
from edgeyolo.training.finish import finish, go_on
from edgeyolo.training.loop.batch_size import settle_batch
from edgeyolo.training.loop.listener import Listener, Listeners
from edgeyolo.training.loop.processes import join_processes
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position
from edgeyolo.training.loop.trainer import OCCUPIED, STATE, Trainer
from edgeyolo.training.recipe import QAT, Recipe

Progress = Callable[[int, int | None], None]

TEACHER = "weights/teacher.safetensors"

EPOCHS = 10
"""Of a run that asks for no other number."""

CLIP = 10.0
"""Largest norm of the gradient where the configuration names none. Convolutions whose batch norms are folded are held
back by the learning rate alone: with SGD at 1e-3 and 320 pixels norms grew from 5 to 1200 in ten steps."""

_OPSET = 18  # of the graph that says where quantizers stand; names do not depend on it


@dataclass(frozen=True)
class QuantizedOptions:
    """Settings beside those of every run.

    `images` to measure the first ranges on, and the gain of the distillation from the float network, 0 for
    none.
    """

    images: int = 300
    distill: float = 0.0


def train_quantized(
    model: str | Path,
    training: Dataset,
    validation: Dataset | None,
    folder: str | Path,
    *,
    config: TrainConfig,
    recipe: Recipe = QAT,
    options: QuantizedOptions = QuantizedOptions(),
    listener: Listener | None = None,
    measuring: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
) -> list[dict[str, Any]]:
    """Fine-tune the weights file `model` for INT8 and return the table of epochs.

    `folder` as in `run.train`.

    The network is re-parameterized first: quantizers stand in the deployed graph, batch norms folded. Weights files of
    the run hold the plain network, and the ranges that it learned. Classes must be those of the file, in any order.
    Gradients are clipped, to `CLIP` unless `config` says otherwise. `measuring` shows how the first ranges are found.
    """
    folder, listener = Path(folder), listener or Listener()
    config = replace(config, clip=config.clip or CLIP)
    processes = join_processes(config.device, config.batch_size)
    if (folder / STATE).exists():
        raise UsageError(f"{folder} holds a run already", hint=OCCUPIED)
    network, names = _start(model)
    training = align_classes(training, names)
    validation = align_classes(validation, names) if validation is not None else None
    for sentence in describe_problems(training.problems):
        listener.note(sentence)
    # Quantizers stand where those of the exported graph do: training rounds as the deployed runtime will.
    aware = quantized_training()
    teacher = copy.deepcopy(network) if options.distill else None  # training begins from rounded weights
    with _graph(network, training.class_names, config.image_size) as source:
        with measuring() as progress:
            module, facts = aware.prepare(
                network, source.onnx(opset=_OPSET), source.input, training,
                images=options.images, seed=config.seed, progress=progress,
            )  # fmt: skip
        if teacher is not None:
            listener = Listeners([listener, _TeacherListener(folder, teacher, training.class_names, model)])
            teacher.to(processes.device)
        technique = aware.technique(source.onnx(opset=_OPSET), facts, teacher, options.distill)
    config = replace(config, device=processes.device)
    config = settle_batch(
        module, training, recipe, config, processes, tell=listener.note, technique=technique
    )
    trainer = Trainer(
        module, training.class_names, training, validation, recipe=recipe, config=config, folder=folder,
        processes=processes, listener=listener, technique=technique,
    )  # fmt: skip
    return finish(trainer)


def resume_quantized(
    folder: Path,
    facts: dict[str, Any],
    training: Dataset,
    validation: Dataset | None,
    *,
    epochs: int | None = None,
    listener: Listener | None = None,
) -> list[dict[str, Any]]:
    """Go on with the run in `folder`, whose state says `facts`; see `run.resume`."""
    config, recipe = settings_of(facts)
    processes = join_processes(config.device, config.batch_size)
    names = tuple(facts["class_names"])
    training = align_classes(training, names)
    validation = align_classes(validation, names) if validation is not None else None
    network = build(spec_from_json(facts["network"], str(folder)), len(names), "plain")
    aware, about = quantized_training(), facts["technique"]
    teacher = weights.load(folder / TEACHER).network.to(processes.device) if about["distill"] else None
    with _graph(network, training.class_names, config.image_size) as source:
        graph = source.onnx(opset=_OPSET)
        module = aware.restore(network, graph)
        technique = aware.technique(graph, about, teacher, about["distill"])
    config = replace(config, device=processes.device, epochs=epochs or config.epochs)
    trainer = Trainer(
        module, training.class_names, training, validation, recipe=recipe, config=config, folder=folder,
        processes=processes, listener=listener, technique=technique,
    )  # fmt: skip
    return go_on(trainer)


class _TeacherListener(Listener):
    """Writes the float network that a run stays near.

    When the run begins and has its folder for itself.
    """

    def __init__(self, folder: Path, network: Network, names: tuple[str, ...], model: str | Path) -> None:
        self._file, self._network, self._names, self._model = folder / TEACHER, network, names, model

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        if join_processes(config.device, config.batch_size).leads:
            weights.save(self._file, self._network, self._names, {"file": str(self._model)})


def _start(model: str | Path) -> tuple[Network, tuple[str, ...]]:
    """The trained network in plain convolutions, and its class names."""
    if not Path(model).is_file():
        raise UsageError(
            f"{model}: quantization-aware training starts from trained weights, and there is no such file",
            hint="Train the network first, then give weights/best.safetensors of that run.",
        )
    imported = import_checkpoint(model)
    return reparameterize(imported.network).network, imported.class_names


@contextmanager
def _graph(network: Network, class_names: tuple[str, ...], size: int) -> Iterator[NetworkSource]:
    """The network as the export would write it."""
    output = network_maps(network.spec, network.classes)
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as scratch:
        yield NetworkSource(network, InputContract(size, size), output, class_names, Path(scratch))
