"""The best AP within a latency, sizes that are swept, and the figures as a file of their own."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli.program import cli
from edgeyolo.errors import UsageError
from edgeyolo_bench.measure.jobs import Wanted, make_jobs
from edgeyolo_bench.measure.scenarios import SCENARIOS
from edgeyolo_bench.measure.within import choose_within, with_choice
from edgeyolo_bench.measure.workload import generated
from edgeyolo_bench.render.deliver import exit_code
from edgeyolo_bench.render.headline import headline
from edgeyolo_bench.render.table import notes
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import Report

from .sample import DEVICE, measurement, sample_report


def item(name: str, ms: float, ap: float | None, spread: float = 1.0) -> Measurement:
    base = measurement("yolov7-tiny", "cpu-openvino-fp32", size=416, ap=ap)
    assert base.latency is not None
    latency = replace(base.latency, value=ms, low=ms - spread, high=ms + spread)
    return replace(base, artifact=replace(base.artifact, name=name), latency=latency)


QUICK, GOOD, BEST, EDGE = (
    item("quick", 5, 0.30),
    item("good", 12, 0.41),
    item("best", 30, 0.5),
    item("edge", 14.5, 0.45),
)


def label(name: str) -> str:
    return f"{name} cpu-openvino-fp32"


def report(*items: Measurement, limit: float = 15.0) -> Report:
    return with_choice(replace(sample_report(), measurements=items), limit)


def test_the_best_ap_within_is_chosen_and_by_how_much() -> None:
    found = choose_within("d", [QUICK, BEST, GOOD], 15.0)
    assert (found.best, found.second, found.beyond) == (label("good"), label("quick"), label("best"))
    assert found.ahead == pytest.approx(11.0) and found.missed == pytest.approx(9.0)
    assert (found.latency_ms, found.high_ms, found.spare_ms, found.over_ms) == (12, 13, 2, 16)


def test_within_is_what_the_whole_interval_is() -> None:
    found = choose_within("d", [QUICK, EDGE], 15.0)
    assert found.best == label("quick") and found.unsure == (label("edge"),)
    assert choose_within("d", [QUICK, EDGE], 15.5).best == label("edge"), "the end itself is within"


def test_of_equal_ap_the_quicker_is_chosen() -> None:
    assert choose_within("d", [GOOD, item("other", 9, 0.41)], 15.0).best == label("other")


def test_what_may_not_be_quoted_is_not_chosen() -> None:
    silent = replace(BEST, reportable=False)
    found = choose_within("d", [item("blind", 4, None), silent, QUICK], 50.0)
    assert found.best == label("quick") and found.unjudged == (label("blind"), label("best"))


def test_nothing_within_ends_with_four_and_says_how_far_it_is() -> None:
    none = report(BEST, limit=15.0)
    assert exit_code(none) == 4
    assert f"Nothing measured on {DEVICE.name} is within 15.0 ms" in headline(none)
    assert f"{label('best')}, the best, is 16.0 ms above" in headline(none)
    assert exit_code(report(QUICK)) == 0


def test_the_choice_is_on_top_and_in_the_file(tmp_path: Path) -> None:
    whole = report(QUICK, EDGE, GOOD, BEST)
    assert (
        f"{label('good')} is the best: AP 41.0%, at most 13.0 ms, 2.00 ms to spare, 11.0 points before "
        f"{label('quick')}; {label('best')} has 9.0 points more and is 16.0 ms above."
    ) in headline(whole)
    assert f"{label('edge')}: within 15 ms, but the end of its interval is not" in list(notes(whole))
    assert Report.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_weights_are_measured_at_every_size(small_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, asked = Artifact.open(small_artifact), []

    def cached(weights: Path, target: str, *, size: tuple[int, int], **_: object) -> Artifact:
        asked.append(size)
        return artifact

    monkeypatch.setattr("edgeyolo.export.cache.cached_artifact", cached)
    own = artifact.manifest.input.size
    wanted = Wanted(SCENARIOS["single-stream"], generated(1), sweep=(own, (64, 96)))
    jobs, failures = make_jobs([Path("mine.safetensors")], wanted)
    assert asked == [own, (64, 96)] and not failures
    assert [job.name for job in jobs] == [f"mine-{own[0]}", "mine-64x96"]
    assert [job.name for job in make_jobs([small_artifact], wanted)[0]] == [small_artifact.name]
    with pytest.raises(UsageError, match="another size"):
        make_jobs([small_artifact], replace(wanted, sweep=((64, 96), (96, 64))))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-latency", "15"], "such as 15ms"),
        (["--max-latency", "0ms"], "such as 15ms"),
        (["--max-latency", "15ms"], "--data is not given"),
        (["--max-latency", "15ms", "--data", "d", "--scenario", "offline"], "no latency"),
        (["--imgsz", "320,big"], "expected a number of pixels"),
    ],
)
def test_what_cannot_be_chosen_is_refused(words: list[str], said: str) -> None:
    found = CliRunner().invoke(cli, ["bench", "builtin", *words])
    assert found.exit_code == 2 or isinstance(found.exception, UsageError)
    assert said in found.output + str(found.exception)


def test_the_command_chooses_and_writes_its_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgeyolo_bench.measure.jobs.make_jobs", lambda *_: ([], []))
    monkeypatch.setattr(
        "edgeyolo_bench.measure.measure.measure", lambda *_, **__: replace(report(BEST), choices=())
    )
    monkeypatch.setattr("edgeyolo.datasets.load_dataset", lambda *_, **__: None)
    words = [
        "bench",
        "builtin",
        "--no-limits",
        "--json",
        "--data",
        "d",
        "--max-latency",
        "0.015s",
        "--csv",
        "f.csv",
    ]
    found = CliRunner().invoke(cli, words)
    assert found.exit_code == 4
    assert json.loads(found.stdout)["choices"][0]["over_ms"] == 16.0
    (row,) = csv.DictReader((tmp_path / "f.csv").open(encoding="utf-8"))
    assert row["model"] == "best" and float(row["AP"]) == 0.5
