"""Pictures grow over a run, and its last epochs see them as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.errors import UsageError
from edgeyolo.training.data.phases import Phases
from edgeyolo.training.recipe import TINY


def test_one_size_and_one_recipe_by_default() -> None:
    phases = Phases(TINY, 10, 64, 64, 32)
    assert {phases.at(epoch).image_size for epoch in range(10)} == {64}
    assert all(phases.at(epoch).recipe is TINY for epoch in range(10))


def test_each_size_for_as_many_epochs() -> None:
    sizes = [Phases(TINY, 9, 128, 64, 32).at(epoch).image_size for epoch in range(9)]
    assert sizes == [64] * 3 + [96] * 3 + [128] * 3


def test_the_last_epochs_are_plain_and_of_full_size() -> None:
    phases = Phases(replace(TINY, plain_epochs=2), 4, 96, 64, 32)
    assert [phases.at(epoch).image_size for epoch in range(4)] == [64, 96, 96, 96]
    plain = phases.at(2).recipe
    assert (plain.mosaic, plain.mixup, plain.paste_in) == (0, 0, 0)
    assert (plain.scale, plain.fliplr) == (TINY.scale, TINY.fliplr)
    assert phases.at(1).recipe.mosaic == TINY.mosaic


@given(st.integers(1, 40), st.integers(0, 50), st.integers(1, 10), st.integers(0, 10))
def test_sizes_never_shrink_and_end_full(epochs: int, plain: int, first: int, more: int) -> None:
    phases = Phases(replace(TINY, plain_epochs=plain), epochs, 32 * (first + more), 32 * first, 32)
    sizes = [phases.at(epoch).image_size for epoch in range(epochs)]
    assert sizes == sorted(sizes)
    assert all(size % 32 == 0 and 32 * first <= size <= 32 * (first + more) for size in sizes)
    if plain or epochs > more:
        assert sizes[-1] == 32 * (first + more)


@pytest.mark.parametrize(("size", "first", "told"), [
    (100, 100, "image_size=100: expected a multiple of 32"),
    (96, 50, "first_size=50: expected a multiple of 32"),
    (96, 128, "first_size=128: expected at most image_size=96"),
])  # fmt: skip
def test_sizes_that_do_not_fit(size: int, first: int, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Phases(TINY, 10, size, first, 32)
