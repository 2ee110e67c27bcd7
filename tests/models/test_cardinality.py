"""E-ELAN in its two forms: twins side by side, and one block in groups (Figure 2d), compute and learn the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.errors import DamagedFileError, UsageError  # noqa: E402
from edgeyolo.models import specs  # noqa: E402
from edgeyolo.models.blocks import ElanBlock  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.cardinality import to_groups, to_twins  # noqa: E402
from edgeyolo.models.complexity import gflops, parameters  # noqa: E402
from edgeyolo.models.network import Network  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.models.scaling import elans, map_elans  # noqa: E402
from edgeyolo.models.topology import Elan, ModelSpec  # noqa: E402
from edgeyolo.models.units import Convs  # noqa: E402


@pytest.fixture
def spec_of(rich_spec: ModelSpec) -> Callable[[int], ModelSpec]:
    return lambda cardinality: map_elans(rich_spec, lambda elan: replace(elan, twins=cardinality))


def image() -> Any:
    return torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(3))


def assert_equal(network: Network, other: Network) -> None:
    found = other.state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(value, found.pop(key)), key
    assert not found


def learned(network: Network) -> tuple[list[Any], list[Any]]:
    """Maps and gradients in training mode, in float64: batch statistics are part of it."""
    network.train()
    maps = network(image().double())
    sum((head * torch.linspace(-1, 1, head.numel()).view_as(head)).sum() for head in maps).backward()
    return [head.detach() for head in maps], [p.grad for p in network.parameters()]


@pytest.mark.parametrize("cardinality", [2, 3, 4])
def test_both_forms_compute_and_learn_the_same(
    cardinality: int, spec_of: Callable[[int], ModelSpec], scramble: Any
) -> None:
    twins = scramble(build(spec_of(cardinality), 2)).double()
    groups = to_groups(twins)
    assert {elan.groups for elan in elans(groups.spec)} == {cardinality}
    assert {elan.twins for elan in elans(groups.spec)} == {1}
    with torch.no_grad():
        for mine, theirs in zip(
            twins(image().double()), groups(image().double()), strict=True
        ):  # lead and partial auxiliary maps
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    maps, gradients = learned(twins)
    other_maps, other_gradients = learned(groups)
    for mine, theirs in zip(maps, other_maps, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    assert len(gradients) > len(other_gradients)
    # A network whose weights are its gradients maps as weights do.
    kept = build(twins.spec, 2).double()
    for value, gradient in zip(kept.parameters(), gradients, strict=True):
        value.data = gradient
    for value, gradient in zip(to_groups(kept).parameters(), other_gradients, strict=True):
        torch.testing.assert_close(value.data, gradient, rtol=1e-6, atol=1e-6 * float(gradient.abs().max()))


@pytest.mark.parametrize("cardinality", [2, 3])
def test_there_and_back(cardinality: int, spec_of: Callable[[int], ModelSpec], scramble: Any) -> None:
    network = scramble(build(spec_of(cardinality), 2))
    again = to_twins(to_groups(network))
    assert again.spec == network.spec
    assert_equal(network, again)
    grouped = scramble(build(map_elans(network.spec, lambda e: replace(e, twins=1, groups=cardinality)), 2))
    assert_equal(grouped, to_groups(to_twins(grouped)))
    single = scramble(build(spec_of(1), 2))
    assert to_groups(single).spec == single.spec


def test_weights_are_copied_and_the_two_forms_cost_the_same(spec_of: Callable[[int], ModelSpec]) -> None:
    twins = build(spec_of(2), 2)
    groups = to_groups(twins)
    assert parameters(twins) == parameters(groups)
    assert gflops(twins, (128, 128)) == gflops(groups, (128, 128))
    before = groups.state_dict()["backbone.0.elan.twins.0.enter.branch.conv.weight"].clone()
    with torch.no_grad():
        for value in twins.parameters():
            value.add_(1)
    assert torch.equal(before, groups.state_dict()["backbone.0.elan.twins.0.enter.branch.conv.weight"])


def test_a_grouped_network_is_folded_and_saved_like_any_other(
    spec_of: Callable[[int], ModelSpec], scramble: Any
) -> None:
    network = scramble(to_groups(build(spec_of(4), 2)))
    assert reparameterize(network).report.largest.relative < 1e-4
    data = json.loads(json.dumps(network.spec.to_json()))
    assert ModelSpec.from_json(data) == network.spec
    assert data["backbone"][0]["elan"]["groups"] == 4
    assert "groups" not in specs.get("yolov7").to_json()["backbone"][0]["elan"]
    data["backbone"][0]["elan"]["groups"] = "2"
    with pytest.raises((DamagedFileError, UsageError)):
        ModelSpec.from_json(data)
    with pytest.raises(UsageError, match=r"Elan\.groups"):
        Elan(8, 8, groups=0)


def test_groups_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    block = ElanBlock(8, Elan(4, 8, groups=2), Convs("plain", "silu"))
    x = torch.randn(1, 8, 6, 6)
    _, last, inner = block(x)
    assert last.shape[1] == 8 and inner.shape[1] == 4 * 4
    with torch.no_grad():  # the first group is on the first half of every map
        block.twins[0].chain[0].conv.weight[:4] += 1
    assert torch.equal(block(x)[1], last)
    with torch.no_grad():
        block.twins[0].chain[0].conv.weight[4:] += 1
    assert not torch.equal(block(x)[1], last)


def test_networks_without_two_forms() -> None:
    with pytest.raises(UsageError, match="no ELAN blocks in two forms"):
        to_groups(build("yolov4-tiny", 2, device="meta"))
