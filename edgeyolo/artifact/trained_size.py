"""Image size of a training: where files say it, and remarks on another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeyolo.artifact.manifest import Manifest

Size = tuple[int, int]

TRAINED = "trained_size"  # the key in an artifact's provenance; None where the weights do not say
_LARGEST = 16384


class SizeWarning(UserWarning):
    """A network at another size than that of its training, or at a guess."""


def as_size(value: Any) -> Size | None:
    """(height, width) from 256, [256] or [384, 640].

    None for anything that is no size in pixels.
    """
    sides = list(value) if isinstance(value, list | tuple) else [value]
    if not 1 <= len(sides) <= 2 or not all(type(side) is int and 1 <= side <= _LARGEST for side in sides):
        return None
    return sides[0], sides[-1]


def size_of_provenance(provenance: Mapping[str, Any]) -> Size | None:
    """Size in the account of a training; None where it does not say."""
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
    """Remark on `used`; "" where it is neither a guess nor another size."""
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
    """`size_remark` of an artifact that was made from weights.

    "" for files of other tools. `name` is that of the weights.
    """
    if TRAINED not in manifest.provenance:
        return ""
    trained = as_size(manifest.provenance[TRAINED])
    return size_remark(name, manifest.input.size, trained, asked=asked, model=manifest.model)
