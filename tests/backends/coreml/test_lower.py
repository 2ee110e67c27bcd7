"""Rewriting for the engine changes nothing in what a network computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeyolo.models.blocks import SpaceToDepth
from edgeyolo.models.build import build
from edgeyolo.models.units import ConvAct
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
