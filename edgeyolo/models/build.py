"""Networks from specs, with what a spec tries put in."""

from __future__ import annotations

from contextlib import nullcontext
from typing import get_args

import torch

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.csp_network import CspNetwork
from edgeyolo.models.csp_topology import CspSpec
from edgeyolo.models.lite_network import LiteNetwork
from edgeyolo.models.lite_topology import LiteSpec
from edgeyolo.models.network import ElanNetwork, Network
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.tiny_network import TinyNetwork
from edgeyolo.models.tiny_topology import TinySpec
from edgeyolo.models.topology import MAX_CLASSES, Form


def build(
    spec: Spec | str,
    classes: int = 80,
    form: Form = "training",
    *,
    device: torch.device | str | None = None,
) -> Network:
    """Make a network with fresh weights.

    On the device "meta" it has shapes only and costs no memory.

    `spec` is a spec or one of `specs.known()`. Networks in the deploy or plain form can be made this way too,
    but their weights usually come from `published`, `weights` or `reparameterize`.
    """
    spec = specs.find(spec) if isinstance(spec, str) else spec
    if form not in get_args(Form):
        raise UsageError(f"form {form!r} is not one of {', '.join(get_args(Form))}")
    if isinstance(classes, bool) or not isinstance(classes, int) or not 1 <= classes <= MAX_CLASSES:
        raise UsageError(f"classes: expected a whole number from 1 to {MAX_CLASSES}, got {classes!r}")
    with torch.device(device) if device is not None else nullcontext():
        if isinstance(spec, CspSpec):
            return CspNetwork(spec, classes, form)
        if isinstance(spec, LiteSpec):
            return LiteNetwork(spec, classes, form)
        if isinstance(spec, TinySpec):
            return TinyNetwork(spec, classes, form)
        network = ElanNetwork(spec, classes, form)
        if spec.tried:
            from edgeyolo.models.planned import put_tried

            put_tried(network)
    return network
