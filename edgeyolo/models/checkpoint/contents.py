"""Facts of a checkpoint about its network.

It says which weights count, and what shapes do not tell.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UntrustedFileError
from edgeyolo.models.checkpoint.archive import ACCEPTED, AGAIN, NOT_TORCH
from edgeyolo.models.checkpoint.modules import state_dict, walk_modules
from edgeyolo.models.checkpoint.reader import Checkpoint
from edgeyolo.models.checkpoint.records import ArrayRecord, ObjectRecord, TensorRecord
from edgeyolo.models.topology import Activation

# Exponential moving averages are what was validated, so they win over the weights in training.
_SOURCES = ("ema", "model", "state_dict", "model_state_dict")
_FACTS = ("epoch", "best_fitness", "updates")
_HEADS = ("Detect", "IDetect", "IAuxDetect")
_WRAPPERS = ("DataParallel", "DistributedDataParallel")
_LONGEST_NAME = 200
_SIZES = ("imgsz", "img_size", "image_size")  # what trainers of the family call the side of their pictures
_SETTINGS = ("opt", "args", "train_args")  # and where those that keep their options keep them
_BN_EPS = 1e-3


@dataclass(frozen=True)
class Contents:
    """The weights of one network, and what the file says about it.

    `tensors` has the published keys. `kind` is "models.yolo.Model" for a pickled model, or "state dict";
    `source` is the entry it came from ("ema", "model" ..., "" for the file itself). What the file does not
    say is None.
    """

    tensors: Mapping[str, TensorRecord]
    kind: str
    source: str
    activation: Activation | None = None
    class_names: tuple[str, ...] | None = None
    classes: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)  # epoch and the like; optimizer, ema: bool
    implicit_folded: bool = True  # in a fused model: the outputs hold its implicit knowledge already
    notes: tuple[str, ...] = ()


def read_contents(checkpoint: Checkpoint) -> Contents:
    """Find the network in a checkpoint.

    `ema` before `model`, a pickled model or a state dict.

    Raises EdgeYoloError where there is none, or where it computes something else than the family's do.
    """
    where, root = str(checkpoint.path), checkpoint.root
    source, network = _find_network(root, where)
    facts = _training_facts(root) if source else {}
    if isinstance(network, ObjectRecord):
        network = _unwrap(network)
        modules = walk_modules(network, where)
        names, notes = _class_names(network.state.get("names"), where)
        found = Contents(
            tensors=state_dict(network, where),
            kind=network.kind,
            source=source,
            activation=_activation(modules, where),
            class_names=names,
            classes=_declared_classes(modules),
            training=facts,
            implicit_folded=any("forward" in module.state for module in _heads(modules)),
            notes=notes,
        )
        _check_norms(modules, where)
    else:
        names, notes = _class_names(_listed_names(root) if source else None, where)
        tensors = _plain_tensors(network, where)
        found = Contents(tensors, "state dict", source, class_names=names, training=facts, notes=notes)
    _check_amount(found.tensors, checkpoint)
    return found


def _find_network(root: Any, where: str) -> tuple[str, ObjectRecord | dict[Any, Any]]:
    if isinstance(root, ObjectRecord):
        return "", root
    if not isinstance(root, dict):
        raise DamagedFileError(f"{where}: it holds a {type(root).__name__}, expected a dict", hint=ACCEPTED)
    for source in _SOURCES:
        candidate = root.get(source)
        if isinstance(candidate, ObjectRecord) or (isinstance(candidate, dict) and candidate):
            return source, candidate
    if any(isinstance(value, TensorRecord) for value in root.values()):
        return "", root
    found = ", ".join(repr(key)[:40] for key in list(root)[:8]) or "nothing"
    raise DamagedFileError(
        f"{where}: no network in it: expected `ema`, `model` or a state dict, found {found}", hint=ACCEPTED
    )


def _listed_names(root: Mapping[Any, Any]) -> Any:
    """Class names beside a state dict: `names`, or MMEngine's `dataset_meta`."""
    place: Any = root
    for key in ("meta", "dataset_meta"):
        place = place.get(key) if isinstance(place, dict) else None
    found = (place.get("CLASSES") or place.get("classes")) if isinstance(place, dict) else None
    return root.get("names") or found


def _unwrap(network: ObjectRecord) -> ObjectRecord:
    """The network inside the wrappers of training on several devices."""
    while network.class_name in _WRAPPERS:
        children = network.state.get("_modules")
        inner = children.get("module") if isinstance(children, dict) else None
        if not isinstance(inner, ObjectRecord):
            break  # the walk over the modules says what is missing
        network = inner
    return network


def _plain_tensors(values: Mapping[Any, Any], where: str) -> dict[str, TensorRecord]:
    for key, value in values.items():
        if type(key) is not str or not isinstance(value, TensorRecord):
            raise DamagedFileError(
                f"{where}: the entry {key!r:.60} of the state dict is a {type(value).__name__}, "
                "expected a tensor",
                hint=ACCEPTED,
            )
    return dict(values)


def _activation(modules: Mapping[str, ObjectRecord], where: str) -> Activation | None:
    """The one activation of all convolutions.

    Others than the family's would give wrong results silently.
    """
    kinds = {_activation_kind(module) for module in modules.values()} - {""}
    if not kinds:
        return None
    known: dict[str, Activation] = {"SiLU": "silu", "LeakyReLU(0.1)": "leaky_relu"}
    if len(kinds) > 1 or not kinds <= known.keys():
        raise EdgeYoloError(
            f"{where}: its activations are {', '.join(sorted(kinds))}; expected SiLU or LeakyReLU(0.1)"
        )
    return known[kinds.pop()]


def _activation_kind(module: ObjectRecord) -> str:
    if module.class_name == "LeakyReLU":
        slope = module.state.get("negative_slope")
        return f"LeakyReLU({slope if isinstance(slope, float) else '?'})"
    return "SiLU" if module.class_name == "SiLU" else ""


def _check_norms(modules: Mapping[str, ObjectRecord], where: str) -> None:
    for path, module in modules.items():
        if module.class_name in ("BatchNorm2d", "SyncBatchNorm"):
            eps = module.state.get("eps")
            if not isinstance(eps, float) or not math.isclose(eps, _BN_EPS, rel_tol=1e-6):
                found = eps if isinstance(eps, int | float) else type(eps).__name__
                raise EdgeYoloError(
                    f"{where}: {path} is a batch norm with eps {found}; those of the family have {_BN_EPS}"
                )


def _heads(modules: Mapping[str, ObjectRecord]) -> list[ObjectRecord]:
    return [module for module in modules.values() if module.class_name in _HEADS]


def _declared_classes(modules: Mapping[str, ObjectRecord]) -> int | None:
    declared = [module.state.get("nc") for module in _heads(modules)]
    return declared[-1] if declared and type(declared[-1]) is int else None


def _class_names(value: Any, where: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Names from a list, an array or a dict of index to name, and notes on them.

    A note says which names were no text in the file.
    """
    if isinstance(value, ArrayRecord):
        value = list(value.texts)
    if isinstance(value, dict) and set(value) == set(range(len(value))):
        value = [value[index] for index in range(len(value))]
    if not isinstance(value, list | tuple) or not value:
        return None, ()
    if not all(type(name) in (str, int, float, bool, type(None)) for name in value):
        raise DamagedFileError(f"{where}: its class names are not all text", hint=AGAIN)
    names = tuple(str(name).replace("\t", " ").strip() for name in value)
    for name in names:
        _check_printable(name, where)
    other = [name for name, given in zip(names, value, strict=True) if type(given) is not str]
    note = f"{len(other)} class names are no text in the file (YAML reads no and 7 otherwise): {', '.join(other[:8])}"
    return names, (note,) if other else ()


def _check_printable(name: str, where: str) -> None:
    """Refuse text that could disturb a terminal."""
    if len(name) > _LONGEST_NAME or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise UntrustedFileError(
            f"{where}: the class name {name[:40]!r} is no printable text", hint=NOT_TORCH
        )


def _training_facts(root: Mapping[Any, Any]) -> dict[str, Any]:
    facts = {key: root[key] for key in _FACTS if type(root.get(key)) in (int, float)}
    facts = {key: value for key, value in facts.items() if math.isfinite(value)}
    if size := _image_size(root):
        facts["image_size"] = size
    date = root.get("date")
    if isinstance(date, str) and date.isprintable():
        facts["date"] = date[:40]
    return facts | {"optimizer": root.get("optimizer") is not None, "ema": root.get("ema") is not None}


def _image_size(root: Mapping[Any, Any]) -> int | None:
    """Side of the square pictures of the training; None where it is not kept."""
    for holder in (root, *(root.get(name) for name in _SETTINGS)):
        options: Any = holder.state if isinstance(holder, ObjectRecord) else holder
        for name in _SIZES if isinstance(options, Mapping) else ():
            value = options.get(name)
            side = value[0] if isinstance(value, list | tuple) and value else value  # [training, test]
            if type(side) is int and 1 <= side <= 16384:
                return side
    return None


def _check_amount(tensors: Mapping[str, TensorRecord], checkpoint: Checkpoint) -> None:
    """Limit the bytes of all tensors together.

    Many may view one storage; together they must not be much more than the file holds.
    """
    claimed, stored = sum(tensor.nbytes for tensor in tensors.values()), checkpoint.stored_bytes
    if claimed > 2 * stored:
        raise UntrustedFileError(
            f"{checkpoint.path}: its tensors come to {claimed:,} bytes, but it stores {stored:,}",
            hint=NOT_TORCH,
        )
