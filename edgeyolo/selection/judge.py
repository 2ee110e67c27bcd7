"""Making and measuring the targets of one class, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgeyolo import environment
from edgeyolo.artifact import Artifact
from edgeyolo.devices import Device
from edgeyolo.errors import EdgeYoloError
from edgeyolo.selection import memory
from edgeyolo.selection.measure import fastest, measure
from edgeyolo.targets import Target

MEASURED = 3  # of one class, the first of the documented order; each has to be exported first

Step = Callable[[str], None]
Exporter = Callable[[str, Step], Artifact]


@dataclass(frozen=True)
class Verdict:
    """What came of one class: the artifacts at hand, their times where there are any, and how those were come by."""

    made: dict[str, Artifact]
    milliseconds: dict[str, float] = field(default_factory=dict)
    remembered: bool = False
    note: str = ""  # why nothing was measured, or why it was not kept


@dataclass(frozen=True)
class Judge:
    """Makes artifacts and measures them. `failed` gains, by target, why one cannot be had after all."""

    export: Exporter
    step: Step
    threads: int | None
    device: Device
    failed: dict[str, str] = field(default_factory=dict)

    def __call__(self, group: list[Target], key: str) -> Verdict:
        """The verdict over targets of one class in documented order; `key` names what is remembered of them."""
        names = [str(target) for target in group]
        known = memory.recall(key)
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
        unkept = memory.remember(key, memory.Measured(times, self.failed)) if times else ""
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
        """Times of all that run; one whose session fails is left out before the others are compared."""
        runs = {}
        for name, artifact in made.items():
            try:
                measure({name: artifact}, threads=self.threads, device=self.device, rounds=(1, 1))
                runs[name] = artifact
            except Exception as error:  # noqa: BLE001 - a runtime may fail in any way; the others are still there
                self.failed[name] = f"it does not run: {type(error).__name__}: {error}"
        return measure(runs, threads=self.threads, device=self.device) if runs else {}
