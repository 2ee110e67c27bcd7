"""The benchmark of streams measures what it says: every way gives every frame the same result."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgeyolo import Detector

SCRIPTS = Path(__file__).parents[2] / "benchmarks/scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("bench_stream", SCRIPTS / "stream.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_stream", module)
    spec.loader.exec_module(module)
    return module


def test_every_way_gives_the_same_detections(
    script: ModuleType, small_artifact: Path, tmp_path: Path
) -> None:
    film = script.make_film(tmp_path / "film.mp4", script.FULL + 6)
    with Detector(small_artifact, conf=0.01) as detector:
        loop = list(script.plain_loop(detector, film))
        hand = [one for batch in script.by_hand(detector, film) for one in batch]
        streamed = [found for _, found in script.streamed(detector, film)]
        assert len(loop) == script.FULL + 6
        assert loop == hand == streamed
        found = script.summary(script.rates(detector, film, 0.05, 2))
        late = script.latencies(detector, 0.5)
    assert found["turns"] == 2
    assert set(found["frames a second"]) == set(script.WAYS)
    assert min(found["stream beside"].values()) > 0
    assert late["frames"] > 0
    assert late["latency ms"]["p50"] > 0
