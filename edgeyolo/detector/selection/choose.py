"""From weights and a device to the target that they run on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeyolo.artifact import Artifact
from edgeyolo.devices import Device
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.files import sha256
from edgeyolo.selection import memory
from edgeyolo.selection.explanation import Considered, Explanation
from edgeyolo.selection.judge import Exporter, Judge, Step, Verdict
from edgeyolo.selection.measure import fastest
from edgeyolo.selection.order import candidates, class_of, versions
from edgeyolo.targets import Target


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
    the machine (`edgeyolo.selection.memory`). The rest of the order is documented in `edgeyolo.selection.order`.

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
        verdict = judge(group, memory.key_of(digest, facts))
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
