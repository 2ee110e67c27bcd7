"""Resolve a user's model to a loadable artifact, and the reason for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.target import Target
from edgeyolo.artifact.trained_size import manifest_remark
from edgeyolo.backend import registry
from edgeyolo.backend.devices import Device, device_of
from edgeyolo.detector import builtin
from edgeyolo.detector.selection.explanation import Considered, Explanation
from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.runtime.images import IMAGE_SUFFIXES
from edgeyolo.support import environment

if TYPE_CHECKING:
    from edgeyolo.detector.adopt import SpecSource

DEFAULT_TARGET = "cpu-onnx-fp32"

Step = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """A user's wishes for how a model is run.

    None leaves a choice open.

    `target` and `device` come before EDGEYOLO_TARGET and EDGEYOLO_DEVICE. `size` is (height, width) in pixels.
    `spec` says what a file without manifest takes and gives (edgeyolo.detector.adopt).
    """

    target: str | Target | None = None
    device: str | int | Device | None = None
    size: tuple[int, int] | None = None
    threads: int | None = None
    spec: SpecSource | None = None


@dataclass(frozen=True)
class Opened:
    """A model ready to be loaded.

    `device` is the one of several that was asked for, or None. `remark` is on the size of an artifact that was made
    from weights, where it is a guess or not that of the training; else "".
    """

    artifact: Artifact
    explanation: Explanation
    device: Device | None = None
    remark: str = ""


def open_model(
    model: str | os.PathLike[str], wanted: Wanted = Wanted(), *, step: Step = lambda _: None
) -> Opened:
    """The artifact that `model` is, or that it gives.

    Weights are exported once into a cache.

    An artifact's manifest says what runs it. Weights run on `wanted.target`; without one, on the fastest of
    `wanted.device`; without that, on cpu-onnx-fp32, which the base install runs everywhere. `step` is told what is
    being done where that takes a while.

    `model` may be "builtin": the model that comes with the package.

    Raises UsageError where nothing is at `model`, or the target, the device and the artifact contradict each other;
    RuntimeMissingError where nothing on the device is usable, or the export extra is not installed.
    """
    if not isinstance(model, str | os.PathLike):
        raise UsageError(
            f"model: expected a path, got {model!r}",
            hint='Detector() takes the model that comes with the package, Detector("artifact-directory") yours.',
        )
    path = _builtin(wanted) if builtin.is_builtin(model) else Path(model)
    if path.name == MANIFEST:
        path = path.parent
    if not path.exists():
        raise UsageError(
            f"{path}: expected the directory of an artifact or a weights file, nothing is there",
            hint="Make an artifact: edgeyolo export WEIGHTS --target cpu-onnx-fp32 -o DIR",
        )
    device = _device(wanted)
    if _is_foreign(path):
        from edgeyolo.detector.adopt import adopted, require_spec

        return _artifact(adopted(path, require_spec(path, wanted.spec)), wanted, device, str(path))
    if wanted.spec is not None:
        raise UsageError(
            f"spec: {path} says itself what it takes and gives", hint="A spec is for files without manifest."
        )
    if path.is_dir():
        return _artifact(Artifact.open(path), wanted, device)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise UsageError(
            f"{path}: expected the directory of an artifact or a weights file as the model, got an image",
            hint="The model comes first: edgeyolo detect MODEL photo.jpg, Detector(MODEL)(photo).",
        )
    opened = _from_weights(path, wanted, device, step)
    asked = wanted.size is not None
    return replace(opened, remark=manifest_remark(opened.artifact.manifest, path.name, asked=asked))


def _from_weights(path: Path, wanted: Wanted, device: Device | None, step: Step) -> Opened:
    target = wanted.target or environment.target()
    if target is not None:
        return _weights_for(path, registry.find_target(target)[0].target, wanted, device, step)
    if device is None:
        return _weights_for(path, Target.parse(DEFAULT_TARGET), wanted, None, step)
    from edgeyolo.detector.selection.choose import choose

    chosen = choose(
        path,
        device,
        lambda name, told: _exported(path, name, wanted.size, told),
        size=wanted.size,
        threads=wanted.threads,
        step=step,
    )
    return Opened(chosen.artifact, chosen.explanation, _numbered(device))


def _is_foreign(path: Path) -> bool:
    """Return True if a backend adopts files of this suffix.

    Asked only of what is no artifact and no weights, as it loads them all.
    """
    if (path / MANIFEST).is_file() or path.suffix in (
        ".safetensors",
        ".pt",
    ):  # an artifact may be called tiny.onnx
        return False
    from edgeyolo.detector.adopt import suffix_of

    return bool(suffix_of(path))


def _builtin(wanted: Wanted) -> Path:
    """The artifact that comes with the package.

    Another target, size or device takes the weights, where they are here.
    """
    particular = wanted.target or environment.target() or wanted.size or _device(wanted)
    return builtin.weights_path() if particular and builtin.has_weights() else builtin.artifact_path()


def _device(wanted: Wanted) -> Device | None:
    given = wanted.device if wanted.device is not None else environment.device()
    return None if given is None else registry.parse_device(given)


def _numbered(device: Device | None) -> Device | None:
    return device if device and device.index is not None else None


def _artifact(artifact: Artifact, wanted: Wanted, device: Device | None, adopted_from: str = "") -> Opened:
    """Refuse another size or target than the artifact's.

    They were settled when it was made; asking for them again is fine.
    """
    path, manifest = artifact.path, artifact.manifest
    again = f"Leave it out, or export the weights again: edgeyolo export WEIGHTS --target {wanted.target or 'T'} -o DIR"
    if wanted.target is not None and str(wanted.target) != str(manifest.target):
        raise UsageError(f"{path} was exported for {manifest.target}, not for {wanted.target}", hint=again)
    if wanted.size is not None and wanted.size != manifest.input.size:
        height, width = manifest.input.size
        raise UsageError(
            f"{path} was exported at {height}x{width}, not at {wanted.size[0]}x{wanted.size[1]} (imgsz)",
            hint="Leave out the size, or export the weights again with it.",
        )
    _require_admitted(device, wanted, manifest.target, f"{path} was exported for")
    runs = registry.placed(registry.backend_of(artifact), _numbered(device)).can_run()
    decided = "it is an artifact, and its manifest says so."
    if adopted_from:
        decided = f"its suffix and the spec say so; it was adopted as {path}."
    listed = (Considered(str(manifest.target), runs.ok, "" if runs.ok else runs.reason),)
    explanation = Explanation(
        adopted_from or str(path),
        str(manifest.target),
        str(device or device_of(manifest.target)),
        decided,
        listed,
    )
    return Opened(artifact, explanation, _numbered(device))


def _weights_for(path: Path, target: Target, wanted: Wanted, device: Device | None, step: Step) -> Opened:
    """Weights on a target that is settled.

    The user, the environment or the default settled it.
    """
    if wanted.target is not None:
        decided = "the target was asked for."
    elif environment.target() is not None:
        decided = f"EDGEYOLO_TARGET={environment.target()} says so."
    else:
        decided = 'it is the default, which runs everywhere; device="auto" looks for the fastest.'
    _require_admitted(device, wanted, target, "the target is")
    artifact = _exported(path, str(target), wanted.size, step)
    listed = (Considered(str(target), True),)
    explanation = Explanation(str(path), str(target), str(device or device_of(target)), decided, listed)
    return Opened(artifact, explanation, _numbered(device))


def _require_admitted(device: Device | None, wanted: Wanted, target: Target, what: str) -> None:
    if device is not None and not device.admits(target):
        source = " (EDGEYOLO_DEVICE is set)" if wanted.device is None else ""
        raise UsageError(
            f"device {device}{source}: {what} {target}, which is for the device {device_of(target)}",
            hint=f"Leave out the device, give {device_of(target)}, or export the weights for another target.",
        )


def _exported(weights: Path, target: str, size: tuple[int, int] | None, step: Step) -> Artifact:
    """The cached artifact of a weights file, exported now if there is none yet."""
    try:
        from edgeyolo.export.cache import cached_artifact
    except ImportError as error:  # torch, onnx ... are imported on the way
        from edgeyolo.support.install import install_hint

        raise RuntimeMissingError(
            f"{weights} is a weights file; exporting it needs a package that is not installed ({error})",
            hint=f"{install_hint('export')}, or give the directory of an exported artifact.",
        ) from error
    return cached_artifact(weights, target, size=size, step=step)
