"""Weights of another class list."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.training.loop.transfer import transfer  # noqa: E402


def test_same_classes_take_everything() -> None:
    source, network = build("yolov7-tiny", 2), build("yolov7-tiny", 2)
    report = transfer(network, ["a", "b"], source, ["a", "b"])
    assert report.left == () and report.classes == ()
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, source.state_dict()[key])


@pytest.mark.parametrize("same_count", [True, False])
def test_other_classes_take_what_fits(same_count: bool) -> None:
    source = build("yolov7-tiny", 3)
    names = ("c", "x", "a") if same_count else ("c", "x", "a", "y")
    network = build("yolov7-tiny", len(names))
    fresh = network.outputs[0].conv.weight.detach().clone().view(3, 5 + len(names), -1)
    report = transfer(network, names, source, ("a", "b", "c"))
    assert report.classes == ("c", "a")
    assert len(report.left) == 9  # weight, bias and scale of three outputs
    new = "1 new class" if same_count else "2 new classes"
    assert f"outputs.0.conv.weight (channels of {new})" in report.left
    assert torch.equal(network.stem[0].branch.conv.weight, source.stem[0].branch.conv.weight)
    assert torch.equal(network.outputs[0].offset, source.outputs[0].offset)
    mine = network.outputs[0].conv.weight.detach().view(3, 5 + len(names), -1)
    theirs = source.outputs[0].conv.weight.detach().view(3, 8, -1)
    assert torch.equal(mine[:, :5], theirs[:, :5])
    assert torch.equal(mine[:, 5], theirs[:, 7])  # "c"
    assert torch.equal(mine[:, 7], theirs[:, 5])  # "a"
    assert torch.equal(mine[:, 6], fresh[:, 6])  # "x" is new
    scale = network.outputs[2].scale.view(3, -1), source.outputs[2].scale.view(3, -1)
    assert torch.equal(scale[0][:, :5], scale[1][:, :5])
    assert report.sentences()[0].endswith("tensors taken from the weights")


def test_the_same_classes_in_another_order_are_all_taken() -> None:
    source, network = build("yolov7-tiny", 3), build("yolov7-tiny", 3)
    report = transfer(network, ["c", "a", "b"], source, ["a", "b", "c"])
    assert report.left == ()
    assert report.classes == ("c", "a", "b")
    mine, theirs = (each.outputs[1].conv.weight.detach().view(3, 8, -1) for each in (network, source))
    assert torch.equal(mine[:, 5:], theirs[:, [7, 5, 6]])


def test_another_network() -> None:
    source, network = build("yolov7-tiny", 2), build("yolov7", 2)
    report = transfer(network, ["a", "b"], source, ["a", "b"])
    assert report.left and report.taken < 100
    assert any("not in the weights" in reason or "shape" in reason for reason in report.left)
