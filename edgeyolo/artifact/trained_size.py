"""Image size that a network was trained at: where files say it, and what to say where it is not the one in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeyolo.artifact.manifest import Manifest

Size = tuple[int, int]

TRAINED = "trained_size"  # the key in an artifact's provenance; None where the weights do not say
_LARGEST = 16384


class SizeWarning(UserWarning):
    """A network that is run at another size than it was trained at, or at a guess where its weights do not say."""


def as_size(value: Any) -> Size | None:
    """(height, width) from 256, [256] or [384, 640]; None for anything that is no size in pixels."""
    sides = list(value) if isinstance(value, list | tuple) else [value]
    if not 1 <= len(sides) <= 2 or not all(type(side) is int and 1 <= side <= _LARGEST for side in sides):
        return None
    return sides[0], sides[-1]


def size_of_provenance(provenance: Mapping[str, Any]) -> Size | None:
    """The size in the account of a training that weights carry; None where it does not say."""
    training = provenance.get("training")
    if not isinstance(training, Mapping):
        return None
    config = training.get("config")
    stated = config.get("image_size") if isinstance(config, Mapping) else None
    return as_size(stated) or as_size(training.get("image_size"))


def size_text(size: Size) -> str:
    """`384x640`, height first."""
    return f"{size[0]}x{size[1]}"


def size_remark(name: str, used: Size, trained: Size | None, *, asked: bool, model: str = "") -> str:
    """A sentence where `used` is a guess, or another size than the network was trained at; "" where it is neither."""
    if trained is None:
        if asked:
            return ""
        known = f", at which the paper reports {model}," if model else ""
        return (
            f"{name} does not say what size it was trained at: {size_text(used)}{known} is a guess; "
            "--imgsz (size=) says another"
        )
    if used == trained:
        return ""
    return (
        f"{name} was trained at {size_text(trained)} and is used at {size_text(used)}: it finds less there, "
        "unless it was trained at several sizes"
    )


def manifest_remark(manifest: Manifest, name: str, *, asked: bool) -> str:
    """`size_remark` of an artifact that was made from the weights called `name`; "" for files of other tools."""
    if TRAINED not in manifest.provenance:
        return ""
    trained = as_size(manifest.provenance[TRAINED])
    return size_remark(name, manifest.input.size, trained, asked=asked, model=manifest.model)
