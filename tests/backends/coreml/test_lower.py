"""Rewriting for the engine changes nothing in what a network computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.export.trace import trace
from edgeyolo.models import specs
from edgeyolo.models.blocks import SpaceToDepth
from edgeyolo.models.build import build
from edgeyolo.models.scaling import regroup, scale_width
from edgeyolo.models.tiny_network import PartialBlock
from edgeyolo.models.units import ConvAct
from edgeyolo_coreml import limits
from edgeyolo_coreml.lower import FoldedConv, rescale_input, without_slices


def test_the_wide_convolution_gives_what_the_two_steps_gave() -> None:
    torch.manual_seed(0)
    unit = ConvAct(12, 10, 3, 1, nn.SiLU()).double()
    image = torch.rand(2, 3, 20, 28, dtype=torch.float64)
    with torch.no_grad():
        expected = unit(SpaceToDepth()(image))
        given = FoldedConv(unit).double()(image)
    # The wide kernel is filled in float32; the weights came from float32 already.
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-7)


def test_a_p6_network_loses_its_slices_and_keeps_its_maps() -> None:
    torch.manual_seed(0)
    network = build("yolov7-w6", classes=2, form="plain").eval()
    lowered = without_slices(network)
    assert any(isinstance(unit, SpaceToDepth) for unit in network.modules())
    assert not any(isinstance(unit, SpaceToDepth) for unit in lowered.modules())
    assert lowered.lead[0].conv.weight is network.lead[0].conv.weight, "only the first layer is new"  # type: ignore
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for one, other in zip(network(image), lowered(image), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov4-tiny-3l"])
def test_partial_blocks_give_their_halves_one_by_one(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, classes=2, form="plain").eval()
    lowered = without_slices(network)
    assert not any(isinstance(unit, PartialBlock) for unit in lowered.modules())
    assert any(isinstance(unit, PartialBlock) for unit in network.modules())
    sizes = [sum(p.numel() for p in each.parameters()) for each in (network, lowered)]
    assert sizes[0] == sizes[1]
    assert "Slice" not in kinds(lowered) and "Slice" in kinds(network)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for one, other in zip(network(image), lowered(image), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_groups_become_twins() -> None:
    torch.manual_seed(0)
    spec = regroup(scale_width(specs.get("yolov7-tiny"), 0.25), 2)
    network = build(spec, classes=2, form="plain").eval()
    lowered = without_slices(network)
    assert "Slice" not in kinds(lowered) and "Slice" in kinds(network)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for one, other in zip(network(image), lowered(image), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_slices_that_are_left_out_are_not_refused() -> None:
    network = build("yolov4-tiny", classes=2, form="plain", device="meta")
    graph = trace(network, InputContract(64, 64))
    slices = [each for each in graph.operations if each.kind == "Slice"]
    assert len(slices) == 3 and all(limits.refuse(each, graph) is None for each in slices)
    assert all(limits.elsewhere(each, graph) for each in slices)
    column = replace(slices[0], attributes={**slices[0].attributes, "axis": 3})
    assert limits.refuse(column, graph) is not None
    pooled = next(each for each in graph.operations if each.kind == "MaxPool")
    other = replace(slices[0], inputs=(pooled.output,))
    assert limits.refuse(other, graph) is not None


def kinds(network: nn.Module) -> set[str]:
    return {each.kind for each in trace(network, InputContract(64, 64)).operations}


def test_a_network_without_slices_is_returned_as_it_is() -> None:
    network = build("yolov7-tiny", classes=2, form="plain")
    assert without_slices(network) is network


@pytest.mark.parametrize(
    "follower", [nn.Identity(), ConvAct(12, 4, 5, 1, nn.SiLU()), ConvAct(12, 4, 3, 2, nn.SiLU())]
)
def test_space_to_depth_before_anything_else_is_left_alone(follower: nn.Module) -> None:
    network = nn.Sequential(nn.Sequential(SpaceToDepth(), follower))
    assert without_slices(network) is network


def test_rescaling_makes_up_for_another_scale_of_the_input() -> None:
    torch.manual_seed(0)
    network = build("yolov7-tiny", classes=2, form="plain").eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image)
        rescale_input(network, 256 / 255)
        after = network(image * 255 / 256)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
