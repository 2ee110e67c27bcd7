"""Compound scaling, paper 3.2 and Table 3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.scaling import elans, scale_compound, scale_depth, scale_width, table3
from edgeyolo.models.specs import ModelSpec

TABLE3 = {  # millions of parameters, GFLOPs at 640, as printed in the paper
    "base (v7-X light)": (47.0, 125.5),
    "width only (1.25 w)": (73.4, 195.5),
    "depth only (2.0 d)": (69.3, 187.6),
    "compound (v7-X)": (71.3, 189.9),
}


@pytest.mark.parametrize("row", TABLE3)
def test_table_3_is_reproduced(row: str) -> None:
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.models.build import build
    from edgeyolo.models.complexity import gflops, parameters

    network = build(table3()[row], form="plain", device="meta")
    params, flops = TABLE3[row]
    assert parameters(network) / 1e6 == pytest.approx(params, rel=0.005)
    assert gflops(network, (640, 640)) == pytest.approx(flops, rel=0.005)


def test_compound_scaling_of_the_base_is_yolov7x() -> None:
    assert table3()["compound (v7-X)"] == specs.get("yolov7x")


def _downc(spec: ModelSpec) -> ModelSpec:
    def swap(parts: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(replace(part, down="downc") for part in parts)

    return replace(spec, backbone=swap(spec.backbone), bottom_up=swap(spec.bottom_up))


@pytest.mark.parametrize(("name", "depth"), [("yolov7-e6", 1.5), ("yolov7-d6", 2.0)])
def test_e6_and_d6_are_w6_scaled(name: str, depth: float) -> None:
    """Paper 5.1; besides scaling they got another down-sampling, and auxiliary widths of their own."""
    published = specs.get(name)
    scaled = scale_compound(_downc(specs.get("yolov7-w6")), depth, name=name)
    assert replace(scaled, aux=published.aux) == published


def test_why_the_naive_ways_fail() -> None:
    """Depth alone makes the transitions' input wider and leaves their output; compound keeps the ratio.

    Width alone keeps it too, but widens the 3x3 chains, whose parameters grow with the square of that.
    """
    base = table3()["base (v7-X light)"]
    squeeze = [elan.concatenated / elan.out for elan in elans(base)]
    deep = list(elans(scale_depth(base, 2.0)))
    assert [new.concatenated / new.out for new in deep] == [1.5 * ratio for ratio in squeeze]
    assert [new.out for new in deep] == [old.out for old in elans(base)]
    wide, compound = list(elans(scale_width(base, 1.25))), list(elans(scale_compound(base, 1.5)))
    for scaled in (wide, compound):
        assert [new.concatenated / new.out for new in scaled] == squeeze
    assert [new.chain_width for new in wide] == [1.25 * old.chain_width for old in elans(base)]
    assert [new.chain_width for new in compound] == [old.chain_width for old in elans(base)]
    assert [new.out for new in wide] == [new.out for new in compound]


@pytest.mark.parametrize("name", specs.names())
def test_a_factor_of_one_changes_the_name_only(name: str) -> None:
    spec = specs.get(name)
    for scaled in (scale_compound(spec, 1.0), scale_width(spec, 1.0), scale_depth(spec, 1.0)):
        assert scaled.name != name
        assert replace(scaled, name=name) == spec


def test_scaled_specs_name_how_they_came_about() -> None:
    assert scale_compound(specs.get("yolov7-tiny"), 2.0).name == "yolov7-tiny-compound-2"
    assert scale_width(specs.get("yolov7-tiny"), 0.5, name="half").name == "half"


def test_narrower_widths_stay_multiples_of_eight() -> None:
    small = scale_width(specs.get("yolov7-tiny"), 0.3)
    widths = [
        small.spp,
        *small.lead,
        *(elan.width for elan in elans(small)),
        *(width for width, _ in small.stem),
    ]
    assert all(width >= 8 and width % 8 == 0 for width in widths)


def test_blocks_that_grow_differently_cannot_be_scaled_together() -> None:
    spec = specs.get("yolov7")
    mixed = replace(spec, spp=512, backbone=(replace(spec.backbone[0], elan=replace(spec.backbone[0].elan, depth=8)),
                                             *spec.backbone[1:]))  # fmt: skip
    with pytest.raises(UsageError, match=r"grow by \[1\.25, 1\.33.*one ratio only"):
        scale_compound(mixed, 1.5)
