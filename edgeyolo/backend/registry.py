"""Registry of backends: the entry-point group `edgeyolo.backends`.

It holds ours and third parties' alike.

A backend that cannot even be imported still lists itself, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, get_args

from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import (
    Availability,
    Backend,
    CalibrationSource,
    ExportSource,
    Hint,
    ParityBackend,
    PlaceableBackend,
    Session,
    TunableBackend,
)
from edgeyolo.errors import DamagedFileError, RuntimeMissingError, UnsupportedTargetError, UsageError
from edgeyolo.support import installed
from edgeyolo.support.nearest import nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.backend.devices import Device
    from edgeyolo.backend.profile import TargetProfile

GROUP = "edgeyolo.backends"
CALIBRATION = "edgeyolo.calibration"
TRAINING = "edgeyolo.training"


@dataclass(frozen=True)
class Broken:
    """A registered backend whose own module fails to load."""

    name: str
    reason: str


@cache
def _load_entry(name: str) -> Backend | Broken | None:
    """Load the backend of an entry point.

    Gives why it does not load, or None where none has that name.
    """
    value = _value(name)
    if value is None:
        return None
    module, _, attribute = value.partition(":")
    try:
        backend: Backend = attrgetter(attribute)(import_module(module))()
        if missing := [part for part in _parts() if part not in dir(backend)]:
            raise TypeError(
                f"{value} lacks a part of edgeyolo.backend.interface.Backend: {', '.join(missing)}"
            )
    except Exception as error:  # noqa: BLE001 - a third party's module may fail in any way; it is reported
        return Broken(name, f"{type(error).__name__}: {error}")
    return backend


def _parts() -> list[str]:
    """Names that a backend must have.

    `isinstance` would compute the profiles to find them.
    """
    return [*Backend.__annotations__, *(name for name in vars(Backend) if not name.startswith("_"))]


def _value(name: str) -> str | None:
    """Value of the entry point of that name, "module:class": ours, or else anybody's.

    For the latter every installed distribution is looked through.
    """
    own = installed.entry_point("edgeyolo", GROUP, name)
    return own or next((f"{entry.module}:{entry.attr}" for entry in _entry_points(GROUP, name)), None)


def _entry_points(group: str, *names: str) -> list[EntryPoint]:
    """Entry points of all installed distributions; with names, those only."""
    from importlib.metadata import entry_points

    return [entry for entry in entry_points(group=group) if not names or entry.name in names]


@lru_cache(maxsize=1)
def _load() -> tuple[dict[str, Backend], tuple[Broken, ...]]:
    """Every backend; only what asks for all targets pays for it."""
    found = [_load_entry(name) for name in sorted({entry.name for entry in _entry_points(GROUP)})]
    loaded = {item.name: item for item in found if item is not None and not isinstance(item, Broken)}
    return loaded, tuple(item for item in found if isinstance(item, Broken))


def forget() -> None:
    """Load backends again when next asked for one: what is installed has changed."""
    _load_entry.cache_clear()
    _load.cache_clear()


def backends() -> dict[str, Backend]:
    """Every backend that loads, by name."""
    return dict(_load()[0])


def broken() -> tuple[Broken, ...]:
    """Every registered backend that does not load, and why."""
    return _load()[1]


def profiles() -> list[tuple[TargetProfile, Backend]]:
    """Every target of every backend."""
    return [(profile, backend) for backend in backends().values() for profile in backend.profiles]


def find_target(target: Target | str) -> tuple[TargetProfile, Backend]:
    """The profile and backend of a target.

    A name that no backend knows raises UsageError with the nearest ones.
    """
    wanted = str(target).strip().lower()
    known = {str(profile.target): (profile, backend) for profile, backend in profiles()}
    if wanted in known:
        return known[wanted]
    # Of several targets of a device the one in float16 is meant more often than not.
    order = sorted(known, key=lambda name: not name.endswith("-fp16"))
    near = nearest(wanted, order, cutoff=0.4)
    try:
        _refuse_precision(Target.parse(wanted))
    except UsageError as error:
        if not near:
            raise
        raise UsageError(
            error.message, hint=f"Did you mean {', '.join(near)}? `edgeyolo targets` lists all."
        ) from error
    near = near or sorted(known)
    unloaded = "".join(f" Backend {item.name} does not load ({item.reason})." for item in broken())
    raise UsageError(
        f"target {wanted!r} is not known.{unloaded}",
        hint=f"Did you mean {', '.join(near)}? `edgeyolo targets` lists all.",
    )


def _refuse_precision(target: Target) -> None:
    """Raise UnsupportedTargetError for a precision that a device cannot have.

    It gives the reason; it holds only where the device is known.
    """
    for profile, _ in profiles():
        same = (profile.target.device, profile.target.runtime) == (target.device, target.runtime)
        reason = profile.limits.no_precisions.get(target.precision) if same and profile.limits else None
        if reason:
            raise UnsupportedTargetError(
                f"{target}: {reason}", hint="`edgeyolo targets` lists what there is."
            )


def half_sibling(target: Target | str) -> Target:
    """The float16 target of the same device and runtime.

    UsageError where there is none, or `target` is quantized.
    """
    profile, _ = find_target(target)
    found = profile.target
    if profile.calibrated or found.precision not in ("fp32", "fp16"):
        raise UsageError(f"{found} is {found.precision} already", hint="Leave out --half.")
    sibling = replace(found, precision="fp16")
    siblings = [each.target for each, _ in profiles() if each.target.precision == "fp16"]
    if sibling in siblings:
        return sibling
    raise UsageError(
        f"--half: {found.runtime} on {found.device} has no float16 target",
        hint=f"Float16 targets: {', '.join(map(str, siblings))}.",
    )


def open_session(
    artifact: Artifact, *, threads: int | None = None, device: Device | None = None, hint: Hint | None = None
) -> Session:
    """Load an artifact with its backend.

    A runtime that is not there raises RuntimeMissingError with the reason.

    `device` says on which of several devices, and must be one that the artifact's target is for. `hint`: see `tuned`.
    """
    backend = tuned(placed(backend_of(artifact), device), hint)
    require(backend.can_run(), f"{artifact.path} needs {backend.name}")
    try:
        return backend.open(artifact, threads=threads)
    except DamagedFileError as error:  # the artifact is whole: its hashes were compared when it was opened
        from edgeyolo.backend.versions import explained

        raise explained(error, artifact, backend) from error


def open_forked(
    artifact: Artifact, *, threads: int | None = None, device: Device | None = None, hint: Hint | None = None
) -> Session:
    """Load, in a fork, an artifact that the parent process has loaded too.

    A backend whose runtime cannot be used there says why in its attribute `unforkable`: UsageError. One that can, with
    so many threads only, says so in `forked_threads`.
    """
    backend = backend_of(artifact)
    if reason := str(getattr(backend, "unforkable", "")):
        raise UsageError(
            f"{artifact.path} was opened before this process was forked; {reason}",
            hint="Open the Detector in each process, after the fork, and none before it; or start processes by spawn.",
        )
    return open_session(
        artifact, threads=getattr(backend, "forked_threads", threads), device=device, hint=hint
    )


def backend_of(artifact: Artifact) -> Backend:
    """The backend that an artifact was made by.

    RuntimeMissingError where it is not installed or does not load.

    Loads the entry point of that name and no other one. A third party may call its entry point otherwise: then all are
    looked through.
    """
    name = artifact.manifest.backend
    found = _load_entry(name)
    if found is None:
        found = backends().get(name)
    if found is not None and not isinstance(found, Broken):
        return found
    raise RuntimeMissingError(
        f"{artifact.path} needs the backend {name!r}, which "
        + (f"does not load: {found.reason}" if found else "is not installed"),
        hint=f"Backends here: {', '.join(backends()) or 'none'}. `edgeyolo doctor` says more.",
    )


def next_step(artifact: Artifact) -> str:
    """Sentence on the next step with a new artifact; "" where it just runs."""
    told = getattr(backend_of(artifact), "next_step", None)
    return str(told(artifact)) if told else ""


def parse_device(value: str | int | Device) -> Device:
    """Read a device's name.

    One of `edgeyolo.backend.devices`, or of a target that a third party brings.

    Raises UsageError for a name that is none, with the nearest ones.
    """
    from edgeyolo.backend.devices import Device

    try:
        return Device.parse(value)
    except UsageError:
        return Device.parse(value, others={profile.target.device for profile, _ in profiles()})


def placed(backend: Backend, device: Device | None) -> Backend:
    """The backend for one of several devices; UsageError where it knows a single one."""
    if device is None or device.index is None:
        return backend
    if isinstance(backend, PlaceableBackend):
        return backend.at(device)
    if device.index == 0:
        return backend
    raise UsageError(
        f"device {device}: the backend {backend.name} does not tell several devices apart",
        hint=f"Leave out the number: {device.kind}.",
    )


def tuned(backend: Backend, hint: Hint | None) -> Backend:
    """The backend with sessions for "latency" or "throughput", or "shared" by callers.

    One that makes no difference between them is given back as it is.
    """
    if hint is not None and hint not in get_args(Hint):
        raise UsageError(f"hint {hint!r}: expected {' or '.join(get_args(Hint))}")
    return backend.tuned(hint) if hint is not None and isinstance(backend, TunableBackend) else backend


def open_for_parity(artifact: Artifact, *, device: Device | None = None) -> tuple[Session, str]:
    """A session to compare with torch, and the words for what it is.

    The runtime itself, or its stand-in.
    """
    backend = backend_of(artifact)
    if isinstance(backend, ParityBackend) and not backend.can_run().ok:
        return backend.open_for_parity(artifact), backend.parity_runtime
    return open_session(artifact, device=device), artifact.manifest.backend


def open_calibration(data: str, *, images: int, seed: int = 0, evaluation: Any = None) -> CalibrationSource:
    """Calibration images from a folder or data set.

    They are opened by the package registered as `images` in CALIBRATION.

    `images` of them are drawn with `seed`. `evaluation` is the Dataset that AP will be measured on: images that lie in
    it too are refused.
    """
    opener = _registered(CALIBRATION, "images")
    source: CalibrationSource = opener(data, images=images, seed=seed, evaluation=evaluation)
    return source


def open_ranges(path: str, *, images: CalibrationSource | None = None) -> CalibrationSource:
    """Calibration ranges that `edgeyolo calibrate` measured.

    They stand in place of images, or beside the same ones.
    """
    source: CalibrationSource = _registered(CALIBRATION, "ranges")(path, images=images)
    return source


def keep_within_budget(
    source: ExportSource, target: Target, data: Any, points: float, *, step: Callable[[str], None]
) -> CalibrationSource:
    """Calibration with the fewest float layers within an AP budget.

    It loses at most `points` AP points on the Dataset.
    """
    chosen: CalibrationSource = _registered(CALIBRATION, "budget")(source, target, data, points, step=step)
    return chosen


def refine(source: ExportSource, target: Target, *, step: Callable[[str], None]) -> Any:
    """The network changed for the sake of a target's integers.

    A value with `network` and `tried`; the package registered as `refinement` in CALIBRATION makes it.
    """
    return _registered(CALIBRATION, "refinement")(source, target, step=step)


def quantized_training() -> Any:
    """The module registered as `quantization` in TRAINING.

    Quantization-aware training puts its quantizers around a network.
    """
    return _registered(TRAINING, "quantization")


def _registered(group: str, name: str) -> Any:
    for entry in _entry_points(group, name):
        return entry.load()
    raise RuntimeMissingError(
        "no calibration package is installed", hint="Install edgeyolo with its calibration."
    )


def require(availability: Availability, what: str) -> None:
    """Raise RuntimeMissingError unless available."""
    if not availability.ok:
        raise RuntimeMissingError(f"{what}: {availability.reason}", hint=availability.hint)
