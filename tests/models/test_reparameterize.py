"""Folding into plain convolutions."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.fold import fold  # noqa: E402
from edgeyolo.models.heads import ImplicitOutput, Output  # noqa: E402
from edgeyolo.models.network import conv_units  # noqa: E402
from edgeyolo.models.reparameterize import FoldReport, reparameterize  # noqa: E402
from edgeyolo.models.units import ConvAct  # noqa: E402


@pytest.mark.parametrize("form", ["training", "deploy", "plain"])
@pytest.mark.parametrize("classes", [1, 7])
def test_the_lead_maps_stay_and_nothing_but_convolutions_is_left(
    rich_spec: Any, scramble: Any, form: Any, classes: int
) -> None:
    network = scramble(build(rich_spec, classes=classes, form=form))
    result = reparameterize(network)
    folded = result.network
    assert (folded.spec, folded.classes, folded.form, folded.training) == (rich_spec, classes, "plain", False)
    image = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        before, after = network(image)[: network.levels], folded(image)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-5 * old.abs().max().item())
    assert {type(unit) for unit in conv_units(folded).values()} == {ConvAct, Output}
    assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d | ImplicitOutput)]
    assert len(folded.aux) == len(folded.aux_outputs) == 0
    assert all(key.endswith((".conv.weight", ".conv.bias")) for key in folded.state_dict())


def test_folding_is_exact_up_to_rounding(rich_spec: Any, scramble: Any) -> None:
    network = scramble(build(rich_spec, classes=3)).double()
    assert reparameterize(network).report.largest.relative < 1e-13


def test_the_network_is_left_as_it_was(rich_spec: Any, scramble: Any) -> None:
    network = scramble(build(rich_spec, classes=3)).train()
    network.backbone[0].eval()  # mixed modes, as when a part is frozen
    modes = {name: module.training for name, module in network.named_modules()}
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = reparameterize(network).network
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_folding_again_changes_nothing(rich_spec: Any, scramble: Any) -> None:
    once = reparameterize(scramble(build(rich_spec, classes=3))).network
    twice = reparameterize(once)
    first, second = once.state_dict(), twice.network.state_dict()
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key])
        assert value.data_ptr() != second[key].data_ptr()
    assert {(level.absolute, level.relative) for level in twice.report.levels} == {(0.0, 0.0)}


def test_the_report_says_how_far_each_level_moved(rich_spec: Any, scramble: Any) -> None:
    network = scramble(build(rich_spec, classes=3))
    report = reparameterize(network, seed=5).report
    assert (report.size, report.seed) == ((64, 64), 5)
    assert [level.level for level in report.levels] == [0, 1, 2]
    assert report == reparameterize(network, seed=5).report
    assert report != reparameterize(network, seed=6).report
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        old, new = network(image), reparameterize(network).network(image)
    for level in report.levels:
        difference = (old[level.level] - new[level.level]).abs().max().item()
        assert level.absolute == difference
        assert level.relative == pytest.approx(difference / old[level.level].abs().max().item())
    assert 0 < report.largest.relative == max(level.relative for level in report.levels) < 1e-5


def test_weights_that_are_not_finite_show_in_the_report(rich_spec: Any, scramble: Any) -> None:
    network = scramble(build(rich_spec, classes=3, form="deploy"))
    with torch.no_grad():
        network.outputs[1].conv.bias[0] = math.nan
    report: FoldReport = reparameterize(network).report
    assert (report.largest.level, report.largest.relative) == (1, math.inf)


def test_modules_without_a_folding_rule_are_refused() -> None:
    with pytest.raises(TypeError, match="no rule to fold Linear"):
        fold(torch.nn.Linear(2, 2))
