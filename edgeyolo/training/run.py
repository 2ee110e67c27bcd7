"""Training from a data set and a network's name to weights in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from edgeyolo.datasets import Dataset, describe_problems
from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.build import build
from edgeyolo.models.importer import import_checkpoint
from edgeyolo.models.network import Network
from edgeyolo.models.network_spec import Spec, spec_from_json
from edgeyolo.models.topology import Activation
from edgeyolo.models.weights import is_weights, read_info
from edgeyolo.training.config import TrainConfig, settings_of
from edgeyolo.training.data.anchors import ENOUGH, find_anchors, flat, measure_fit, object_sides
from edgeyolo.training.finish import finish, go_on
from edgeyolo.training.loop.batch_size import settle_batch
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.processes import join_processes
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import read_facts
from edgeyolo.training.loop.trainer import OCCUPIED, STATE, Trainer
from edgeyolo.training.loop.transfer import transfer
from edgeyolo.training.recipe import SHORT, Recipe, recipe_for

_NAMES = f"Names: {', '.join(specs.known())}."

FEW_STEPS = 3000
"""Of SGD from scratch, below which a run is told of the recipe "short": a round number between those of the runs that
are compared beside `SHORT`."""


def starting_size(weights: str | Path) -> tuple[int, str]:
    """The side of pictures to go on from weights with, and a sentence on it.

    It is the one that they were trained at, of a rectangle the longer; where they do not say, TrainConfig's.

    Raises what `import_checkpoint` does, and UsageError where there is no file.
    """
    name = Path(weights).name
    if not Path(weights).is_file():
        raise UsageError(f"{weights}: neither a network's name nor a weights file", hint=_NAMES)
    known = read_info(weights).size if is_weights(weights) else import_checkpoint(weights).size
    if known is None:
        side = TrainConfig.image_size
        return (
            side,
            f"{name} does not say what size it was trained at: {side} is a guess; --imgsz says another",
        )
    return max(known), f"pictures of {max(known)} pixels, as {name} was trained at; --imgsz says another size"


@dataclass(frozen=True)
class Start:
    """A network to train, with sentences on how it came about."""

    network: Network
    notes: tuple[str, ...]


def prepare_network(
    model: str | Path,
    class_names: Sequence[str],
    dataset: Dataset,
    image_size: int,
    *,
    seed: int = 0,
    anchor_ratio: float = 4.0,
    autoanchor: bool = True,
    weights: str | Path | None = None,
    activation: Activation | None = None,
) -> Start:
    """A network in training form for `class_names`.

    Fresh if `model` is a name, else from a weights file.

    activation: in place of the network's own, whatever the weights were trained with; a note says where they differ.
    Fresh networks whose anchors suit less than 98 % of the objects get new ones. weights: a file from which a
    network called by its name takes all that fits, and the anchors.
    """
    torch.manual_seed(seed)
    if str(model) in specs.known():
        spec, notes = specs.find(str(model)), list[str]()
        if activation:
            spec = specs.with_activation(spec, activation)
        if weights is not None:
            return _from_weights(weights, class_names, spec)
        if autoanchor:
            spec, notes = suit_anchors(spec, dataset, image_size, anchor_ratio)
        return Start(build(spec, len(class_names)), tuple(notes))
    if weights is not None:
        raise UsageError(f"{model} brings weights already, so {weights} cannot be taken too", hint=_NAMES)
    if not Path(model).is_file():
        raise UsageError(
            f"{model}: neither a network's name nor a weights file",
            hint=_NAMES,
        )
    return _from_weights(model, class_names, activation=activation)


def train(
    model: str | Path,
    training: Dataset,
    validation: Dataset | None,
    folder: str | Path,
    *,
    config: TrainConfig | None = None,
    recipe: Recipe | None = None,
    listener: Listener | None = None,
    autoanchor: bool = True,
    weights: str | Path | None = None,
    activation: Activation | None = None,
) -> list[dict[str, Any]]:
    """Train a network and return the table of epochs.

    Args:
        model: a network's name, to train from scratch, or a weights file, to start from (classes may differ).
        training: images and boxes to learn from; its classes become the network's.
        validation: images and boxes to measure AP on, with the same classes; None measures none.
        folder: gets weights, state, table (see Trainer) and pictures.
        config: epochs, batch size, image size in pixels, device and precision; by default TrainConfig().
        recipe: hyperparameters; by default the network's own, or "custom" where the run starts from weights.
        listener: told of every iteration and epoch.
        autoanchor: give a fresh network new anchors where its own suit less than 98 % of the objects.
        weights: a file from which a network called by its name takes all that fits.
        activation: in place of the network's own.

    Returns:
        One row per epoch: epoch, lr, mean losses (box, obj, cls, loss), AP and AP50 as fractions of 1 (None where the
        epoch was not validated), seconds.

    Raises:
        UsageError: no such network or file, a folder that holds a run already (`resume` it), or settings that
            do not fit.
        DatasetError: no picture can be read, or labels contradict their images.
    """
    folder, config = Path(folder), config or TrainConfig()
    # Processes join first, so that all of them come to the same refusals.
    processes = join_processes(config.device, config.batch_size)
    if (folder / STATE).exists():
        raise UsageError(f"{folder} holds a run already", hint=OCCUPIED)
    fresh = str(model) in specs.known() and weights is None
    recipe = recipe or recipe_for(str(model), fine_tuning=not fresh)
    start = prepare_network(
        model,
        training.class_names,
        training,
        config.image_size,
        seed=config.seed,
        anchor_ratio=recipe.anchor_t,
        autoanchor=autoanchor,
        weights=weights,
        activation=activation,
    )
    listener = listener or Listener()
    for sentence in (*describe_problems(training.problems), *start.notes):
        listener.note(sentence)
    config = replace(config, device=processes.device)
    trainer = Trainer(
        start.network,
        training.class_names,
        training,
        validation,
        recipe=recipe,
        config=settle_batch(start.network, training, recipe, config, processes, tell=listener.note),
        folder=folder,
        processes=processes,
        listener=listener,
    )
    if fresh and (advice := advice_from_scratch(trainer.schedule)):
        listener.note(advice)
    return finish(trainer)


def advice_from_scratch(schedule: Schedule) -> str:
    """A sentence for a run from scratch that is too short for its optimiser.

    "" for others.
    """
    if schedule.recipe.optimizer != "sgd" or schedule.steps >= FEW_STEPS:
        return ""
    return (
        f"{schedule.steps} steps of SGD are few for a network from scratch: --recipe short makes one of every batch of "
        f"{SHORT.nominal_batch} pictures or more, and each learns more"
    )


def resume(
    folder: str | Path,
    training: Dataset,
    validation: Dataset | None,
    *,
    epochs: int | None = None,
    listener: Listener | None = None,
) -> list[dict[str, Any]]:
    """Go on with the run in `folder`, as it was configured, on the same data.

    The listener is told where the data has changed since, and of a run that has ended already how to train longer.

    Args:
        folder: of a run that `train` began and that was interrupted.
        training, validation: the data of that run.
        epochs: train to so many in all instead, with the state of the optimiser and the learning rate of such a run.
        listener: told of every iteration and epoch.

    Returns:
        The table of all epochs, those before the interruption included; see `train`.

    Raises:
        UsageError: other classes than the run's, no run in `folder`, or fewer `epochs` than are done.
        DamagedFileError: the state of the run cannot be read.
    """
    # A quantized run has another network and another step; its state says so.
    facts = read_facts(Path(folder) / STATE)
    if "technique" in facts:
        from edgeyolo.training.quantized import resume_quantized

        return resume_quantized(Path(folder), facts, training, validation, epochs=epochs, listener=listener)
    config, recipe = settings_of(facts)
    if tuple(facts["class_names"]) != training.class_names:
        raise UsageError(
            f"{folder}: the run's classes are {', '.join(facts['class_names'])}; the data's are "
            f"{', '.join(training.class_names)}"
        )
    processes = join_processes(config.device, config.batch_size)
    spec = spec_from_json(facts["network"], str(folder))
    trainer = Trainer(
        build(spec, len(training.class_names)),
        training.class_names,
        training,
        validation,
        recipe=recipe,
        config=replace(config, device=processes.device, epochs=epochs or config.epochs),
        folder=Path(folder),
        processes=processes,
        listener=listener,
    )
    return go_on(trainer)


def _from_weights(
    file: str | Path,
    class_names: Sequence[str],
    spec: Spec | None = None,
    activation: Activation | None = None,
) -> Start:
    """A network of `spec`, or of the file's own, with what fits of the file's weights."""
    imported = import_checkpoint(file)
    source, names = imported.network, imported.class_names
    if source.form == "plain":
        raise UsageError(
            f"{file}: its batch norms are folded into plain convolutions, so it cannot be trained on",
            hint="Start from the weights before re-parameterization.",
        )
    spec = spec or source.spec
    if activation:
        spec = specs.with_activation(spec, activation)
    # The weights of a head are learned relative to its anchors, so these come along where they fit.
    if [len(level) for level in spec.anchors] == [len(level) for level in source.spec.anchors]:
        spec = replace(spec, anchors=source.spec.anchors)
    network = build(spec, len(class_names))
    report = transfer(network, class_names, source, names)
    if not report.taken:
        raise UsageError(
            f"{file} is a {source.spec.name}: nothing of it fits {spec.name}",
            hint=f"Train {source.spec.name}, or start from weights of {spec.name}.",
        )
    notes = report.sentences()
    if spec.act != source.spec.act:
        notes.append(
            f"the weights were trained with {source.spec.act}, this network has {spec.act}: AP begins low and is "
            "learned again"
        )
    return Start(network, tuple(notes))


_S = TypeVar("_S", bound=Spec)


def suit_anchors(spec: _S, dataset: Dataset, image_size: int, ratio: float) -> tuple[_S, list[str]]:
    """The spec with anchors that suit the objects, and sentences on them.

    Unchanged where its own are enough.
    """
    sides = object_sides(dataset, image_size)
    if not len(sides):
        return spec, []
    before = measure_fit(flat(spec.anchors), sides, ratio)
    notes = [f"the anchors suit {before.recall:.1%} of the objects, {before.per_object:.1f} anchors each"]
    if before.recall >= ENOUGH:
        return spec, notes
    found = find_anchors(sides, spec.levels, len(spec.anchors[0]), ratio=ratio)
    after = measure_fit(flat(found), sides, ratio)
    if after.recall <= before.recall:
        return spec, [*notes, "none better were found"]
    return replace(spec, anchors=found), [*notes, f"new anchors suit {after.recall:.1%}"]
