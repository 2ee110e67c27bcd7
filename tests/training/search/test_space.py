"""Ranges of a search: around the recipe, inside of what a recipe may hold, and those that are asked for."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.training.recipe import P5, RECIPES, Recipe, change  # noqa: E402
from edgeyolo.training.search.space import Range, read_space, usual_space  # noqa: E402


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_recipe_lies_in_its_own_space_and_every_end_is_a_recipe(recipe: Recipe) -> None:
    space = usual_space(recipe, classes=3, rect=False)
    assert {"lr0", "momentum", "weight_decay", "box", "obj", "cls", "mosaic", "mixup", "hsv_s"} <= {
        each.name for each in space
    }
    for each in space:
        assert each.low <= getattr(recipe, each.name) <= each.high and each.low < each.high, each
        assert not each.log or each.low > 0
        for end in (each.low, each.high):
            change(recipe, {each.name: end})


def test_what_is_fixed_or_idle_is_left_out() -> None:
    names = {each.name for each in usual_space(P5, fixed=["lr0"], classes=1, rect=True)}
    everything = {each.name for each in usual_space(P5, classes=2, rect=False)}
    assert everything - names == {"lr0", "cls", "mosaic", "mixup"}
    without = usual_space(replace(P5, weight_decay=0.0), classes=2, rect=False)
    assert everything - {each.name for each in without} == {"weight_decay"}


def test_ranges_as_they_are_asked_for() -> None:
    space = read_space(P5, ["lr0", "box=0.02:0.2", "weight_decay=1e-5:1e-2", "paste_in_objects=5:40"])
    assert space == (
        Range("lr0", 0.002, 0.05, log=True),
        Range("box", 0.02, 0.2),
        Range("weight_decay", 1e-5, 1e-2, log=True),
        Range("paste_in_objects", 5, 40, whole=True),
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bxo"], "Did you mean box"),
        (["optimizer"], "optimizer is not a number"),
        (["autobalance"], "autobalance is not a number"),
        (["degrees"], "degrees has no usual range"),
        (["box=1"], "expected NAME=LOW:HIGH"),
        (["box=a:b"], "expected NAME=LOW:HIGH"),
        (["box=0.2:0.1"], "the lower end first"),
        (["mosaic=0:2"], "expected a number from 0 to 1"),
        (["box", "box=0.1:0.2"], "named twice"),
        (["to_dict"], "not a hyperparameter"),
    ],
)
def test_ranges_that_are_none(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_space(P5, words)
    assert said in str(refused.value)


def test_every_number_of_a_recipe_can_be_searched() -> None:
    for item in fields(Recipe):
        low, high = item.metadata.get("range", (None, None))
        if low is None or isinstance(item.default, bool):
            continue
        ends = f"{low:g}:{min(high, low + 50):g}"
        assert read_space(P5, [f"{item.name}={ends}"])[0].whole is isinstance(item.default, int)
