"""Import of any weights file into our network.

It gives the network, its class names, and an account of what the file was.

The file says everything: which network, in which form, how many classes, which anchors. No flag is needed,
and nothing in the file is executed (see `checkpoint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.artifact.trained_size import Size, size_of_provenance, size_text
from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo.models import weights
from edgeyolo.models.checkpoint import (
    Contents,
    foreign_keys,
    open_checkpoint,
    read_contents,
    read_tensor,
    sniff,
)
from edgeyolo.models.download.table import PUBLISHED
from edgeyolo.models.mmyolo_names import MMYOLO, MMYOLO_P6, is_mmyolo, is_mmyolo_p6
from edgeyolo.models.network import Network
from edgeyolo.models.other_names import INNER_LATERAL, has_inner_lateral
from edgeyolo.models.published import Recognised, is_fused_training, recognise
from edgeyolo.support.hashes import sha256

_ACTIVATIONS = {"silu": "SiLU", "leaky_relu": "LeakyReLU(0.1)", "relu": "ReLU", "relu6": "ReLU6"}


@dataclass(frozen=True)
class Origin:
    """The file a network came from.

    `container` is "torch" or "safetensors"; `kind` is "models.yolo.Model", "state dict" or "edgeyolo
    weights"; `entry` is what was used of it ("ema", "model" ...; "" for the file itself). `dtype` is the
    file's own, the network's weights are float32. `training` holds what the file says of its training: epoch,
    whether there is an optimizer.
    """

    file: str
    sha256: str
    container: str
    kind: str
    entry: str
    dtype: str
    training: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The origin as plain values: the provenance that weights and artifacts carry."""
        return asdict(self)


@dataclass(frozen=True)
class Imported:
    """A network in the form the file had, float32, in inference mode.

    Its class names; and what the file was.

    `provenance` is where the weights first came from: `origin` as plain values, or our own file's memory.
    `notes` say what a user should know: what was assumed, and what looks wrong. `ranges` are those that
    quantization-aware training learned. `size` is the (height, width) that the network was trained at, None where the
    file does not say.
    """

    network: Network
    class_names: tuple[str, ...]
    origin: Origin
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    ranges: LearnedRanges | None = None
    size: Size | None = None

    @property
    def parameters(self) -> int:
        """Learned values in the file's form, batch norms included."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def summary(self) -> dict[str, Any]:
        """Everything found, as plain values for a JSON file."""
        spec = self.network.spec
        return {
            "architecture": spec.name,
            "form": self.network.form,
            "activation": spec.act,
            "classes": self.network.classes,
            "trained_size": list(self.size) if self.size else None,
            "class_names": list(self.class_names),
            "strides": list(spec.strides),
            "anchors": [[list(pair) for pair in level] for level in spec.anchors],
            "parameters": self.parameters,
            "origin": self.origin.to_json(),
            "provenance": dict(self.provenance),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """The same for people, a few lines of text."""
        spec, origin = self.network.spec, self.origin
        names = ", ".join(self.class_names[:8]) + (" ..." if len(self.class_names) > 8 else "")
        entry = f"`{origin.entry}` of " if origin.entry else ""
        return [
            f"{spec.name}, {self.network.form} form, {_ACTIVATIONS[spec.act]}",
            f"{self.parameters:,} parameters",
            f"trained at {size_text(self.size)} pixels"
            if self.size
            else "it does not say what size it was trained at",
            f"{self.network.classes} classes: {names}",
            *(
                f"stride {stride}: anchors {' '.join(f'{w:g}x{h:g}' for w, h in level)}"
                for stride, level in zip(spec.strides, spec.anchors, strict=True)
            ),
            f"from {entry}{origin.file} ({', '.join(_facts(origin))})",
            f"SHA-256 {origin.sha256}",
            *(f"note: {text}" for text in self.notes),
        ]


def import_checkpoint(path: Path | str) -> Imported:
    """Read a checkpoint of the family without running anything in it.

    path: a published or self-trained .pt file (a whole pickled model), a state dict (.pt, .pth, or
        .safetensors with published keys), or a file written by `edgeyolo import`.
    Raises UntrustedFileError for a file that asks for anything but a network, DamagedFileError for a broken
    one, ForeignFileError for another project's, EdgeYoloError for a network that is not of the family,
    UsageError where there is no file.
    """
    path = Path(path)
    if sniff(path) == "torch":
        return _from_torch(path)
    return _from_own(path) if weights.is_weights(path) else _from_safetensors(path)


def _from_torch(path: Path) -> Imported:
    with open_checkpoint(path) as checkpoint:
        contents = read_contents(checkpoint)
        dtype = _most_common(tensor.dtype for tensor in contents.tensors.values())
        state = {key: torch.from_numpy(read_tensor(tensor)) for key, tensor in contents.tensors.items()}
    origin = Origin(
        path.name, checkpoint.sha256, "torch", contents.kind, contents.source, dtype, contents.training
    )
    return _assemble(path, state, contents, origin)


def _from_own(path: Path) -> Imported:
    own = weights.load(path)
    with safe_open(path, framework="pt") as file:
        halves = {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118  not a dict
    dtype = "float16" if halves else "float32"
    origin = Origin(path.name, sha256(path), "safetensors", "edgeyolo weights", "", dtype)
    return Imported(
        own.network,
        own.class_names,
        origin,
        own.provenance or origin.to_json(),
        ranges=own.ranges,
        size=own.size,
    )


def _from_safetensors(path: Path) -> Imported:
    """A safetensors file holds no code, so only its structure can be wrong."""
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise DamagedFileError(
            f"{path}: damaged safetensors file: {error}", hint="Copy or download the file again."
        ) from error
    contents = Contents({}, "state dict", "")
    dtype = _most_common(str(tensor.dtype).removeprefix("torch.") for tensor in state.values())
    return _assemble(
        path, state, contents, Origin(path.name, sha256(path), "safetensors", contents.kind, "", dtype)
    )


def _assemble(path: Path, state: Mapping[str, Tensor], contents: Contents, origin: Origin) -> Imported:
    for key, value in state.items():
        if value.ndim == 0 and not key.endswith(".num_batches_tracked"):
            raise DamagedFileError(
                f"{path}: {key!r:.80} is a single number; only num_batches_tracked is, in networks of the family"
            )
    try:
        found = recognise(state, activation=contents.activation, implicit_folded=contents.implicit_folded)
    except EdgeYoloError as error:
        foreign = foreign_keys(path, state)
        if foreign is not None:
            raise foreign from error
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
    names, notes = _class_names(path, contents, found)
    if has_inner_lateral(state):
        notes.append(INNER_LATERAL)
    if is_mmyolo(state):
        notes += [MMYOLO, MMYOLO_P6] if is_mmyolo_p6(state) else [MMYOLO]
    if is_fused_training(state):
        notes.append(
            "fused by the published code: auxiliary outputs are left out, implicit knowledge is folded in"
        )
    if contents.activation is None and found.spec.name == "yolov7-tiny":
        notes.append("weights alone do not tell yolov7-tiny from yolov7-tiny-silu; taken as yolov7-tiny")
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        notes.append(f"{len(broken)} tensors hold values that are not finite; the first is {broken[0]}")
    provenance = origin.to_json()
    size = size_of_provenance(provenance) or _published_size(origin, found)
    return Imported(found.network(), names, origin, provenance, tuple(notes), size=size)


def _published_size(origin: Origin, found: Recognised) -> Size | None:
    """The paper's size for the published files themselves, which do not say it."""
    is_published = any(origin.sha256 == item.sha256 for item in PUBLISHED)
    return (found.spec.imgsz, found.spec.imgsz) if is_published else None


def _class_names(path: Path, contents: Contents, found: Recognised) -> tuple[tuple[str, ...], list[str]]:
    """The class names and notes about them; names that cannot be right are not used."""
    if contents.classes is not None and contents.classes != found.classes:
        raise DamagedFileError(
            f"{path}: it says {contents.classes} classes, but its outputs are made for {found.classes}",
            hint="The file contradicts itself; save it again from the training run it came from.",
        )
    numbered = tuple(f"class_{index}" for index in range(found.classes))
    if contents.class_names is None:
        return numbered, ["the file has no class names; the classes are called class_0 and on"]
    if len(contents.class_names) != found.classes:
        count = f"{len(contents.class_names)} class names for {found.classes} classes"
        return numbered, [f"the file has {count}; they are not used, the classes are called class_0 and on"]
    return contents.class_names, list(contents.notes)


def _facts(origin: Origin) -> list[str]:
    facts = [origin.kind, origin.dtype]
    if origin.training.get("epoch", -1) >= 0:  # -1: finished, and stripped of its optimizer
        facts.append(f"epoch {origin.training['epoch']}")
    if origin.training.get("optimizer"):
        facts.append("optimizer state left out")
    return facts


def _most_common(dtypes: Iterable[str]) -> str:
    """The floating type of most tensors.

    Counters of batch norms are integers in every file.
    """
    floating = [dtype for dtype in dtypes if "float" in dtype]
    return max(sorted(set(floating)), key=floating.count, default="none")
