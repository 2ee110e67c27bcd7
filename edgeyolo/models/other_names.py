"""State dicts of YOLOv7 under another project's names.

MultimediaTechLab/YOLO (MIT licence) has yolov7's training form with the nodes in the same order; the parts inside
a node have names of their own, anchors are not in the file, and one edge of the graph differs, see `INNER_LATERAL`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

INNER_LATERAL = (
    "MultimediaTechLab/YOLO's layout: its graph takes the finest lateral from the concatenation before the block's "
    "transition, where the published network takes the transition's output; the network is built as its graph is, "
    "with the published anchors, which the file does not hold"
)
_PYRAMID = {
    "pre_conv.0": "cv1", "short_conv": "cv2", "pre_conv.1": "cv3", "pre_conv.2": "cv4", "post_conv.0": "cv5",
    "post_conv.1": "cv6", "merge_conv": "cv7",
}  # fmt: skip
_BRANCHES = {
    "conv1.conv": "rbr_dense.0",
    "conv1.bn": "rbr_dense.1",
    "conv2.conv": "rbr_1x1.0",
    "conv2.bn": "rbr_1x1.1",
}
_RENAMED = _PYRAMID | _BRANCHES
_PART = re.compile(r"((?:^|\.)\d+\.)(" + "|".join(map(re.escape, _RENAMED)) + r")(?=\.)")
_OUTPUT = re.compile(r"\.heads\.(\d+)\.(head_conv|implicit_a|implicit_m)(?=\.)")
_OUTPUTS = {"head_conv": "m", "implicit_a": "ia", "implicit_m": "im"}


def has_inner_lateral(keys: Mapping[str, object]) -> bool:
    """Tell MultimediaTechLab/YOLO's layout by the names of its outputs."""
    return any(_OUTPUT.search(key) for key in keys)


def with_published_names(state: Mapping[str, T]) -> dict[str, T]:
    """The same entries under the published keys; those that have them already stay."""
    return {_rename(key): value for key, value in state.items()}


def _rename(key: str) -> str:
    key = _PART.sub(lambda found: found[1] + _RENAMED[found[2]], key, count=1)
    return _OUTPUT.sub(lambda found: f".{_OUTPUTS[found[2]]}.{found[1]}", key)
