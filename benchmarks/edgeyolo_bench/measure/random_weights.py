"""Networks with random weights, for speed where there are no trained ones.

Maps of the size that trained ones have.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.models.build import build
from edgeyolo.models.heads import ImplicitOutput, Output
from edgeyolo.models.network import Network
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.weights import save
from edgeyolo.runtime.preprocess import preprocess

SCENES, SEEN = 4, 256  # what random weights are fitted to: so many pictures of so many pixels a side
NOTHING = -8.0  # raw objectness of a cell that holds nothing: a confidence below 0.001


def save_random(path: Path, spec: Spec, classes: int = 80, seed: int = 0) -> None:
    """Write a weights file of a network with random weights."""
    names = [f"class {index}" for index in range(classes)]
    save(path, random_network(spec, classes, seed), names, {"source": "random", "seed": seed})


@torch.inference_mode()
def random_network(spec: Spec, classes: int = 80, seed: int = 0) -> Network:
    """A network in training form with stable random weights.

    In it a picture neither fades nor explodes from layer to layer.

    Behind fresh batch norms it fades, and maps of next to nothing hide every mistake and are denormal numbers, which
    some processors are slow with. Norms as training would set them, a channel at a time, blow up the channels that
    hardly vary, and with them every rounding: random networks are chaotic where trained ones are not. So each norm
    divides by one number.
    """
    torch.manual_seed(seed)
    network = build(spec, classes, form="training").eval()
    pictures, _ = preprocess([make_scene(seed).image for seed in range(SCENES)], InputContract(SEEN, SEEN))
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(_fit) for norm in norms]
    maps = network(torch.from_numpy(pictures))
    for hook in hooks:
        hook.remove()
    for output, each in zip(network.outputs, maps, strict=False):  # auxiliary maps follow, without a head
        assert isinstance(output, Output)
        _center(output, each, network.classes + 5)
    return network


def _fit(norm: nn.Module, given: tuple[torch.Tensor]) -> None:
    """Let a batch norm bring what it is given now to a mean square of 1."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
    norm.running_var.fill_(given[0].square().mean())


def _center(output: Output, maps: torch.Tensor, channels: int) -> None:
    """Center raw maps, and let no anchor hold anything.

    Random scores lie near each other, and which of two overlapping boxes is ahead any rounding may change: detections
    of a random network say nothing about a runtime. Its maps do.
    """
    move = -maps.movedim(1, 0).flatten(1).mean(1)
    assert output.conv.bias is not None
    scale = output.scale.flatten() if isinstance(output, ImplicitOutput) else torch.ones_like(move)
    output.conv.bias.add_(move / scale)
    # Whatever is seen: at another size than was fitted to, a random network's values may be several times as large.
    output.conv.weight[4::channels] = 0
    output.conv.bias[4::channels] = NOTHING / scale[4::channels]
