"""YOLOv7 under MMYOLO's names, with generated weights: every entry gets to its place."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.errors import EdgeYoloError  # noqa: E402
from edgeyolo.models import specs  # noqa: E402
from edgeyolo.models.importer import import_checkpoint  # noqa: E402
from edgeyolo.models.mmyolo_names import from_mmyolo, is_mmyolo  # noqa: E402
from edgeyolo.models.published import recognise  # noqa: E402

Shapes = dict[str, tuple[int, ...]]


def elan(depth: int, pairs: bool) -> list[str]:
    blocks = [f"blocks.{i // 2}.{i % 2}" if pairs else f"blocks.{i}" for i in range(depth)]
    return ["short_conv", "main_conv", *blocks, "final_conv"]


TINY = ["short_conv", "main_convs.0", "main_convs.1", "main_convs.2", "final_conv"]
MPCONV = ["maxpool_branches.1", "stride_conv_branches.0", "stride_conv_branches.1"]
DOWNC = ["stride_conv_branches.0", "stride_conv_branches.1", "maxpool_branches.1"]
SPP = [
    "main_layers.0", "short_layer", "main_layers.1", "main_layers.2", "fuse_layers.0", "fuse_layers.1", "final_conv"
]  # fmt: skip
TINY_SPP = ["short_layer", "main_layers", "fuse_layers", "final_conv"]


def modules(  # noqa: PLR0917 - the parts in their order
    stem: list[str], first: list[str], down: list[str], backbone: list[str], neck: list[str], spp: list[str],
    *, levels: int, neck_down: list[str],
) -> list[str]:  # fmt: skip
    """MMYOLO's convolutions, those before the outputs included, in the published order of execution."""

    def under(prefix: str, names: list[str]) -> list[str]:
        return [f"{prefix}.{name}".rstrip(".") for name in names]

    made = under("backbone.stem", stem)
    for stage in range(1, levels + 2):
        tiny_first = stage == 1 and not first
        downs = first if stage == 1 else down
        made += under(f"backbone.stage{stage}.0", downs)
        made += under(f"backbone.stage{stage}.{0 if tiny_first else 1}", backbone)
    made += under(f"neck.reduce_layers.{levels - 1}", spp)
    for i in range(levels - 1):
        made += [f"neck.upsample_layers.{i}.0", f"neck.reduce_layers.{levels - 2 - i}"]
        made += under(f"neck.top_down_layers.{i}", neck)
    for i in range(levels - 1):
        made += under(f"neck.downsample_layers.{i}", neck_down) + under(f"neck.bottom_up_layers.{i}", neck)
    head = "bbox_head.head_module.main_convs_pred.{}.0" if levels == 4 else "neck.out_layers.{}"
    return made + [head.format(i) for i in range(levels)]


NETWORKS = {
    "yolov7-tiny": modules(["0", "1"], [], [], TINY, TINY, TINY_SPP, levels=3, neck_down=[""]),
    "yolov7": modules(
        ["0", "1", "2"], [""], MPCONV, elan(4, True), elan(4, False), SPP, levels=3, neck_down=MPCONV
    ),
    "yolov7x": modules(
        ["0", "1", "2"], [""], MPCONV, elan(6, True), elan(6, True), SPP, levels=3, neck_down=MPCONV
    ),
    "yolov7-w6": modules(["conv"], [""], [""], elan(4, True), elan(4, False), SPP, levels=4, neck_down=[""]),
    "yolov7-e6": modules(
        ["conv"], DOWNC, DOWNC, elan(6, True), elan(6, False), SPP, levels=4, neck_down=DOWNC
    ),
}


def key_parts(key: str) -> tuple[int, str]:
    _, node, path = key.split(".", 2)
    return int(node), path


@pytest.fixture
def theirs(published_shapes: Callable[[str, str], Shapes]) -> Callable[[str], tuple[Shapes, dict[str, str]]]:
    """A network's keys and shapes in MMYOLO's training form, and each key's published one ("deploy" part)."""

    def make(name: str) -> tuple[Shapes, dict[str, str]]:
        shapes = {k: v for k, v in published_shapes(name, "deploy").items() if "anchor" not in k}
        units: dict[tuple[Any, ...], str] = {}
        ours = iter(NETWORKS[name])
        keys: Shapes = {}
        published: dict[str, str] = {}
        head = max(key_parts(key)[0] for key in shapes)
        p6 = specs.get(name).levels == 4
        for key in sorted(shapes, key=lambda k: (key_parts(k)[0], k)):
            node, path = key_parts(key)
            if node == head:
                _, level, part = path.split(".")
                place = f"main_convs_pred.{level}.2" if p6 else f"convs_pred.{level}.1"
                new = f"bbox_head.head_module.{place}.{part}"
            else:
                inside = path.split(".")
                unit = (node, inside[0] if inside[0].startswith("cv") else "")
                if unit not in units:
                    units[unit] = next(ours)
                rest = ".".join(inside[1:] if unit[1] else inside)
                for a, b in ((".0.", ".conv."), (".1.", ".bn.")):
                    rest = rest.replace("rbr_dense" + a, "rbr_dense" + b).replace(
                        "rbr_1x1" + a, "rbr_1x1" + b
                    )
                new = f"{units[unit]}.{rest}"
            keys[new], published[new] = shapes[key], key
        assert next(ours, None) is None
        return keys, published

    return make


def filled(shapes: Shapes) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}
    keys = list(state)
    random.Random(0).shuffle(keys)  # no order of the file is used
    return {key: state[key] for key in keys}


def implicit(name: str) -> Shapes:
    """The implicit vectors, and a P6 network's auxiliary heads, that the published deploy form lacks."""
    spec = specs.get(name)
    p6, made = spec.levels == 4, {}
    for level, width in enumerate(spec.lead):
        prefix = f"bbox_head.head_module.{'main_' if p6 else ''}convs_pred.{level}"
        made[f"{prefix}.{1 if p6 else 0}.implicit"] = (1, width, 1, 1)
        made[f"{prefix}.{3 if p6 else 2}.implicit"] = (1, 255, 1, 1)
        if p6:
            aux = f"bbox_head.head_module.aux_convs_pred.{level}"
            made[f"{aux}.0.conv.weight"] = (spec.aux[level], width // 2, 3, 3)
            made[f"{aux}.1.weight"] = (255, spec.aux[level], 1, 1)
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_every_entry_gets_to_its_place(name: str, theirs: Any) -> None:
    shapes, published = theirs(name)
    state = {key: torch.empty(shape, device="meta") for key, shape in (shapes | implicit(name)).items()}
    assert is_mmyolo(state)
    renamed = from_mmyolo({key: published.get(key, "") for key in state})
    kept = sorted((key_parts(key)[0], original) for key, original in renamed.items() if original)
    nodes = [key_parts(original)[0] for _, original in kept]
    assert nodes == sorted(nodes) and len(kept) == len(published)
    if specs.get(name).levels == 3:
        found = recognise(state)
        assert (found.spec.name, found.form, found.classes) == (name, "training", 80)
        assert found.anchors == specs.get("yolov7").anchors  # its tiny's too


def test_the_file_imports(theirs: Any, tmp_path: Path) -> None:
    shapes, published = theirs("yolov7-tiny")
    state = filled(shapes | implicit("yolov7-tiny"))
    names = tuple(f"thing {i}" for i in range(80))
    file = {"meta": {"epoch": 300, "dataset_meta": {"CLASSES": names}}, "state_dict": state}
    torch.save(file, tmp_path / "yolov7.pth")
    imported = import_checkpoint(tmp_path / "yolov7.pth")
    assert imported.network.spec.name == "yolov7-tiny" and imported.class_names == names
    assert imported.network.form == "training"
    assert any("MMYOLO" in note for note in imported.notes)
    expected = recognise({key: state[other] for other, key in published.items()})
    kept = imported.network.state_dict()
    for key, value in expected.state.items():
        assert torch.equal(kept[key], value), key
    m = "bbox_head.head_module.convs_pred.2"
    assert torch.equal(kept["outputs.2.scale"], state[f"{m}.2.implicit"])
    assert torch.equal(kept["outputs.2.offset"], state[f"{m}.0.implicit"])


def test_heads_of_a_p6_network(theirs: Any) -> None:
    """Implicit knowledge is folded in, auxiliary heads are left out."""
    shapes, _ = theirs("yolov7-w6")
    heads = {k: v for k, v in (shapes | implicit("yolov7-w6")).items() if k.startswith("bbox_head")}
    state = filled(heads)
    rest = {key: torch.empty(shape, device="meta") for key, shape in shapes.items() if key not in heads}
    found = recognise(state | rest)
    assert (found.spec, found.form) == (specs.get("yolov7-w6"), "deploy")
    m = "bbox_head.head_module.main_convs_pred.1"
    weight, scale = state[f"{m}.2.weight"], state[f"{m}.3.implicit"].flatten()
    shifted = state[f"{m}.2.bias"] + weight.flatten(1) @ state[f"{m}.1.implicit"].flatten()
    torch.testing.assert_close(found.state["outputs.1.conv.weight"], weight * scale.view(-1, 1, 1, 1))
    torch.testing.assert_close(found.state["outputs.1.conv.bias"], shifted * scale)
    assert torch.equal(found.state["lead.1.branch.conv.weight"], state[f"{m}.0.conv.weight"])


def test_another_of_its_networks_is_called_by_its_name(theirs: Any, tmp_path: Path) -> None:
    shapes, _ = theirs("yolov7-tiny")
    state = filled(dict.fromkeys(shapes | implicit("yolov7-tiny"), (1,)))
    state["backbone.stage1.0.attention.weight"] = torch.zeros(3)
    torch.save({"state_dict": state}, tmp_path / "other.pth")
    with pytest.raises(EdgeYoloError, match="MMDetection or MMYOLO"):
        import_checkpoint(tmp_path / "other.pth")
