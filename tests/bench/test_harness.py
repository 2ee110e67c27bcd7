"""Scenarios, images, the stopwatch and steady state, each alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import ImageError, UsageError
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo_bench.measure.scenarios import SCENARIOS, choose, query_shape
from edgeyolo_bench.measure.statistics import least_count
from edgeyolo_bench.measure.steady import judge_run, settle
from edgeyolo_bench.measure.stopwatch import harness_cost, make_query, timer_cost
from edgeyolo_bench.measure.workload import Workload, from_folder, generated
from edgeyolo_bench.values.measurement import STAGES

INPUT = InputContract(64, 96)
OUTPUT = RawMaps(("a", "b"), (8, 16), (((8, 8),), ((16, 16),)), 2)


@pytest.fixture(scope="module")
def scenes() -> Workload:
    return generated(3, (48, 64))


class Recorder:
    """A session that notes what it is given; every cell of the first row of the finest map is an object."""

    def __init__(self, input: InputContract = INPUT) -> None:
        self.input, self.batches = input, list[np.ndarray]()

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        self.input.check(batch)
        self.batches.append(batch.copy())
        maps = {
            name: np.full(shape, -9.0, np.float32)
            for name, shape in zip(OUTPUT.names, OUTPUT.shapes(len(batch), self.input.size), strict=True)
        }
        maps["a"][:, :4, 0, ::4] = 0.0  # of the anchor's size, in the middle of the cell
        maps["a"][:, 4:6, 0, ::4] = 5.0
        return maps

    def close(self) -> None:
        return


def pipeline(input: InputContract = INPUT) -> tuple[Pipeline, Recorder]:
    session = Recorder(input)
    return Pipeline(session, input, OUTPUT, ("one", "two")), session


def test_every_scenario_has_queries_enough_for_its_percentile() -> None:
    for scenario in SCENARIOS.values():
        assert scenario.percentile is None or scenario.min_count >= least_count(scenario.percentile)
        assert scenario.judged in scenario.stages


@pytest.mark.parametrize(
    ("name", "contract", "shape"),
    [
        ("single-stream", INPUT, (1, 1)),
        ("single-stream", InputContract(64, 96, batch=8), (1, 8)),
        ("multi-stream", INPUT, (8, 1)),
        ("multi-stream", InputContract(64, 96, dynamic_batch=True), (8, 8)),
        ("offline", INPUT, (1, 1)),
        ("offline", InputContract(64, 96, batch=4), (4, 4)),
        ("offline", InputContract(64, 96, dynamic_batch=True), (32, 32)),
        ("paper", INPUT, (1, 1)),
    ],
)
def test_queries_fit_the_network(name: str, contract: InputContract, shape: tuple[int, int]) -> None:
    assert query_shape(SCENARIOS[name], contract) == shape


def test_open_and_fixed_settings_of_a_scenario() -> None:
    assert choose("paper", batch=32, min_duration=1, min_count=9).facts(
        InputContract(64, 96, dynamic_batch=True)
    ).query_images == 32  # fmt: skip
    with pytest.raises(UsageError, match="a query of single-stream has 1"):
        choose("single-stream", batch=4)
    with pytest.raises(UsageError, match="the artifact takes 1 images at a time"):
        query_shape(choose("paper", batch=32), INPUT)


def test_a_query_runs_every_stage_on_the_next_images(scenes: Workload) -> None:
    pipe, session = pipeline()
    query = make_query(pipe, replace(SCENARIOS["multi-stream"], seed=None), scenes)
    times, found = query()
    assert len(times) == len(STAGES)
    assert all(time > 0 for time in times)
    assert times[-1] >= sum(times[:-1])  # end to end holds all stages
    assert found > 0
    assert len(session.batches) == 8
    for index in range(3):  # in a circle over three images
        np.testing.assert_array_equal(session.batches[index], session.batches[index + 3])
    assert not np.array_equal(session.batches[0], session.batches[1])


def test_the_images_of_queries_are_those_that_the_seed_draws(scenes: Workload) -> None:
    runs = []
    for seed in (0, 0, 1):
        pipe, session = pipeline()
        query = make_query(pipe, choose("multi-stream", seed=seed), scenes)
        query(), query()
        runs.append([batch.tobytes() for batch in session.batches])
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 3


def test_the_paper_scenario_times_the_network_alone_on_pictures(scenes: Workload) -> None:
    pipe, session = pipeline(InputContract(64, 96, dynamic_batch=True))
    query = make_query(pipe, choose("paper", batch=4), scenes)
    assert not session.batches
    runs = [query() for _ in range(10)]
    assert all(len(times) == 1 for times, _ in runs)
    assert {batch.shape for batch in session.batches} == {(4, 3, 64, 96)}
    assert len({batch.tobytes() for batch in session.batches}) > 1
    assert min(float(batch.std()) for batch in session.batches) > 0.01  # pictures, never zeros


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_harness_costs_little(name: str) -> None:
    """Microseconds: below 1 % of the fastest network. The bound is loose for a machine under load."""
    assert 0 < harness_cost(SCENARIOS[name], INPUT, OUTPUT) < 1.0
    assert 0 < timer_cost() < 0.05


def test_generated_scenes_are_always_the_same_and_never_flat(scenes: Workload) -> None:
    assert generated(3, (48, 64)) == scenes
    assert generated(2, (48, 64)).facts.sha256 != scenes.facts.sha256
    assert scenes.facts.source == "generated"
    pixels = cv2.imdecode(np.frombuffer(scenes.encoded[0], np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.std() > 5


def test_a_folder_of_photographs(tmp_path: Path) -> None:
    for seed in range(4):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), make_scene(seed, (40, 60)).image)
    found = from_folder(tmp_path)
    assert (found.facts.source, found.facts.count, found.facts.encoding) == (tmp_path.name, 4, "png")
    assert found.facts.pixels == (40, 60)
    assert found.query(3, 2) == [found.encoded[2], found.encoded[3]]
    cv2.imwrite(str(tmp_path / "9.jpg"), np.zeros((8, 8, 3), np.uint8))
    found = from_folder(tmp_path)
    assert found.facts.encoding == "jpeg+png"
    assert found.warnings == ("1 images are of a single colour",)


def test_pictures_of_nothing_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ImageError, match="single colour"):
        from_folder(tmp_path)


class Series:
    """Queries whose milliseconds follow a function of their number; they take no time. The clock is theirs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, latency: Any) -> None:
        self.count, self.now, self._latency = 0, 0.0, latency
        monkeypatch.setattr("edgeyolo_bench.measure.steady.perf_counter", lambda: self.now)

    def __call__(self) -> float:
        value = float(self._latency(self.count))
        self.count += 1
        self.now += value / 1e3
        return value


def noise(level: float) -> Any:
    rng = np.random.default_rng(0)
    return lambda number: 20 * (1 + level * rng.normal())


def test_a_steady_network_is_recognised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settle(Series(monkeypatch, noise(0.03)), limit=60)
    assert found.reached
    assert 20 <= found.discarded <= 60


def test_a_slow_start_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = noise(0.01)
    series = Series(monkeypatch, lambda number: steady(number) * (1 + 2 * np.exp(-number / 40)))
    found = settle(series, limit=60)
    assert found.reached
    assert found.discarded >= 150
    assert series() < 21


def test_unsettled_warm_up_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settle(Series(monkeypatch, lambda number: 20 * 1.01**number), limit=30)
    assert not found.reached
    assert found.discarded > 100


def test_a_single_slow_query_is_no_trend(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = noise(0.01)
    assert settle(
        Series(monkeypatch, lambda number: 900 if number == 0 else steady(number)), limit=60
    ).reached


def test_a_very_slow_network_still_gets_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settle(Series(monkeypatch, lambda number: 4000 + number % 3), limit=5)
    assert found.reached
    assert found.discarded == 8


@given(st.integers(0, 1000))
def test_a_run_that_drifts_is_not_steady(seed: int) -> None:
    rng = np.random.default_rng(seed)
    warm = settle_at_once()
    level = 10 + 0.1 * rng.normal(size=240)
    assert judge_run(warm, level).reached
    assert not judge_run(warm, level * np.linspace(1, 1.3, 240)).reached
    throttled = np.where(np.arange(240) < 120, level, 1.5 * level)  # a change point, as heat makes it
    assert not judge_run(warm, throttled).reached


def settle_at_once() -> Any:
    from edgeyolo_bench.values.measurement import SteadyState

    return SteadyState(True, 10)
