"""Recipes: the published table, and changes to it by text and by file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeyolo.errors import UsageError
from edgeyolo.training.recipe import (
    CUSTOM,
    P5,
    P6,
    TINY,
    change,
    change_by_text,
    find_recipe,
    read_recipe,
    recipe_for,
)

# name: p5, p6, tiny, custom
TABLE = {
    "lr0": (0.01, 0.01, 0.01, 0.01),
    "lrf": (0.1, 0.2, 0.01, 0.1),
    "momentum": (0.937,) * 4,
    "weight_decay": (0.0005,) * 4,
    "warmup_epochs": (3,) * 4,
    "warmup_momentum": (0.8,) * 4,
    "warmup_bias_lr": (0.1,) * 4,
    "box": (0.05,) * 4,
    "cls": (0.3, 0.3, 0.5, 0.3),
    "obj": (0.7, 0.7, 1.0, 0.7),
    "anchor_t": (4.0,) * 4,
    "hsv_h": (0.015,) * 4,
    "hsv_s": (0.7,) * 4,
    "hsv_v": (0.4,) * 4,
    "degrees": (0,) * 4,
    "shear": (0,) * 4,
    "perspective": (0,) * 4,
    "flipud": (0,) * 4,
    "translate": (0.2, 0.2, 0.1, 0.2),
    "scale": (0.9, 0.9, 0.5, 0.5),
    "fliplr": (0.5,) * 4,
    "mosaic": (1.0,) * 4,
    "mixup": (0.15, 0.15, 0.05, 0.0),
    "copy_paste": (0,) * 4,
    "paste_in": (0.15, 0.15, 0.05, 0.0),
}


@pytest.mark.parametrize("name", TABLE)
def test_published_table(name: str) -> None:
    assert tuple(getattr(recipe, name) for recipe in (P5, P6, TINY, CUSTOM)) == TABLE[name]


@pytest.mark.parametrize(
    ("network", "recipe"),
    [
        ("yolov7", P5),
        ("yolov7x", P5),
        ("yolov7-tiny-silu", TINY),
        ("yolov7-w6", P6),
        ("yolov7-e6e", P6),
        ("yolor-csp", P5),
        ("yolov3", P5),
        ("yolor-d6", P6),
    ],
)
def test_recipe_of_a_network(network: str, recipe: Any) -> None:
    assert recipe_for(network) is recipe
    assert recipe_for(network, fine_tuning=True) is CUSTOM
    assert find_recipe(recipe.name) is recipe


def test_settings() -> None:
    changed = change_by_text(
        P5, ["box=0.1", "nominal_batch = 32", "autobalance=true", "strategy=lead-guided"]
    )
    assert (changed.box, changed.nominal_batch, changed.autobalance) == (0.1, 32, True)
    assert changed.strategy == "lead-guided"
    assert changed.cls == P5.cls
    assert change(P5, changed.to_dict()) == changed


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("box", "expected name=value, for example box=0.05"),
        ("bx=0.05", "Did you mean box?"),
        ("box=much", "box='much': expected a number"),
        ("mosaic=1.5", "mosaic=1.5: expected a number from 0 to 1"),
        ("lr0=-1", "expected a number from 0 to inf"),
        ("lr0=nan", "lr0=nan: expected a number"),
        ("nominal_batch=1.5", "nominal_batch"),
        ("autobalance=perhaps", "expected true or false"),
        ("strategy=none", "expected one of coarse-to-fine"),
        ("optimizer=lion", "expected one of sgd, adamw"),
    ],
)
def test_refused_settings(setting: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        change_by_text(P5, [setting])
    assert message in str(error.value)


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: tiny\nbox: 0.02\niou_t: 0.2\nloss_ota: 0\n")
    recipe = read_recipe(file)
    assert recipe.name == "mine"
    assert (recipe.box, recipe.cls, recipe.strategy) == (0.02, TINY.cls, "simple")
    for text, message in (
        ("- 1\n", "expected lines of name: value"),
        ("a: [\n", "not valid YAML"),
        ("x: 1\n", "'x'"),
        ("lr0: .inf\n", "expected a number from"),
        ("box: 2024-01-01\n", "expected a number"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_recipe(file)
    with pytest.raises(UsageError, match="no such file"):
        read_recipe(tmp_path / "none.yaml")
