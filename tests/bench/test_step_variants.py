"""Variants of a training step are run in turns and told against the first."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from step_variants import Cost, measure, to_report, variants  # noqa: E402


def test_each_variant_steps_once_a_round() -> None:
    first, *_, last = variants(64, compile=False)
    assert (last.name, last.config.precision) == ("bf16", "bf16")
    chosen = [replace(first, config=replace(first.config, batch_size=2), times=[]) for _ in range(2)]
    chosen[1].denormals = False
    measure(chosen, 2)
    assert [len(each.times) for each in chosen] == [2, 2]
    assert min(chosen[0].times) > 0
    assert torch.tensor([1e-40]) * 0.5 > 0, "denormal numbers are as they were"


def test_the_report_compares_with_the_first() -> None:
    facts, lines = to_report([Cost("base", 30.0, 29.0), Cost("fast", 20.0, 19.0)], {"model": "X"}, 192, 9)
    assert lines[-1] == "| fast | 20.0 | 19.0 | 1.50 |"
    assert facts["milliseconds"][1] == {"name": "fast", "median": 20.0, "least": 19.0}
