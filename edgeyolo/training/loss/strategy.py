"""Strategies of label assignment as values (paper Tables 6 and 7).

Without torch, so that recipes can name them.

The partial auxiliary head of Table 8 is the wiring of yolov7-e6e (its auxiliary heads read one twin before
the addition), not an assignment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeyolo.errors import UsageError

Reach = Literal["fine", "coarse"]


@dataclass(frozen=True)
class Strategy:
    """Strategy of labels for lead and auxiliary heads.

    dynamic: SimOTA picks among the candidates; otherwise every candidate is a positive. guide: whose
    predictions judge the auxiliary candidates. auxiliary: which candidates the auxiliary head gets.
    bounded: the auxiliary objectness label is bounded by the distance from the object's centre (Table 7).
    """

    name: str
    dynamic: bool = True
    guide: Literal["lead", "own"] = "lead"
    auxiliary: Reach = "coarse"
    bounded: bool = False


COARSE_TO_FINE = Strategy("coarse-to-fine")
BOUNDED = Strategy("bounded", bounded=True)
LEAD_GUIDED = Strategy("lead-guided", auxiliary="fine")
INDEPENDENT = Strategy("independent", guide="own", auxiliary="fine")
SIMPLE = Strategy("simple", dynamic=False)
STRATEGIES = (COARSE_TO_FINE, BOUNDED, LEAD_GUIDED, INDEPENDENT, SIMPLE)


def find_strategy(name: str) -> Strategy:
    """The strategy called `name`."""
    for strategy in STRATEGIES:
        if strategy.name == name:
            return strategy
    known = ", ".join(strategy.name for strategy in STRATEGIES)
    raise UsageError(f"strategy {name!r}: expected one of {known}")
