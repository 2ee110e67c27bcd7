"""YOLOv7 under another project's names, with generated weights: the mapping, and the one edge that differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models import specs  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.importer import import_checkpoint  # noqa: E402
from edgeyolo.models.other_names import has_inner_lateral, with_published_names  # noqa: E402
from edgeyolo.models.published import recognise  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.models.specs import ModelSpec  # noqa: E402

Shapes = dict[str, tuple[int, ...]]
THEIRS = {
    "51.cv1.": "51.pre_conv.0.", "51.cv2.": "51.short_conv.", "51.cv3.": "51.pre_conv.1.", "51.cv4.": "51.pre_conv.2.",
    "51.cv5.": "51.post_conv.0.", "51.cv6.": "51.post_conv.1.", "51.cv7.": "51.merge_conv.",
    ".rbr_dense.0.": ".conv1.conv.", ".rbr_dense.1.": ".conv1.bn.", ".rbr_1x1.0.": ".conv2.conv.",
    ".rbr_1x1.1.": ".conv2.bn.",
    **{f"105.{ours}.{i}.": f"105.heads.{i}.{theirs}." for i in range(3)
       for ours, theirs in (("m", "head_conv"), ("ia", "implicit_a"), ("im", "implicit_m"))},
}  # fmt: skip


@pytest.fixture
def theirs(published_shapes: Callable[[str, str], Shapes]) -> Shapes:
    """The keys and shapes of MultimediaTechLab/YOLO's v7.pt, as they follow from the published ones."""

    def rename(key: str) -> str:
        for ours, other in THEIRS.items():
            key = key.replace(ours, other)
        return key.removeprefix("model.")

    shapes = published_shapes("yolov7", "training")
    return {rename(key): shape for key, shape in shapes.items() if "anchor" not in key}


def test_the_layout_is_told_by_names_and_shapes(theirs: Shapes) -> None:
    assert len(theirs) == 564
    assert (
        sum(torch.Size(shape).numel() for key, shape in theirs.items() if "running" not in key and shape)
        == 37_622_682
    )
    state = {key: torch.empty(shape, device="meta") for key, shape in theirs.items()}
    found = recognise(state)
    assert found.spec == replace(specs.get("yolov7"), inner_lateral=True)
    assert (found.form, found.classes) == ("training", 80)


def test_every_entry_gets_its_published_name(
    theirs: Shapes, published_shapes: Callable[[str, str], Shapes]
) -> None:
    renamed = with_published_names({f"model.{key}": key for key in theirs})
    published = {key for key in published_shapes("yolov7", "training") if "anchor" not in key}
    assert renamed.keys() == published
    assert has_inner_lateral(theirs)
    assert not has_inner_lateral(dict.fromkeys(published))
    assert with_published_names(dict.fromkeys(published, 1)) == dict.fromkeys(published, 1)


@pytest.mark.slow
def test_the_file_imports(theirs: Shapes, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.rand(shape, generator=generator) for key, shape in theirs.items()}
    torch.save(state, tmp_path / "v7.pt")
    imported = import_checkpoint(tmp_path / "v7.pt")
    assert imported.network.spec.name == "yolov7"
    assert "concatenation" in "\n".join(imported.notes)
    kept = imported.network.state_dict()
    assert torch.equal(kept["spp.conv3.branch.conv.weight"], state["51.pre_conv.1.conv.weight"])
    assert torch.equal(kept["lead.1.pointwise.norm.bias"], state["103.conv2.bn.bias"])
    assert torch.equal(kept["outputs.2.scale"], state["105.heads.2.implicit_m.implicit"])


def narrow() -> ModelSpec:
    """yolov7 at an eighth of its width; its finest lateral's block has a concatenation as wide as its output."""
    from edgeyolo.models.scaling import scale_width

    return scale_width(specs.get("yolov7"), 1 / 8)


def test_the_finest_lateral_reads_the_concatenation(scramble: Callable[..., Any]) -> None:
    """Against the published graph, whose lateral is given the concatenation by hand."""
    published = scramble(build(narrow(), classes=2))
    inner = build(replace(narrow(), inner_lateral=True), classes=2).eval()
    inner.load_state_dict(published.state_dict())
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, found = published(image), inner(image)
        seen: list[Any] = []
        transition = published.get_submodule("backbone.1.elan.twins.0.transition")
        transition.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        published.get_submodule("top_down.1.lateral").register_forward_pre_hook(lambda _, given: (seen[0],))
        expected = published(image)
    for ours, reference, other in zip(found, expected, before, strict=True):
        assert torch.equal(ours, reference)
        assert not torch.equal(ours, other)
    assert reparameterize(inner).report.largest.relative <= 1e-5


def test_the_edge_is_part_of_the_spec() -> None:
    spec = replace(narrow(), inner_lateral=True)
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert "inner_lateral" not in narrow().to_json()
    with pytest.raises(UsageError, match="the concatenation has"):
        replace(specs.get("yolov7-w6"), inner_lateral=True)
