"""Choice of the target for weights on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.target import Target
from edgeyolo.backend.devices import Device
from edgeyolo.detector.selection.explanation import Considered, Explanation
from edgeyolo.detector.selection.measure import Measured, fastest, key_of, measure, recall, remember
from edgeyolo.detector.selection.order import candidates, class_of, versions
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError
from edgeyolo.support import environment
from edgeyolo.support.hashes import sha256

MEASURED = 3  # of one class, the first of the documented order; each has to be exported first

Step = Callable[[str], None]
Exporter = Callable[[str, Step], Artifact]


@dataclass(frozen=True)
class Verdict:
    """Choice among the targets of one class of devices.

    It has the artifacts at hand, their times where there are any, and the way those were found.
    """

    made: dict[str, Artifact]
    milliseconds: dict[str, float] = field(default_factory=dict)
    remembered: bool = False
    note: str = ""  # why nothing was measured, or why it was not kept


@dataclass(frozen=True)
class Judge:
    """Maker of artifacts that measures them.

    `failed` gains, by target, why one cannot be had after all.
    """

    export: Exporter
    step: Step
    threads: int | None
    device: Device
    failed: dict[str, str] = field(default_factory=dict)

    def __call__(self, group: list[Target], key: str) -> Verdict:
        """The verdict over targets of one class in documented order.

        `key` names what is remembered of them.
        """
        names = [str(target) for target in group]
        known = recall(key)
        if known and known.milliseconds:
            made = self._make([fastest(known.milliseconds, names)], 1)
            if made:
                self.failed.update(known.failed)
                return Verdict(made, dict(known.milliseconds), remembered=True)
        several = environment.measures()
        made = self._make(names, MEASURED if several else 1)
        if len(made) < 2:
            return Verdict(made, note="" if several else "EDGEYOLO_MEASURE=0")
        self.step(f"measuring {', '.join(made)}: some seconds, once")
        times = self._measure(made)
        unkept = remember(key, Measured(times, self.failed)) if times else ""
        return Verdict({name: made[name] for name in times}, times, note=unkept)

    def _make(self, names: list[str], most: int) -> dict[str, Artifact]:
        """The first `most` artifacts that can be made."""
        made: dict[str, Artifact] = {}
        for name in (name for name in names if name not in self.failed):
            if len(made) == most:
                break
            try:
                made[name] = self.export(name, lambda text, name=name: self.step(f"{name}: {text}"))  # type: ignore[misc]
            except EdgeYoloError as error:
                # Wrong weights or a wrong size are so for every target.
                if error.exit_code in (2, 6):
                    raise
                self.failed[name] = error.message
            except Exception as error:  # noqa: BLE001 - a converter may fail in any way; the others are still there
                self.failed[name] = f"its toolchain failed: {type(error).__name__}: {error}"
        return made

    def _measure(self, made: dict[str, Artifact]) -> dict[str, float]:
        """Times of all that run.

        One whose session fails is left out before the others are compared.
        """
        runs = {}
        for name, artifact in made.items():
            try:
                measure({name: artifact}, threads=self.threads, device=self.device, rounds=(1, 1))
                runs[name] = artifact
            except Exception as error:  # noqa: BLE001 - a runtime may fail in any way; the others are still there
                self.failed[name] = f"it does not run: {type(error).__name__}: {error}"
        return measure(runs, threads=self.threads, device=self.device) if runs else {}


@dataclass(frozen=True)
class Chosen:
    """The artifact, and why it is this one."""

    artifact: Artifact
    explanation: Explanation


def choose(
    weights: Path,
    device: Device,
    export: Exporter,
    *,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
    step: Step = lambda _: None,
) -> Chosen:
    """The fastest artifact of `weights` on `device`, and why.

    `export(target, step)` gives the artifact of a target, from the cache or made now; one whose toolchain fails, or
    that misses its parity budget, is passed over with the reason. Where several of the best class are left they are
    measured, once: the result is kept in the cache, by the weights' hash, the size, the versions of the runtimes and
    the machine (`measure.remember`). The rest of the order is documented in `order`.

    Raises RuntimeMissingError, with all reasons, where no target of the device is usable.
    """
    step(f"looking for the fastest runtime on device {device}")
    targets, refused = candidates(device)
    digest = sha256(weights)
    judge = Judge(export, step, threads, device)
    asked = {"device": str(device), "size": size, "threads": threads}
    while targets:
        best = class_of(targets[0])
        group = [target for target in targets if class_of(target) == best]
        targets = [target for target in targets if class_of(target) != best]
        facts = {**asked, "runtimes": versions(group, device), "targets": [str(target) for target in group]}
        verdict = judge(group, key_of(digest, facts))
        if verdict.made:
            order = [str(target) for target in group if str(target) not in judge.failed]
            taken = fastest(verdict.milliseconds, order) if verdict.milliseconds else next(iter(verdict.made))
            unmade = [name for name in order if name not in {*verdict.made, *verdict.milliseconds}]
            why = _decided(taken, verdict, unmade, targets)
            listed = (*_usable(taken, verdict, unmade, targets), *_failed(judge), *refused)
            return Chosen(verdict.made[taken], Explanation(str(weights), taken, str(device), why, listed))
    raise _unusable(weights, device, [*_failed(judge), *refused])


def _decided(taken: str, verdict: Verdict, unmade: list[str], later: list[Target]) -> str:
    slower = " Others are of a slower class, by the documented order, and were not measured." if later else ""
    times = verdict.milliseconds
    if not times:
        alone = "the documented order decides" if unmade else "no other of its class is usable"
        switched_off = f"{verdict.note}, so " if verdict.note else ""
        return f"{switched_off}{alone}.{slower}"
    others = [value for name, value in times.items() if name != taken]
    if not others:
        text = "no other of its class runs"
    elif times[taken] > min(others):
        text = "within 5 % of the fastest, which is too close to tell, and first in the documented order"
    else:
        text = f"the fastest, {min(others) / times[taken]:.2f} times as fast as the next"
    when = "remembered from an earlier start on this machine" if verdict.remembered else "measured now"
    kept = f"; {verdict.note}" if verdict.note else ""
    return f"{text} ({when}{kept}).{slower}"


def _usable(taken: str, verdict: Verdict, unmade: list[str], later: list[Target]) -> list[Considered]:
    times = verdict.milliseconds
    names = sorted({*verdict.made, *times}, key=lambda name: (name != taken, times.get(name, 0.0)))
    return [
        *(Considered(name, True, "", times.get(name)) for name in names),
        *(Considered(name, True, "not measured: later in the documented order") for name in unmade),
        *(Considered(str(target), True, "not measured: of a slower class") for target in later),
    ]


def _failed(judge: Judge) -> list[Considered]:
    return [Considered(name, False, reason) for name, reason in judge.failed.items()]


def _unusable(weights: Path, device: Device, reasons: list[Considered]) -> RuntimeMissingError:
    fitting = [item for item in reasons if not item.reason.startswith("not for the device")]
    possible = ", ".join(str(target) for target in candidates(Device("auto"))[0]) or "nothing"
    return RuntimeMissingError(
        f"no runtime is usable for {weights} on device {device}:\n"
        + "\n".join(f"  {item.sentence()}" for item in fitting or reasons),
        hint=f"Usable here without being asked for: {possible}. `edgeyolo doctor` says what to install for others.",
    )
