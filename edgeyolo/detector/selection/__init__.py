"""Which target weights are run on: device auto, what was considered, what was measured, what decided."""

from edgeyolo.selection.choose import choose
from edgeyolo.selection.explanation import Considered, Explanation

__all__ = ["Considered", "Explanation", "choose"]
