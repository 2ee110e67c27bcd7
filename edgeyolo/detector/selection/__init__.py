"""Which target weights are run on: device auto, what was considered, what was measured, what decided."""

from edgeyolo.detector.selection.choose import choose
from edgeyolo.detector.selection.explanation import Considered, Explanation

__all__ = ["Considered", "Explanation", "choose"]
