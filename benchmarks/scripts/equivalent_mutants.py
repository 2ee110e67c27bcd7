"""Changes by `mutants.py` that change no result, each with the reason.

They are neither drawn nor counted, and are listed in the report. Entries are by the code itself, not by its line: one
that no longer meets any code is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

_SIEVE = "a first sieve, for speed: `passing` decides afterwards"
_NAN = "NaN spreads through the minimum as through the maximum"
_HALF = "anything between 0 and 1/2 sends half a pixel the same way"
_MEMORY = "how much is judged at once is a matter of memory"
_FLIP = "the flip of a bit is for speed: the table is looked up in its place"
_REST = "any negative length stands for the rest"
_COSTLY = "a weight that cannot move has an infinite cost"
_SIGN = "a sign is its own inverse"
_DECODE, _NMS, _PRE = (f"edgeyolo/runtime/{name}.py" for name in ("decode", "nms", "preprocess"))
_ASSIGN, _CANDIDATES = (f"edgeyolo/training/loss/{name}.py" for name in ("assign", "candidates"))
_SUMS = "calib/edgeyolo_calib/quantize/even_sums.py"


@dataclass(frozen=True)
class Equivalent:
    """A change of the code `of` in a function of a file."""

    file: str
    within: str
    of: str
    said: str
    reason: str


EQUIVALENT = (
    Equivalent(_DECODE, "sigmoid", "x >= 0", "GtE -> Gt", "at 0 both sides give 1/2"),
    Equivalent(
        _DECODE, "decode_levels", "len(confidence) > config.max_candidates", "Gt -> GtE",
        "the best n of n are all of them",
    ),
    Equivalent(_DECODE, "read_decoded", "rows[:, 4].max()", "max -> min", _NAN),
    Equivalent(_DECODE, "_read_scored", "best.max()", "max -> min", _NAN),
    Equivalent(_DECODE, "_candidates", "objectness.max()", "max -> min", _NAN),
    Equivalent(_DECODE, "read_decoded", "rows[:, 4] > config.conf", "Gt -> GtE", _SIEVE),
    Equivalent(_DECODE, "read_decoded", "scores > config.conf", "Gt -> GtE", _SIEVE),
    Equivalent(_DECODE, "_read_scored", "best > config.conf", "Gt -> GtE", _SIEVE),
    Equivalent(_DECODE, "_read_scored", "rows[:, 4:] > config.conf", "Gt -> GtE", _SIEVE),
    Equivalent(_DECODE, "_candidates", "objectness > threshold", "Gt -> GtE", _SIEVE),
    Equivalent(_DECODE, "_score", "rows[:, 5:] > floor[:, None]", "Gt -> GtE", _SIEVE),
    Equivalent(
        _DECODE, "_score", "config.conf / np.maximum(objectness.astype(np.float64), 1e-30)", "Div -> Mult",
        f"the floor is lower then; {_SIEVE}",
    ),
    Equivalent(_NMS, "", "_BLOCK = 256", "256 -> 257", "the size of a block is a matter of speed"),
    Equivalent(
        _NMS, "nms", "len(kept) >= limit", "GtE -> Gt", "one more block is walked, and what it gives is cut off",
    ),
    Equivalent(
        _PRE, "fit", "(height - resized[0]) / 2 - 0.1", "0.1 -> 0.15000000000000002", _HALF,
    ),
    Equivalent(
        _PRE, "fit", "(width - resized[1]) / 2 - 0.1", "0.1 -> 0.15000000000000002", _HALF,
    ),
    Equivalent(_PRE, "fit_long_side", "size < long", "Lt -> LtE", "a picture of that size was returned before"),
    Equivalent(_PRE, "__init__", "-128", "minus dropped", _FLIP),
    Equivalent(_PRE, "__init__", "np.arange(-128, 128)", "128 -> 129", _FLIP),
    Equivalent(_PRE, "__init__", "-128", "128 -> 129", _FLIP),
    Equivalent(_PRE, "__init__", "self._table is not None", "IsNot -> Is", _FLIP),
    Equivalent(_ASSIGN, "", "2 ** 22", "Pow -> Mult", _MEMORY),
    Equivalent(_ASSIGN, "", "2 ** 22", "2 -> 3", _MEMORY),
    Equivalent(_ASSIGN, "", "2 ** 22", "22 -> 23", _MEMORY),
    Equivalent(
        _CANDIDATES, "compact", "capacity + 1", "1 -> 2", "the column that takes what has no slot is cut off",
    ),
    Equivalent(_SUMS, "", "1 << 16", "1 -> 2", _MEMORY),
    Equivalent(_SUMS, "", "1 << 16", "16 -> 17", _MEMORY),
    Equivalent(_SUMS, "_parts", "max(1, _AT_ONCE // max(weight[0].size, 1))", "1 -> 2", _MEMORY),
    Equivalent(_SUMS, "_parts", "_AT_ONCE // max(weight[0].size, 1)", "FloorDiv -> Mult", _MEMORY),
    Equivalent(_SUMS, "_parts", "max(weight[0].size, 1)", "1 -> 2", _MEMORY),
    Equivalent(
        _SUMS, "", "_ON_GRID = 0.0001", "0.0001 -> 0.00015000000000000001", "ten times what rounding needs either way",
    ),
    Equivalent(_SUMS, "_levels", "np.abs(exact - near) < _ON_GRID", "Lt -> LtE", "no distance is just that"),
    Equivalent(_SUMS, "_steps", "-1", "1 -> 2", _REST),
    Equivalent(_SUMS, "nearest_sums", "-1", "1 -> 2", _REST),
    Equivalent(_SUMS, "_moved_of_filter", "gap * np.sign(total)[:, None, None] > 0", "Gt -> GtE", _COSTLY),
    Equivalent(_SUMS, "_moved_of_filter", "gap * np.sign(total)[:, None, None]", "Mult -> Div", _SIGN),
    Equivalent(_SUMS, "_moved", "gap * np.sign(total)", "Mult -> Div", _SIGN),
    Equivalent(_SUMS, "_moved", "steps > 0", "Gt -> GtE", _COSTLY),
    Equivalent(
        _SUMS, "_moved", "np.where(np.isfinite(cost), steps, 0.0)", "0.0 -> 1.0",
        "they are the last, and so many are never missing",
    ),
)  # fmt: skip
