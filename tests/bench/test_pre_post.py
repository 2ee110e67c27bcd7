"""The benchmark of pre- and post-processing measures what it says it does."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgeyolo.runtime.postprocess import DISPLAY, decode


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks/scripts/pre_post.py"
    spec = importlib.util.spec_from_file_location("pre_post", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_maps_hold_as_many_candidates_as_asked_for(bench: ModuleType) -> None:
    for count, objects in ((100, 20), (1260, 60)):
        found = decode(bench.raw_maps(count, objects), bench.OUTPUT, DISPLAY)
        assert len(found) == count
        assert len(set(found.class_id.tolist())) > 5
    assert bench.photograph().shape == (1080, 1920, 3)


def test_both_figures_are_printed_and_a_missed_limit_is_told(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pre_post.py", "--json"])
    monkeypatch.setattr(bench, "measure", lambda *_: {"median": 0.4, "p90": 0.5, "runs": 1})
    bench.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["results"]["preprocess_1080p_to_640"]["median"] == 0.4
    assert printed["results"]["postprocess_100_candidates"]["candidates"] == 100
    assert printed["limits"] == {"preprocess_1080p_to_640": 1.0, "postprocess_100_candidates": 0.5}
    monkeypatch.setattr(bench, "measure", lambda *_: {"median": 0.7, "p90": 0.8, "runs": 1})
    with pytest.raises(SystemExit, match="1"):
        bench.main()
