"""Every network against the published layer tables, node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.heads import Output  # noqa: E402
from edgeyolo.models.network import conv_units  # noqa: E402
from edgeyolo.models.units import ConvUnit, RepConv  # noqa: E402

UNITS = {"Conv": 1, "RepConv": 1, "SPPCSPC": 7, "DownC": 3}
SIDE = 640


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _executed(network: Any) -> list[tuple[ConvUnit, int, int]]:
    """(unit, input channels, stride of its output map) in the order of execution, outputs left out."""
    found: list[tuple[ConvUnit, int, int]] = []

    def note(unit: ConvUnit, inputs: tuple[Any, ...], output: Any) -> None:
        found.append((unit, inputs[0].shape[1], SIDE // output.shape[2]))

    for unit in conv_units(network).values():
        if not isinstance(unit, Output):
            unit.register_forward_hook(note)
    with torch.no_grad():
        network.eval()(torch.empty(1, 3, SIDE, SIDE, device="meta"))
    return found


def test_execution_is_the_published_one(case: tuple[str, str], layer_table: Callable[..., Any]) -> None:
    name, form = case
    network = build(name, form=form, device="meta")  # type: ignore[arg-type]
    executed = _executed(network)
    registered = [unit for unit in conv_units(network).values() if not isinstance(unit, Output)]
    assert [unit for unit, _, _ in executed] == registered
    *nodes, head = layer_table(name, form)
    for node in nodes:
        units = [executed.pop(0) for _ in range(UNITS.get(node["block"], 0))]
        assert sum(_size(unit) for unit, _, _ in units) == int(node["params"]), node
        if units:
            assert units[-1][0].kernel.in_channels == units[-1][1]
            assert units[-1][2] == int(node["out_stride"]), node
        if len(units) == 1:
            unit, c_in, _ = units[0]
            kernel, activation = unit.kernel, type(unit.act).__name__
            assert isinstance(unit, RepConv) == (node["block"] == "RepConv")
            assert [c_in, kernel.out_channels, kernel.kernel_size[0], kernel.stride[0], kernel.groups] == [
                int(node[key]) for key in ("c_in", "c_out", "kernel", "stride", "groups")
            ], node
            assert activation == node["act"], node
    assert not executed
    assert _size(network.outputs) + _size(network.aux_outputs) == int(head["params"])


def test_entries_are_the_published_ones(
    case: tuple[str, str], published_shapes: Callable[..., Any], summary: dict[Any, Any]
) -> None:
    name, form = case
    network = build(name, form=form, device="meta")  # type: ignore[arg-type]
    ours = sorted(tuple(value.shape) for value in network.state_dict().values())
    theirs = published_shapes(name, form)
    assert ours == sorted(shape for key, shape in theirs.items() if "anchor" not in key)
    assert _size(network) == int(summary[case]["params_unfused"])
