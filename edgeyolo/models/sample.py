"""Narrow three-class network with random weights, for tests and examples."""

from __future__ import annotations

from pathlib import Path

CLASS_NAMES = ("cat", "dog", "bird")


def sample_weights(path: str | Path) -> Path:
    """Write weights of the network "small" in training form.

    They are the same every time. The network has every path of the real ones, takes 96 x 96 pixels and detects
    something in any picture; classes are `CLASS_NAMES`. Needs torch, and a second.
    """
    import torch

    from edgeyolo.models.build import build
    from edgeyolo.models.specs import get
    from edgeyolo.models.topology import Elan, ModelSpec, Stage, TopDown
    from edgeyolo.models.weights import save

    def elan(width: int, out: int) -> Elan:
        return Elan(width, out, depth=2, stride=1)

    spec = ModelSpec(
        "small",
        stem=((8, 2),),
        backbone=(
            Stage("conv", 16, elan(8, 16)),
            Stage("pool", 16, elan(8, 16)),
            Stage("pool", 16, elan(16, 32)),
            Stage("pool", 32, elan(16, 32)),
        ),
        spp=16,
        top_down=(TopDown(16, elan(8, 16)), TopDown(16, elan(8, 16))),
        bottom_up=(Stage("conv", 16, elan(8, 16)), Stage("conv", 16, elan(8, 16))),
        lead=(16, 24, 32),
        anchors=get("yolov7-tiny-silu").anchors,
        imgsz=96,
        csp_spp=False,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = build(spec, classes=len(CLASS_NAMES), form="training")
        for name, value in network.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(0.0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                value.normal_(0.0, 0.5)  # far from the initial -4 of objectness: some cells detect something
    save(path, network.eval(), CLASS_NAMES, {"source": "random"})
    return Path(path)
