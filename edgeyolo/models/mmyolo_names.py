"""State dicts of YOLOv7 under MMYOLO's names (its `yolov7_*_8xb16-300e_coco`).

Told by its published configurations and module names. Its networks are the paper's, in what they compute: backbone and
neck have the paper's convolutions, P5 networks its RepConv and implicit knowledge. Two things differ: anchors stand in
its configurations (yolov7-tiny's are yolov7's), and the auxiliary heads of the P6 networks read the maps that the lead
heads read. Those heads are left out, since they would learn something else here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

MMYOLO = (
    "MMYOLO's layout: it keeps anchors in its configuration; those of its published configurations are taken"
)
MMYOLO_P6 = (
    "its auxiliary heads read other maps than the paper's and are left out; implicit knowledge is folded in"
)
_HEAD = re.compile(r"(?:^|\.)bbox_head\.head_module\.(?:main_)?convs_pred\.\d+\.")
_AUXILIARY = re.compile(r"(?:^|\.)bbox_head\.head_module\.aux_convs_pred\.")
_OUTPUT = re.compile(r"bbox_head\.head_module\.(main_)?convs_pred\.(\d+)\.(\d+)\.(weight|bias|implicit)")
_REP = re.compile(r"(.*)\.(rbr_dense|rbr_1x1)\.(conv|bn)")
_REDUCE = re.compile(r"neck\.reduce_layers\.(\d+)\.")
_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_Place = tuple[int, ...]
# Where a block's convolutions stand in it. A pyramid begins with the first of its main layers, except tiny's, which
# has but one of them.
_INSIDE = {
    "short_conv": 0, "main_conv": 1, "main_convs": 1, "blocks": 2, "final_conv": 4,
    "short_layer": 1, "short_layers": 1, "main_layers": 2, "fuse_layers": 3, "stride_conv_branches": 1,
}  # fmt: skip


def is_mmyolo(keys: Iterable[str]) -> bool:
    """Tell MMYOLO's YOLOv7 by the names of its outputs."""
    return any(_HEAD.search(key) for key in keys)


def is_mmyolo_p6(keys: Iterable[str]) -> bool:
    """Tell its four-level networks, whose head has the last convolutions, too."""
    return any("head_module.main_convs_pred." in key for key in keys)


def from_mmyolo(state: Mapping[str, T]) -> dict[str, T]:
    """The same entries under keys as the published ones.

    One node a convolution; auxiliary heads are left out. Entries that no such network has keep their names.
    """
    named = {_bare(key): value for key, value in state.items() if not _AUXILIARY.search(key)}
    levels = 1 + max((int(found[1]) for key in named if (found := _REDUCE.match(key))), default=0)
    space_to_depth = any(key.startswith("backbone.stem.conv.") for key in named)
    places = {key: _place(key, levels, space_to_depth) for key in named}
    nodes = {place: node for node, place in enumerate(sorted({p for p in places.values() if p}))}
    return {_renamed(key, nodes, places[key]): value for key, value in named.items()}


def _bare(key: str) -> str:
    """The key from "backbone", "neck" or "bbox_head" on."""
    found = re.search(r"(?:^|\.)((?:backbone|neck|bbox_head)\..*)", key)
    return found[1] if found else key


def _renamed(key: str, nodes: Mapping[_Place, int], place: _Place) -> str:
    output = _OUTPUT.fullmatch(key)
    if output:
        kind = ("ia", "m", "im")[int(output[3]) - (1 if output[1] else 0)]
        return f"model.{len(nodes)}.{kind}.{output[2]}.{output[4]}"
    if not place:
        return key
    module, _, part = key.rpartition(".")
    rep = _REP.fullmatch(module)
    if rep:
        return f"model.{nodes[place]}.{rep[2]}.{'01'[rep[3] == 'bn']}.{part}"
    return f"model.{nodes[place]}.{module.rpartition('.')[2]}.{part}"


def _place(key: str, levels: int, space_to_depth: bool) -> _Place:
    """The place of a convolution in the published order; () for what is none."""
    path = key.split(".")
    if path[-1] not in _PARTS or _OUTPUT.fullmatch(key):
        return ()
    module = path[:-3] if _REP.fullmatch(".".join(path[:-1])) else path[:-2]
    root, part, *rest = module if len(module) > 1 else (*module, "")
    numbers = [int(word) for word in rest if word.isdecimal()]
    inner = _inside(rest, space_to_depth)
    stage = re.fullmatch(r"stage(\d+)", part)
    if root == "bbox_head":  # the convolution before an output of a P6 network
        return (5, *numbers[:1])
    if part == "stem":
        return (0, *numbers)
    if stage:
        return (1, int(stage[1]), *numbers[:1], *inner)
    if not numbers:
        return ()
    index, step = numbers[0], levels - 2 - numbers[0]
    known: dict[str, _Place] = {
        "reduce_layers": (2, 0, 0, *inner) if index == levels - 1 else (3, step, 1),
        "upsample_layers": (3, index, 0),
        "top_down_layers": (3, index, 2, *inner),
        "downsample_layers": (4, index, 0, *inner),
        "bottom_up_layers": (4, index, 1, *inner),
        "out_layers": (5, index),
    }
    return known.get(part, ())


def _inside(rest: list[str], space_to_depth: bool) -> _Place:
    """The place inside a block, from the words behind the block's own number."""
    name = next((place for place, word in enumerate(rest) if word in _INSIDE or "maxpool" in word), None)
    if name is None:
        return ()
    twin = [int(word) for word in rest[1:name] if word.isdecimal()]  # of E-ELAN
    numbers = [int(word) for word in rest[name + 1 :] if word.isdecimal()]
    if rest[name] == "maxpool_branches":  # DownC of the P6 networks ends with it, MPConv begins with it
        return (*twin, 2 if space_to_depth else 0)
    if rest[name] == "main_layers" and numbers == [0]:
        return (*twin, 0)
    return (*twin, _INSIDE[rest[name]], *numbers)
