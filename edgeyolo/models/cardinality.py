"""The two forms of E-ELAN (paper 3.1, Figure 2d), one from the other.

`twins=g` is g blocks side by side, as the published yolov7-e6e has them; `groups=g` is one block of cardinality g. They
compute the same: every tensor of the grouped form, batch norms included, is the twins' tensors one after the other
along its first dimension, and so are its gradients.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgeyolo.errors import UsageError
from edgeyolo.models.build import build
from edgeyolo.models.network import ElanNetwork, Network, load_state
from edgeyolo.models.scaling import elans, map_elans
from edgeyolo.models.topology import Elan

_TWIN = re.compile(r"(.*\.elan\.twins\.)(\d+)(\..*)")


def to_groups(network: Network) -> Network:
    """The network with every E-ELAN in its grouped form.

    The same function, copied weights, inference mode. Blocks of one twin stay as they are. UsageError for a network
    that has no ELAN blocks, or has RepConv in them.
    """
    return _changed(network, lambda elan: replace(elan, groups=elan.twins * elan.groups, twins=1))


def to_twins(network: Network) -> Network:
    """The network with every E-ELAN as twins, the other way round; see `to_groups`."""
    return _changed(network, lambda elan: replace(elan, twins=elan.twins * elan.groups, groups=1))


def has_groups(network: nn.Module) -> bool:
    """Tell a network with an ELAN block of several groups."""
    return isinstance(network, ElanNetwork) and any(elan.groups > 1 for elan in elans(network.spec))


def _changed(network: Network, change: Callable[[Elan], Elan]) -> Network:
    if not isinstance(network, ElanNetwork) or network.spec.tried not in ("", "whole-aux"):
        raise UsageError(f"{network.spec.name} has no ELAN blocks in two forms")
    spec = map_elans(network.spec, change)
    other = build(spec, network.classes, network.form, device="meta")
    return load_state(other, _regrouped(network.state_dict(), other.state_dict()))


def _regrouped(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of `state` under the keys, and cut into the shapes, of `wanted`."""
    whole: dict[str, list[Tensor]] = {}
    for key, value in state.items():
        whole.setdefault(_TWIN.sub(r"\1*\3", key), []).append(value)
    counts: dict[str, int] = {}
    for key in wanted:
        joined = _TWIN.sub(r"\1*\3", key)
        counts[joined] = counts.get(joined, 0) + 1
    result = {}
    for key in wanted:
        found = _TWIN.fullmatch(key)
        joined = _TWIN.sub(r"\1*\3", key)
        values = whole[joined]
        if values[0].ndim == 0:  # a batch norm's counter, the same in all
            result[key] = values[0].clone()
        else:
            result[key] = torch.cat(values).chunk(counts[joined])[int(found[2]) if found else 0].clone()
    return result
