"""Choice of the P3 edge of the permissively licensed yolov7: both are tried, the better one is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.datasets import Dataset, load_dataset  # noqa: E402
from edgeyolo.detector.lateral import choose_lateral, measure_ap  # noqa: E402
from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.importer import Imported, Origin  # noqa: E402
from edgeyolo.models.scaling import scale_width  # noqa: E402
from edgeyolo.models.specs import get  # noqa: E402

NO_NAMES = "the file has no class names; the classes are called class_0 and on"


@pytest.fixture(scope="module")
def imported() -> Imported:
    torch.manual_seed(0)
    spec = replace(scale_width(get("yolov7"), 1 / 16), inner_lateral=True, imgsz=64)
    origin = Origin("v7.pt", "0" * 64, "torch", "state dict", "", "float32")
    return Imported(build(spec, classes=2).eval(), ("class_0", "class_1"), origin, {}, (NO_NAMES,))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """One picture with one box, of two classes."""
    import cv2
    import numpy as np

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    (tmp_path / "labels" / "a.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    (tmp_path / "data.yaml").write_text("names: [cell, blob]\nval: images\n")
    return load_dataset(str(tmp_path / "data.yaml"))


@pytest.mark.parametrize(
    ("inner", "outer", "kept"),
    [(0.4, 0.5, False), (0.5, 0.4, True), (0.0, 0.0, True), (None, None, True), (None, 0.1, False)],
)
def test_the_better_edge_is_kept(
    inner: Any, outer: Any, kept: bool, imported: Imported, dataset: Dataset
) -> None:
    asked = []

    def measure(candidate: Imported, _: Dataset) -> float | None:
        asked.append(candidate.network.spec.inner_lateral)  # type: ignore[union-attr]
        return inner if candidate.network.spec.inner_lateral else outer  # type: ignore[union-attr,no-any-return]

    choice = choose_lateral(imported, dataset, measure)
    assert asked == [True, False]
    assert choice.imported.network.spec.inner_lateral is kept  # type: ignore[union-attr]
    assert (choice.inner, choice.outer) == (inner, outer)
    assert choice.imported.class_names == ("cell", "blob")
    words = "-" if inner is None else f"{inner:.1%}"
    assert f"{words} and {'-' if outer is None else f'{outer:.1%}'}; kept" in choice.imported.notes[-1]
    for key, value in imported.network.state_dict().items():
        assert torch.equal(choice.imported.network.state_dict()[key], value), key


def test_names_of_the_file_stay(imported: Imported, dataset: Dataset) -> None:
    named = replace(imported, class_names=("a", "b"), notes=())
    assert choose_lateral(named, dataset, lambda *_: 0.0).imported.class_names == ("a", "b")


def test_lateral_edge_without_a_choice(imported: Imported, dataset: Dataset) -> None:
    plain = replace(imported, network=build(scale_width(get("yolov7"), 1 / 16), classes=2).eval())
    with pytest.raises(UsageError, match=r"v7\.pt: yolov7.* leaves nothing to choose"):
        choose_lateral(plain, dataset)
    three = replace(imported, network=build(imported.network.spec, classes=3).eval())
    with pytest.raises(UsageError, match="2 classes, the weights have 3"):
        choose_lateral(three, dataset)


@pytest.mark.slow
def test_ap_is_measured(imported: Imported, dataset: Dataset) -> None:
    """An untrained network finds nothing to the point, but is run on the images."""
    ap = measure_ap(replace(imported, class_names=("cell", "blob")), dataset)
    assert ap is not None and 0.0 <= ap <= 1.0
