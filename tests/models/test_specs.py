"""The networks as data."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.models import specs
from edgeyolo.models.specs import Elan, ModelSpec, Stage, TopDown


def test_the_eight_networks_are_listed() -> None:
    assert specs.names() == (
        "yolov7-tiny", "yolov7-tiny-silu", "yolov7", "yolov7x", "yolov7-w6", "yolov7-e6", "yolov7-d6", "yolov7-e6e",
    )  # fmt: skip
    assert [specs.get(name).name for name in specs.names()] == list(specs.names())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"yolov9.*yolov7-tiny.*yolov7-e6e"):
        specs.get("yolov9")


def test_strides_and_anchors_are_the_published_ones(summary: dict[tuple[str, str], dict[str, str]]) -> None:
    for (name, _), row in summary.items():
        spec = specs.get(name)
        assert spec.strides == tuple(map(int, row["strides"].split()))
        flat = [[side for pair in level for side in pair] for level in spec.anchors]
        assert flat == json.loads(row["anchors_px"])


def test_related_networks_differ_in_few_fields() -> None:
    tiny, silu = specs.get("yolov7-tiny"), specs.get("yolov7-tiny-silu")
    assert replace(tiny, name=silu.name, act="silu") == silu
    e6, e6e = specs.get("yolov7-e6"), specs.get("yolov7-e6e")

    def single(part: Any) -> Any:
        return replace(part, elan=replace(part.elan, twins=1))

    parts = {name: tuple(map(single, getattr(e6e, name))) for name in ("backbone", "top_down", "bottom_up")}
    assert replace(e6e, name=e6.name, **parts) == e6
    assert {part.elan.twins for part in (*e6e.backbone, *e6e.top_down, *e6e.bottom_up)} == {2}


@pytest.mark.parametrize("name", specs.names())
def test_a_spec_survives_json(name: str) -> None:
    spec = specs.get(name)
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k != key}


DAMAGE = {
    "not an object": lambda data: [data],
    "a missing field": lambda data: _without(data, "lead"),
    "an unknown field": lambda data: data | {"code": "os.system"},
    "a width in words": lambda data: data | {"spp": "512"},
    "a negative width": lambda data: data | {"spp": -512},
    "a width of a billion": lambda data: data | {"spp": 10**9},
    "a width of true": lambda data: data | {"spp": True},
    "a flag of 1": lambda data: data | {"rep": 1},
    "an unknown activation": lambda data: data | {"act": "eval"},
    "an unknown down-sampling": lambda data: data | {"bottom_up": [data["bottom_up"][0] | {"down": "x"}] * 2},
    "an odd stage": lambda data: data | {"bottom_up": [data["bottom_up"][0] | {"channels": 255}] * 2},
    "a block that is none": lambda data: data | {"top_down": [{"channels": 8, "elan": 3}] * 2},
    "a stem of numbers": lambda data: data | {"stem": [32, 64]},
    "no name": lambda data: data | {"name": ""},
    "a stride of 3": lambda data: data | {"stem": [[32, 3]]},
    "too few levels": lambda data: data | {"lead": data["lead"][1:]},
    "too many auxiliary levels": lambda data: data | {"aux": [64] * 4},
    "anchors of one level": lambda data: data | {"anchors": data["anchors"][:1]},
    "anchors in words": lambda data: data | {"anchors": [[["a", "b"]]] * 3},
    "an anchor of no size": lambda data: data | {"anchors": [[[0, 5]]] * 3},
    "an anchor of NaN": lambda data: data | {"anchors": [[[math.nan, 5]]] * 3},
    "uneven anchors": lambda data: data | {"anchors": [[[1, 5]], [[1, 5]], [[1, 5], [2, 3]]]},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_spec_is_refused_by_where_it_stood(damage: Any) -> None:
    with pytest.raises(DamagedFileError, match=r"^some file: "):
        ModelSpec.from_json(damage(specs.get("yolov7").to_json()), "some file")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Elan(8, 8, depth=3, stride=2),
        lambda: Elan(8, 8, depth=100),
        lambda: Elan(8, 8, twins=0),
        lambda: Elan(8, 8, chain=0),
        lambda: Stage("pool", 7, Elan(8, 8)),
        lambda: TopDown(0, Elan(8, 8)),
    ],
)
def test_parts_that_cannot_be_built_are_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_reading_about_networks_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from edgeyolo.models import paper, scaling, specs, topology, weights\n"
        "scaling.table3(), specs.get('yolov7'), paper.figures('yolov7')\n"
        "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_activation_is_another_spec() -> None:
    from edgeyolo.models.specs import with_activation

    tiny = specs.get("yolov7-tiny")
    relu = with_activation(tiny, "relu")
    assert (relu.name, relu.act) == ("yolov7-tiny-relu", "relu")
    assert replace(relu, name=tiny.name, act=tiny.act) == tiny
    assert with_activation(tiny, "leaky_relu") is tiny
    assert with_activation(relu, "silu").name == "yolov7-tiny-silu"  # the name says one activation, the last
