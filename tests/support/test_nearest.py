"""Suggestions for mistyped names."""

from __future__ import annotations

import pytest

from edgeyolo.backend.registry import find_target
from edgeyolo.errors import UsageError
from edgeyolo.support.nearest import nearest
from edgeyolo.training.recipe import SHORT, change


@pytest.mark.parametrize(
    ("word", "known", "best"),
    [
        ("lr", ["lrf", "lr0", "box"], "lrf"),  # of the same length: in their order
        ("dtect", ["detect", "doctor"], "detect"),
        ("jetson", ["gpu-trt-fp16", "jetson-trt-fp16"], "jetson-trt-fp16"),
        ("trt", ["cpu-onnx-fp32", "jetson-trt-fp16"], "jetson-trt-fp16"),
        ("DETECT", ["detect"], "detect"),
    ],
)
def test_the_nearest_name(word: str, known: list[str], best: str) -> None:
    assert nearest(word, known)[0] == best


@pytest.mark.parametrize("word", ["", "zzzzzz"])
def test_nothing_is_near(word: str) -> None:
    assert nearest(word, ["detect", "val"]) == []


def test_suggestions_fit() -> None:
    with pytest.raises(UsageError) as error:
        change(SHORT, {"lr": 1})
    assert error.value.hint.startswith("Did you mean lr0")
    with pytest.raises(UsageError) as error:
        find_target("jetson")
    assert error.value.hint.startswith("Did you mean jetson-trt-fp16")
    with pytest.raises(UsageError) as error:
        find_target("cpu-onxx-fp32")
    assert "cpu-onnx-fp32" in error.value.hint
