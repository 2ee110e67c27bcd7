"""Networks built from specs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models.blocks import Pyramid, SpaceToDepth  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.network import conv_units, load_state  # noqa: E402
from edgeyolo.models.units import ConvNorm  # noqa: E402

FORMS = ("training", "deploy", "plain")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(64, 64), (64, 160)])
def test_maps_are_finest_first_and_four_dimensional(rich_spec: Any, form: Any, size: tuple[int, int]) -> None:
    network = build(rich_spec, classes=4, form=form).eval()
    with torch.no_grad():
        maps = network(torch.rand(2, 3, *size))
    assert network.strides == (8, 16, 32)
    grids = [(2, 2 * 9, size[0] // stride, size[1] // stride) for stride in (8, 16, 32)]
    assert [tuple(each.shape) for each in maps[: network.levels]] == grids
    assert [tuple(each.shape) for each in maps[network.levels :]] == (grids if form == "training" else [])


def test_the_smallest_networks_run_at_sizes_other_than_the_trained(rich_spec: Any) -> None:
    network = build(rich_spec, classes=1, form="plain").eval()
    with torch.no_grad():
        small, large = network(torch.zeros(1, 3, 64, 64)), network(torch.zeros(1, 3, 192, 128))
    assert [each.shape[1] for each in small] == [each.shape[1] for each in large] == [12, 12, 12]


@pytest.mark.parametrize("form", FORMS)
def test_channels_last_gives_the_same_numbers(rich_spec: Any, scramble: Any, form: Any) -> None:
    network = scramble(build(rich_spec, classes=2, form=form))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(image)
        network.to(memory_format=torch.channels_last)
        found = network(image.to(memory_format=torch.channels_last))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * other.abs().max().item())


def test_every_parameter_learns_in_the_training_form(rich_spec: Any) -> None:
    network = build(rich_spec, classes=3).train()
    sum(each.square().mean() for each in network(torch.rand(2, 3, 128, 128))).backward()
    idle = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    # A batch norm takes out what is constant over a channel, and LeakyReLU or SiLU never cut off a whole one.
    assert not idle


def test_auxiliary_heads_read_the_second_twin_alone(rich_spec: Any, scramble: Any) -> None:
    network = scramble(build(rich_spec, classes=2))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        first_twin = network.top_down[-1].elan.twins[0]
        for parameter in first_twin.parameters():
            parameter.mul_(1.5)
        after = network(image)
    moved = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert moved == [True, True, True, False, False, False]


@pytest.mark.parametrize("classes", [1, 80])
def test_biases_start_from_the_published_prior(rich_spec: Any, classes: int) -> None:
    torch.manual_seed(0)
    network = build(rich_spec, classes=classes)
    for outputs in (network.outputs, network.aux_outputs):
        for output, stride in zip(outputs, network.strides, strict=True):
            bias = output.conv.bias.detach().view(2, 5 + classes)
            bound = 1 / math.sqrt(output.conv.in_channels)  # of torch's own start
            assert (bias[:, :4].abs() <= bound).all()
            assert ((bias[:, 4] - math.log(8 / (640 / stride) ** 2)).abs() <= bound).all()
            assert ((bias[:, 5:] - math.log(0.6 / (classes - 0.99))).abs() <= bound).all()


def test_implicit_vectors_start_near_nothing_and_one() -> None:
    torch.manual_seed(0)
    outputs = build("yolov7-tiny", classes=80).outputs
    offsets = torch.cat([output.offset.flatten() for output in outputs])
    scales = torch.cat([output.scale.flatten() for output in outputs])
    for values, mean in ((offsets, 0.0), (scales, 1.0)):
        assert abs(values.mean().item() - mean) < 0.004
        assert 0.017 < values.std().item() < 0.023


def test_batch_norms_have_the_published_constants(rich_spec: Any) -> None:
    norms = [m.norm for m in build(rich_spec, device="meta").modules() if isinstance(m, ConvNorm)]
    assert norms
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


def test_the_activation_is_the_specs(rich_spec: Any) -> None:
    for act, kind in (("silu", torch.nn.SiLU), ("leaky_relu", torch.nn.LeakyReLU)):
        network = build(replace(rich_spec, act=act), device="meta")
        acts = [unit.act for unit in conv_units(network).values() if hasattr(unit, "act")]
        assert {type(each) for each in acts} == {kind}
    assert acts[0].negative_slope == 0.1


def test_space_to_depth_takes_rows_first() -> None:
    image = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    expected = torch.cat(
        [image[:, :, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))], 1
    )
    assert torch.equal(SpaceToDepth()(image), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (20, 20)])
def test_the_chained_pools_equal_the_wide_ones(size: tuple[int, int]) -> None:
    image = torch.randn(1, 2, *size)
    wide = [torch.nn.functional.max_pool2d(image, k, 1, k // 2) for k in (13, 9, 5)]
    assert all(torch.equal(one, other) for one, other in zip(Pyramid()(image), wide, strict=True))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("form", ["training", "plain"])
def test_a_traced_network_gives_the_same_numbers(rich_spec: Any, scramble: Any, form: Any) -> None:
    network = scramble(build(rich_spec, classes=2, form=form))
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.rand(1, 3, 64, 64), check_trace=False)
        image = torch.rand(2, 3, 128, 64)
        for one, other in zip(traced(image), network(image), strict=True):
            torch.testing.assert_close(one, other)


def test_an_exported_network_gives_the_same_numbers(rich_spec: Any, scramble: Any) -> None:
    network = scramble(build(rich_spec, classes=2, form="plain"))
    batch = torch.export.Dim("batch", min=1, max=32)
    program = torch.export.export(network, (torch.rand(2, 3, 64, 64),), dynamic_shapes={"images": {0: batch}})
    image = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(program.module()(image), network(image), strict=True):
            torch.testing.assert_close(one, other)


def test_weights_given_to_a_network_on_meta(rich_spec: Any, scramble: Any) -> None:
    network = scramble(build(rich_spec, classes=2))
    learned = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
    twin = load_state(build(rich_spec, classes=2, device="meta"), learned)
    assert not twin.training
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(twin(image), network(image), strict=True))
    assert all(parameter.requires_grad for parameter in twin.parameters())


@pytest.mark.parametrize("classes", [0, -1, 2.0, True, "80", 10**6])
def test_a_class_count_that_cannot_be_is_refused(rich_spec: Any, classes: Any) -> None:
    with pytest.raises(UsageError, match="classes: expected a whole number from 1"):
        build(rich_spec, classes=classes, device="meta")


def test_an_unknown_form_or_name_is_refused() -> None:
    with pytest.raises(UsageError, match="'fused' is not one of training, deploy, plain"):
        build("yolov7", form="fused", device="meta")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="yolov8"):
        build("yolov8", device="meta")
