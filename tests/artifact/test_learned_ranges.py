"""Learned ranges as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.errors import DamagedFileError

ends = st.floats(-1e6, 1e6)
ranges = st.dictionaries(st.text(), st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair))))


@settings(max_examples=25)
@given(st.dictionaries(st.text(), ranges), st.integers(0, 10**6), st.text(), st.text())
def test_text_gives_the_same_ranges_back(
    sets: dict[str, dict[str, tuple[float, float]]], images: int, sha256: str, described: str
) -> None:
    learned = LearnedRanges(sets, images, sha256, described)
    assert LearnedRanges.from_json(json.dumps(learned.to_json()), "file") == learned


def _with_ends(text: str) -> str:
    return '{"sets": {"a": {"t": ' + text + '}}, "images": 1, "sha256": "", "described": ""}'


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{", '{"sets": 3}', '{"sets": {}}', "[" * 100_000, *map(_with_ends, ("[1]", "[2, 1]", "[0, Infinity]"))],
)  # fmt: skip
def test_anything_else_is_refused(damage: str) -> None:
    with pytest.raises(DamagedFileError, match="broken ranges"):
        LearnedRanges.from_json(damage, "best.safetensors")
