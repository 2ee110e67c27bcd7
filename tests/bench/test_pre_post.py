"""The benchmark of pre- and post-processing measures what it says it does."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
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


def test_integers_and_planes_stand_for_the_same(bench: ModuleType) -> None:
    maps = bench.raw_maps(100, 20)
    integers, stated = bench.quantized(maps)
    for name, each in zip(stated.names, stated.quantization, strict=True):
        assert integers[name].dtype == np.int8
        off = np.abs(each.real(integers[name]).transpose(0, 3, 1, 2) - maps[name]).max()
        assert off <= each.scale, "half a step, and what the zero point is rounded by"
    image = bench.photograph()
    assert (
        np.abs(bench.nv12(image).to_bgr().astype(int) - image).mean() < 4
    )  # chroma at half the resolution of a picture that is noise to the last pixel


def test_both_figures_are_printed_and_a_missed_limit_is_told(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pre_post.py", "--json"])
    monkeypatch.setattr(bench, "measure", lambda *_: {"median": 0.3, "p90": 0.5, "runs": 1})
    bench.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["results"]["preprocess_1080p_to_640"]["median"] == 0.3
    assert printed["results"]["outside_the_network_nv12"]["median"] == 0.6
    assert printed["results"]["postprocess_100_candidates"]["candidates"] == 100
    assert printed["limits"] == bench.LIMITS
    assert set(bench.LIMITS) <= set(printed["results"])
    monkeypatch.setattr(bench, "measure", lambda *_: {"median": 0.7, "p90": 0.8, "runs": 1})
    with pytest.raises(SystemExit, match="1"):
        bench.main()
