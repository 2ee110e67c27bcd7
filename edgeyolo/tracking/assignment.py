"""Optimal assignment of rows to columns."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.install import install_hint


def require_solver() -> None:
    """Raise RuntimeMissingError where scipy is not installed, without loading it."""
    if find_spec("scipy") is None:
        raise RuntimeMissingError(
            "tracking needs the package scipy, which is not installed", hint=install_hint("video")
        )


def solve_assignment(cost: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair rows with columns, min(n, m) pairs, so that the summed cost is least.

    Args:
        cost: (n, m) finite.

    Returns:
        Rows, ascending, and their columns, both int64.

    Raises:
        RuntimeMissingError: scipy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise RuntimeMissingError(
            f"tracking needs the package scipy ({error})", hint=install_hint("video")
        ) from error
    rows, columns = linear_sum_assignment(cost)
    return rows.astype(np.int64, copy=False), columns.astype(np.int64, copy=False)
