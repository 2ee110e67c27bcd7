"""Smallest set of float layers that keeps the AP lost within a budget.

They are found greedily.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgeyolo.errors import GateError, UsageError
from edgeyolo_calib.choice.ledger import Ledger
from edgeyolo_calib.choice.sensitivity import Judge, Lost, Progress, Sensitivity, key_of, lost_without
from edgeyolo_calib.quantize.variants import Compared, Variants

CANDIDATES = 6
"""How many layers are tried at each step: the worst, alone, of those still in integers."""

MOST = 1 / 3
"""The share of layers that may stay in float: beyond it an integer network is one in name only."""


@dataclass(frozen=True)
class Step:
    """One more layer in float.

    `error` and `lost` are of the network with this and all earlier ones in float.
    """

    layer: str
    error: float
    lost: Lost
    place: str


@dataclass(frozen=True)
class Budget:
    """Steps that met a budget, or did not.

    They go from `start` on, one layer after another.
    """

    points: float
    start: Lost
    steps: tuple[Step, ...]
    reached: bool
    reason: str

    @property
    def floats(self) -> tuple[str, ...]:
        """The layers that stay in float, in the order they were taken."""
        return tuple(step.layer for step in self.steps)

    @property
    def lost(self) -> Lost:
        """AP lost in the end."""
        return self.steps[-1].lost if self.steps else self.start

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self) | {"floats": list(self.floats), "lost": asdict(self.lost)}


def search(
    variants: Variants,
    compared: Compared,
    judge: Judge,
    ledger: Ledger,
    *,
    sensitivity: Sensitivity,
    points: float,
    progress: Progress = lambda _, __: None,
) -> Budget:
    """Put layers into float until at most `points` AP points (hundredths) are lost.

    Each step takes, of the `CANDIDATES` layers that are worst alone, the one whose float form leaves the least output
    error; what was taken stays taken. AP is measured after each step and decides only when to stop: it is too coarse
    to choose layers by. `progress` is told (layers in float, the most there may be).
    """
    require_points(points)
    order = [layer.name for layer in sensitivity.layers]
    most = max(1, math.floor(MOST * len(order)))
    start = lost_without(variants, judge, ledger, ())
    steps: list[Step] = []
    lost = start
    while lost.points > points and len(steps) < most:
        progress(len(steps), most)
        floats = tuple(step.layer for step in steps)
        tried = {
            name: _error(variants, compared, ledger, (*floats, name))
            for name in [each for each in order if each not in floats][:CANDIDATES]
        }
        best = min(tried, key=lambda name: (tried[name], order.index(name)))
        lost = lost_without(variants, judge, ledger, (*floats, best))
        steps.append(Step(best, tried[best], lost, variants.place_of(best)))
    progress(most, most)
    reached = lost.points <= points
    change = f"{lost.points:.2f} points lost" if lost.points >= 0 else f"{-lost.points:.2f} points gained"
    within = f"{change} with {len(steps)} layers in float, {points:g} allowed"
    reason = within if reached else f"{within}; no more than {most} of {len(order)} layers may be in float"
    return Budget(points, start, tuple(steps), reached, reason)


def require_points(points: float) -> None:
    """Refuse a budget that is no number of AP points."""
    if not 0 <= points <= 100:
        raise UsageError(f"AP budget {points:g}: expected AP points from 0 to 100, for example 0.3")


def require_something_to_lose(judge: Judge, ledger: Ledger, points: float) -> None:
    """Raise GateError where the budget cannot be missed.

    It cannot where the float network's own AP is within it.
    """
    whole: float = ledger.of(key_of("AP of floats", ()), lambda: 100 * (judge.exact.metrics["AP"] or 0.0))
    if whole <= points:
        raise GateError(
            f"the AP budget of {points:g} points cannot be missed: the float network has an AP of {whole:.2f} points "
            f"on {judge.dataset.name}",
            hint="Give --data labelled images of what the network finds, or a smaller budget.",
        )


def require_reached(budget: Budget) -> None:
    """Raise GateError where the budget was not met, with what was reached."""
    if budget.reached:
        return
    raise GateError(
        f"the AP budget of {budget.points:g} points cannot be met: {budget.reason} (all in integers: "
        f"{budget.start.points:.2f})",
        hint="Calibrate on more, and more typical, images, try another --method, allow more, or take an fp16 target.",
    )


def _error(variants: Variants, compared: Compared, ledger: Ledger, floats: tuple[str, ...]) -> float:
    found: float = ledger.of(key_of("error", floats), lambda: compared.error(variants.without(floats)))
    return found
