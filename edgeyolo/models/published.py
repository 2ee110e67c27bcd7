"""Published state dicts.

Shapes alone tell which network they are; their weights get our names.

A published key is `model.<node>.<path>`, nodes numbered in execution order. Our modules are registered in
that order, so the mapping is an ordered zip in which every pair must agree in kind (weight, bias, ...) and
shape. There is no table of layer numbers; any class count, anchors and prefix of the keys will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.models import specs
from edgeyolo.models.build import build
from edgeyolo.models.mmyolo_names import from_mmyolo, is_mmyolo, is_mmyolo_p6
from edgeyolo.models.network import Network, load_state
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.other_names import has_inner_lateral, with_published_names
from edgeyolo.models.topology import MAX_CLASSES, Activation, Anchors, Form, ModelSpec

Signature = list[tuple[str, tuple[int, ...]]]
"""(kind, shape) of every entry that holds learned values, in execution order."""

_NOT_LEARNED = ("anchors", "anchor_grid", "num_batches_tracked")
_KNOWN = "`edgeyolo models` lists the networks; training and deploy checkpoints of each are recognised."

# The order of siblings inside a node; numbers, and the number in cv1, cv2 ..., speak for themselves.
_ORDER = {"conv": 0, "bn": 1, "rbr_dense": 0, "rbr_1x1": 1, "ia": 0, "im": 1, "m": 2}
_KINDS = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}


@dataclass(frozen=True)
class Recognised:
    """Recognition of a published state dict.

    `spec` has the anchors found in it.

    `state` has float32 values under the keys of `build(spec, classes, form)`, without batch norm counters.
    """

    spec: Spec
    form: Form
    classes: int
    state: dict[str, Tensor]

    @property
    def anchors(self) -> Anchors:
        """(width, height) in pixels of each level's anchors, finest level first."""
        return self.spec.anchors

    def network(self) -> Network:
        """The network with these weights, in inference mode; they share memory."""
        return load_state(build(self.spec, self.classes, self.form, device="meta"), self.state)


def recognise(
    state: Mapping[str, Tensor], *, activation: Activation | None = None, implicit_folded: bool = True
) -> Recognised:
    """Find out what a published state dict is, and rename its entries to ours.

    state: published keys, in any order, with values of any float type. Three forms are known: training,
        deploy, and plain (fused by the published code: convolutions with bias).
    activation: the file's own, where it is known. Without it the network has its usual one; yolov7-tiny and
        yolov7-tiny-silu, which have the same shapes, then count as yolov7-tiny.
    implicit_folded: in a network fused by the published code, whose outputs hold its implicit knowledge
        already; its earliest version left that out.
    Raises EdgeYoloError naming the nearest network and the first entry that differs.
    """
    inner, mmyolo, folded = has_inner_lateral(state), is_mmyolo(state), is_mmyolo_p6(state)
    state = from_mmyolo(state) if mmyolo else with_published_names(state)
    if folded:
        state = {key: value for key, value in _fold_implicit(state).items() if _kind(key) != "implicit"}
    if is_fused_training(state):
        state = _without_leftovers(state if implicit_folded else _fold_implicit(state))
    keys = sorted((key for key in state if _kind(key) not in _NOT_LEARNED), key=_execution_order)
    shapes: Signature = [(_kind(key), tuple(state[key].shape)) for key in keys]
    form, anchors = _form(keys), _find_anchors(state)
    classes = _find_classes(keys, state, anchors)
    tried: list[tuple[Spec, Signature]] = []
    for spec in _likeliest_first(shapes, activation):
        own = _with_anchors(spec, anchors)
        network = build(own, classes, form, device="meta")
        learned = [key for key in network.state_dict() if _kind(key) not in _NOT_LEARNED]
        signature = _signature(network)
        if signature == shapes:
            named = _named(own, activation, inner)
            if mmyolo and named.levels == 3:  # of all its P5 networks, tiny included
                named = replace(named, anchors=specs.get("yolov7").anchors)
            values = {ours: state[key].detach().float() for ours, key in zip(learned, keys, strict=True)}
            return Recognised(named, form, classes, values)
        tried.append((spec, signature))
    raise _unknown(keys, shapes, form, tried)


def _named(spec: Spec, activation: Activation | None, inner: bool) -> Spec:
    """The spec as the file has it, in what shapes do not tell."""
    if inner and isinstance(spec, ModelSpec):
        spec = replace(spec, inner_lateral=True)
    return replace(spec, act=activation or spec.act)


def is_fused_training(state: Iterable[str]) -> bool:
    """Tell a training form that the published `fuse()` has folded.

    It leaves implicit vectors behind.
    """
    kinds = {_kind(key) for key in state}
    return "implicit" in kinds and "running_var" not in kinds


def _without_leftovers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A fused network without what it no longer computes.

    That is implicit vectors, auxiliary outputs and their layers.

    The auxiliary outputs' convolutions are the nodes just before the head, one a level.
    """
    parts = {key: _split(key) for key in state}
    auxiliary = {(node, path[1]) for node, path in parts.values() if path[0] == "m2"}
    head = max(node for node, _ in parts.values())
    return {
        key: state[key]
        for key, (node, path) in parts.items()
        if path[-1] != "implicit" and path[0] != "m2" and not head - len(auxiliary) <= node < head
    }


def _fold_implicit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs with their implicit knowledge folded in: im * (W (x + ia) + b)."""
    folded = dict(state)
    for key, offset in state.items():
        at = re.fullmatch(r"(.*\.)ia\.(\d{1,4})\.implicit", key)
        if at:
            weight, bias = (f"{at[1]}m.{at[2]}.{kind}" for kind in ("weight", "bias"))
            try:
                scale = state[f"{at[1]}im.{at[2]}.implicit"].double().flatten()
                kernel = state[weight].double()
                shifted = state[bias].double() + kernel.flatten(1) @ offset.double().flatten()
                folded |= {weight: kernel * scale.view(-1, 1, 1, 1), bias: shifted * scale}
            except (KeyError, RuntimeError) as error:
                raise DamagedFileError(
                    f"{key}: no output with a weight, a bias and a scale of its size"
                ) from error
    return folded


def _likeliest_first(shapes: Signature, activation: Activation | None) -> list[Spec]:
    """All networks, those first whose stem has the file's width.

    The order only saves time.
    """
    width = shapes[0][1][:1] if shapes else ()
    family = map(specs.find, specs.known())
    return sorted(family, key=lambda spec: ((spec.stem_width,) != width, spec.act != activation))


def _kind(key: str) -> str:
    return key.rpartition(".")[2]


def _form(keys: Iterable[str]) -> Form:
    kinds = {_kind(key) for key in keys}
    if "implicit" in kinds:
        return "training"
    return "deploy" if "running_var" in kinds else "plain"


def _signature(network: Network) -> Signature:
    entries = ((_kind(key), tuple(value.shape)) for key, value in network.state_dict().items())
    return [
        ("implicit" if kind in ("offset", "scale") else kind, shape)
        for kind, shape in entries
        if kind not in _NOT_LEARNED
    ]


def _split(key: str) -> tuple[int, list[str]]:
    """The node's number and the path inside the node.

    Whatever stands before the number is a prefix.
    """
    found = re.search(r"(?:^|\.)(\d{1,4})\.(.+)$", key)
    if found is None:
        raise EdgeYoloError(f"the entry {key!r}: expected keys such as model.0.conv.weight", hint=_KNOWN)
    return int(found[1]), found[2].split(".")


def _execution_order(key: str) -> tuple[int, ...]:
    node, (*modules, kind) = _split(key)
    ranks = [_rank(module) for module in modules]
    if modules[:1] == ["m2"]:
        ranks = [1, *ranks]  # auxiliary outputs after the lead's
    elif modules[:1] in (["m"], ["ia"], ["im"]):
        ranks = [0, *ranks[1:], ranks[0]]  # lead outputs level by level
    return (node, *ranks, _KINDS.get(kind, 0))


def _rank(module: str) -> int:
    number = re.fullmatch(r"(?:cv)?(\d{1,4})", module)
    return int(number[1]) if number else _ORDER.get(module, 0)


def _find_anchors(state: Mapping[str, Tensor]) -> tuple[str, Tensor] | None:
    """The anchors in the file.

    ("anchor_grid", pixels) or ("anchors", cells), as (levels, anchors, 2).
    """
    for kind in ("anchor_grid", "anchors"):
        for key, value in state.items():
            if _kind(key) == kind:
                if value.ndim < 3 or value.shape[-1] != 2 or value.numel() == 0:
                    raise DamagedFileError(
                        f"{key}: expected (width, height) pairs, found shape {tuple(value.shape)}"
                    )
                return kind, value.detach().float().reshape(value.shape[0], -1, 2)
    return None


def _with_anchors(spec: Spec, found: tuple[str, Tensor] | None) -> Spec:
    """The spec with the file's anchors.

    Unchanged where they are of another number of levels.
    """
    if found is None or len(found[1]) != spec.levels:
        return spec
    kind, values = found
    scales = (1,) * spec.levels if kind == "anchor_grid" else spec.strides
    pixels = [
        [[side * scale for side in pair] for pair in level]
        for level, scale in zip(values.tolist(), scales, strict=True)
    ]
    try:
        return replace(spec, anchors=tuple(tuple((w, h) for w, h in level) for level in pixels))
    except UsageError as error:
        raise DamagedFileError(f"the anchors in the file: {error.message}") from error


def _find_classes(
    keys: Iterable[str], state: Mapping[str, Tensor], anchors: tuple[str, Tensor] | None
) -> int:
    """The class count, from the channels of the first output."""
    per_cell = anchors[1].shape[1] if anchors else 3
    for key in keys:
        if _split(key)[1] == ["m", "0", "weight"]:
            channels = state[key].shape[0] if state[key].ndim else 0
            classes, rest = divmod(channels - 5 * per_cell, per_cell)
            if rest or not 1 <= classes <= MAX_CLASSES:
                raise EdgeYoloError(f"{key}: expected {per_cell} * (5 + classes) channels, found {channels}")
            return classes
    raise EdgeYoloError("no detection output: expected an entry such as model.105.m.0.weight", hint=_KNOWN)


def _unknown(
    keys: list[str], shapes: Signature, form: Form, tried: list[tuple[Spec, Signature]]
) -> EdgeYoloError:
    def agreeing(signature: Signature) -> int:
        pairs = enumerate(zip(shapes, signature, strict=False))
        return next((i for i, (a, b) in pairs if a != b), min(len(shapes), len(signature)))

    spec, signature = max(tried, key=lambda item: agreeing(item[1]))
    at = agreeing(signature)
    here = f"{keys[at]} is {shapes[at][1]}" if at < len(shapes) else f"it ends after {at} entries"
    there = f"a {signature[at][0]} of {signature[at][1]}" if at < len(signature) else "nothing more"
    return EdgeYoloError(
        f"not a network of the family: nearest is {spec.name} in {form} form, of which the first {at} "
        f"entries agree; then {here}, expected {there}",
        hint=_KNOWN,
    )
