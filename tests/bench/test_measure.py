"""Whole measurements: in processes of their own, in turns, beside a baseline, interrupted, on the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli import cli
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo_bench.facts import cpu
from edgeyolo_bench.facts.load import Spent
from edgeyolo_bench.measure import measure as measuring
from edgeyolo_bench.measure.jobs import Wanted, make_jobs, split_targets
from edgeyolo_bench.measure.measure import Labelled, Listener, measure
from edgeyolo_bench.measure.scenarios import Scenario, choose
from edgeyolo_bench.measure.subject import Job, Opened, Turn
from edgeyolo_bench.measure.worker import Worker
from edgeyolo_bench.measure.workload import generated
from edgeyolo_bench.remote import elsewhere
from edgeyolo_bench.remote.device import Remote
from edgeyolo_bench.remote.fleet import Member
from edgeyolo_bench.render.baseline import compare
from edgeyolo_bench.render.deliver import exit_code
from edgeyolo_bench.render.table import NOT_REPORTABLE, columns, notes, rows, tables
from edgeyolo_bench.values.device import CpuFacts
from edgeyolo_bench.values.measurement import AccuracyFacts, ArtifactFacts, SteadyState
from edgeyolo_bench.values.report import Report, load_report, merge

WORKLOAD = generated(3, (96, 128))
SHORT = choose("single-stream", min_duration=0.2, min_count=40)


def job(artifact: Path, name: str = "small", scenario: Scenario = SHORT) -> Job:
    return Job(name, "cpu-onnx-fp32", artifact, scenario, WORKLOAD, threads=1)


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, arguments)])


# With a real runtime, in real processes ------------------------------------------------------------------------------


def labelled_scenes(folder: Path) -> Path:
    """Three scenes, labelled with the small network's classes."""
    data = write_dataset(folder, range(3), (96, 96))
    text = json.loads(data.read_text())
    text["categories"] = [
        {"id": number, "name": name} for number, name in enumerate(("cat", "dog", "bird"), 1)
    ]
    text["annotations"] = [item for item in text["annotations"] if item["category_id"] <= 3]
    data.write_text(json.dumps(text))
    return data


@pytest.fixture(scope="module")
def measured(small_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The small network against itself, with AP."""
    data = labelled_scenes(tmp_path_factory.mktemp("data"))
    told: list[tuple[int, int | None]] = []
    listener = Listener(turns=lambda done, total: told.append((done, total)))
    pytest.importorskip("pycocotools", reason="needs the eval extra")
    report = measure(
        [job(small_artifact, "one"), job(small_artifact, "two")],
        labelled=Labelled(str(data)),
        listener=listener,
    )
    assert told == [(done, 20) for done in range(21)]
    return report


def test_both_demands_are_met_and_every_stage_is_there(measured: Report, small_artifact: Path) -> None:
    manifest = Artifact.open(small_artifact).manifest
    for item in measured.measurements:
        assert item.stages[0].count >= 40
        assert item.duration >= 0.15  # the queries' own time of 0.2 s
        assert [stage.name for stage in item.stages] == [
            "decode", "preprocess", "inference", "postprocess", "end-to-end"
        ]  # fmt: skip
        assert sum(stage.median for stage in item.stages[:4]) <= item.stages[4].mean * 1.5
        assert item.artifact.sha256 == Artifact.open(small_artifact).sha256
        assert (item.artifact.parameters, item.artifact.gflops) == (manifest.parameters, manifest.gflops)
        assert manifest.parameters
        assert item.detections > 0
        assert 0 < item.overhead.share < 0.05
        assert item.peak_memory is not None
        assert item.peak_memory > 1 << 20
        assert item.threads == 1
        assert item.cores_used is not None


def test_ap_is_of_the_artifact_that_was_timed(measured: Report) -> None:
    one, two = (item.accuracy for item in measured.measurements)
    assert one == two
    assert one is not None
    assert one.images == 3
    assert set(one.metrics) >= {"AP", "AP50"}


def test_an_artifact_against_itself_is_compared_pair_by_pair(measured: Report) -> None:
    (found,) = measured.comparisons
    assert (found.first, found.second, found.pairs) == ("one cpu-onnx-fp32", "two cpu-onnx-fp32", 10)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.ratio <= found.high


def test_a_report_of_a_real_run_comes_back(measured: Report, tmp_path: Path) -> None:
    measured.save(tmp_path / "report.json")
    assert load_report(tmp_path) == measured


def test_the_command_line_prints_one_json_document_and_a_table(
    small_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine makes queries alike; how many independent ones they are worth is tested elsewhere.
    monkeypatch.setattr(
        "edgeyolo_bench.measure.statistics.effective_count", lambda values: float(len(values))
    )
    done = bench(
        small_artifact,
        "--min-duration",
        0.1,
        "--min-count",
        40,
        "--scenario",
        "paper",
        "--no-limits",
        "-o",
        tmp_path,
    )
    assert done.exit_code == 0, done.output
    assert "small-onnx" in done.stdout
    assert "the harness costs at most" in done.stderr
    report = load_report(tmp_path)
    assert [stage.name for stage in report.measurements[0].stages] == ["inference"]
    done = bench(small_artifact, "--min-duration", 0, "--min-count", 40, "--scenario", "paper", "--no-limits", "--json",
                 "--baseline", tmp_path, "--tolerance", 1000)  # fmt: skip
    assert done.exit_code == 0, done.output
    again = Report.from_json(json.loads(done.stdout))
    assert {change.figure for change in again.changes} == {"p50 ms", "images/s"}
    assert not any(change.worse for change in again.changes)


def test_the_process_reports_what_went_wrong(small_artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(small_artifact, tmp_path / "damaged")
    with (tmp_path / "damaged/model.onnx").open("ab") as file:
        file.write(b"x")
    worker = Worker(job(tmp_path / "damaged"))
    try:
        with pytest.raises(DamagedFileError, match=r"model\.onnx was changed") as caught:
            worker.open()
        assert caught.value.hint
        os.kill(worker._process.pid or 0, signal.SIGKILL)
        with pytest.raises(EdgeYoloError, match="SIGKILL"):
            worker.warm_up()
    finally:
        worker.close()
    assert not worker._process.is_alive()


@pytest.mark.slow
def test_ctrl_c_leaves_a_report_of_what_was_completed(small_artifact: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from edgeyolo.cli import main; main()", "bench", str(small_artifact),
               "--min-duration", "10", "--no-limits", "-o", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"measuring" in line:
            break
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=5)  # a turn lasts a second
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    report = load_report(tmp_path)
    assert report.interrupted
    assert any("it lasted" in reason for reason in report.measurements[0].reasons)
    assert NOT_REPORTABLE in rows(report)[0]


# With processes that are not there: the order of turns, failures, interruption ---------------------------------------


class FakeWorker:
    """Answers like a Worker. `latency` by label is each query's milliseconds; every method is noted in `calls`."""

    calls: list[tuple[str, str]]
    latency: dict[str, float]
    failing: dict[tuple[str, str], BaseException]

    def __init__(self, job: Job) -> None:
        self.job = job
        self._rng = np.random.default_rng(len(self.calls))

    def note(self, method: str) -> None:
        self.calls.append((method, self.job.name))
        times = self.calls.count((method, self.job.name))
        if error := self.failing.get((self.job.name, f"{method} {times}")):
            raise error

    def open(self) -> Opened:
        self.note("open")
        precision = "int8" if self.job.target.endswith("int8") else "fp32"
        facts = ArtifactFacts(
            self.job.name, "0" * 64, "small", self.job.target, "fake", precision, (96, 96), 1, 3, 1000
        )
        scenario = self.job.scenario
        shape = replace(
            choose(scenario.name), min_duration=scenario.min_duration, min_count=scenario.min_count
        )
        from edgeyolo.artifact.contracts import InputContract

        return Opened(facts, shape.facts(InputContract(96, 96)), 0.1, 1e-5, 1e-3)

    def warm_up(self) -> SteadyState:
        self.note("warm_up")
        return SteadyState(True, 8)

    def turn(self, seconds: float, count: int, *, refresh: bool) -> Turn:
        self.note("turn")
        level = self.latency[self.job.name]
        rows = max(count, int(seconds * 1e3 / level) + 1)
        samples = level * (1 + 0.01 * self._rng.standard_normal((rows, 5)))
        return Turn(samples, np.ones(rows, np.int64), Spent(seconds=samples[:, 4].sum() / 1e3), int(refresh))

    def accuracy(self, data: str, split: str | None, progress: Any) -> AccuracyFacts:
        self.note("accuracy")
        return AccuracyFacts(0.5, 0.7, data, 9)

    def peak_memory(self) -> int:
        return 1 << 30

    def close(self) -> None:
        self.note("close")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    monkeypatch.setattr(FakeWorker, "calls", [], raising=False)
    monkeypatch.setattr(FakeWorker, "latency", {"a": 10.0, "b": 8.0}, raising=False)
    monkeypatch.setattr(FakeWorker, "failing", {}, raising=False)
    monkeypatch.setattr(measuring, "Worker", FakeWorker)
    return FakeWorker


def fake_jobs(scenario: Scenario = SHORT, names: Sequence[str] = "ab") -> list[Job]:
    return [Job(name, "t", Path(name), scenario, WORKLOAD) for name in names]


def test_artifacts_take_turns_and_the_faster_one_is_found(fakes: type[FakeWorker]) -> None:
    report = measure(fake_jobs())
    turns = [name for method, name in fakes.calls if method == "turn"]
    assert turns == list("ab" * 10)
    assert [call for call in fakes.calls if call[0] == "close"] == [("close", "a"), ("close", "b")]
    (found,) = report.comparisons
    assert found.ratio == pytest.approx(0.8, rel=0.02)
    assert found.high is not None
    assert found.high < 1
    assert any("b t / a t" in line and line.endswith("% less time") for line in notes(report))


def test_a_run_is_spread_over_processes(fakes: type[FakeWorker]) -> None:
    report = measure([replace(item, processes=5) for item in fake_jobs()])
    a = [method for method, name in fakes.calls if name == "a"]
    assert a == ["open", "warm_up", "turn", "turn", "close"] * 5
    assert [item.processes for item in report.measurements] == [5, 5]
    assert report.measurements[0].steady.discarded == 40
    assert [item.stages[0].count for item in report.measurements] == [40, 40]
    few = measure([replace(fake_jobs(choose("paper", min_duration=0, min_count=3), "a")[0], processes=10)])
    assert few.measurements[0].processes == 3


def test_duration_and_count_are_both_demanded(fakes: type[FakeWorker]) -> None:
    many = measure(fake_jobs(choose("single-stream", min_duration=0, min_count=300), "a")).measurements[0]
    assert many.stages[0].count == 300
    long = measure(fake_jobs(choose("single-stream", min_duration=5, min_count=10), "a")).measurements[0]
    assert long.duration >= 4.9
    assert long.stages[0].count >= 480


def test_too_few_queries_are_never_quoted(fakes: type[FakeWorker]) -> None:
    report = measure(fake_jobs(choose("single-stream", min_duration=0, min_count=20), "a"))
    (item,) = report.measurements
    assert not item.reportable
    assert any("too few for p90 at 95%, which takes 36" in reason for reason in item.reasons)
    cells = dict(zip(columns(report), rows(report)[0], strict=True))
    assert cells["p90 ms"] == cells["images/s"] == NOT_REPORTABLE
    assert cells["p50 ms"] != NOT_REPORTABLE  # twenty queries are enough for a median
    assert any("not reportable" in line for line in notes(report))


@pytest.mark.parametrize(
    ("features", "target", "warned"),
    [
        (("avx2", "asimd"), "cpu-onnx-int8", True),
        (("avx2", "asimd"), "cpu-onnx-fp32", False),
        (("avx2", "asimd"), "gpu-openvino-int8", False),
        ((), "cpu-onnx-int8", False),
    ],
)
def test_a_processor_that_gains_nothing_by_integers_is_named(
    fakes: type[FakeWorker],
    monkeypatch: pytest.MonkeyPatch,
    features: tuple[str, ...],
    target: str,
    warned: bool,
) -> None:
    monkeypatch.setattr(cpu, "FEATURES", features)
    report = measure([replace(job, target=target) for job in fake_jobs(names="a")])
    said = [text for text in report.warnings if "no instructions for integers" in text]
    assert bool(said) == (warned and bool(report.devices[0].cpu.features))


def test_vnni_and_dot_products_multiply_integers() -> None:
    facts = CpuFacts("c", "x86_64", 2, 2)
    asked = {(): None, ("avx2", "avx512f"): False, ("avx2", "avx_vnni"): True, ("asimd", "asimddp"): True}
    assert {features: replace(facts, features=features).multiplies_integers for features in asked} == asked


def test_a_narrow_terminal_gets_two_tables(fakes: type[FakeWorker]) -> None:
    report = measure(fake_jobs(), labelled=Labelled("data"))
    ((heads, lines),) = tables(report, None)
    assert (heads, lines) == (columns(report), rows(report))
    assert tables(report, 400) == [(heads, lines)]
    first, second = tables(report, 80)
    assert first[0] == ("model", "target", "input", "MB", "params", "GFLOPs", "AP")
    assert second[0] == ("model", "p50 ms", "p90 ms", "decode + pre + net + post", "images/s")
    assert [line[0] for line in second[1]] == ["a", "b"]
    together = dict(zip(first[0], first[1][1], strict=True)) | dict(zip(second[0], second[1][1], strict=True))
    assert together == dict(zip(heads, lines[1], strict=True))


def test_one_that_fails_costs_the_others_nothing(fakes: type[FakeWorker]) -> None:
    fakes.failing["a", "turn 3"] = EdgeYoloError("out of memory")
    report = measure(fake_jobs(), labelled=Labelled("data"))
    assert [item.artifact.name for item in report.measurements] == ["b"]
    assert report.measurements[0].reportable
    assert report.failures[0].message == "out of memory"
    assert exit_code(report) == 1
    assert ("accuracy", "a") not in fakes.calls
    assert fakes.calls.count(("close", "a")) == 1


def test_without_ap_what_was_timed_still_stands(fakes: type[FakeWorker]) -> None:
    fakes.failing["b", "accuracy 1"] = RuntimeMissingError("no pycocotools")
    report = measure(fake_jobs(), labelled=Labelled("data"))
    assert [item.accuracy is not None for item in report.measurements] == [True, False]
    assert (report.failures[0].what, exit_code(report)) == ("AP of b t", 3)


def test_first_error_is_raised_when_all_fail(fakes: type[FakeWorker]) -> None:
    fakes.failing["a", "open 1"] = fakes.failing["b", "warm_up 1"] = UsageError("no")
    with pytest.raises(UsageError):
        measure(fake_jobs())
    assert {("close", "a"), ("close", "b")} <= set(fakes.calls)


def test_an_interrupted_run_is_marked_and_not_quoted(fakes: type[FakeWorker]) -> None:
    fakes.failing["b", "turn 4"] = KeyboardInterrupt()
    report = measure(fake_jobs())
    assert report.interrupted
    assert exit_code(report) == 130
    assert [item.stages[0].count for item in report.measurements] == [16, 12]
    assert not any(item.reportable for item in report.measurements)
    assert report.comparisons[0].pairs == 3
    assert {("close", "a"), ("close", "b")} <= set(fakes.calls)


def test_interrupted_before_anything_was_measured(fakes: type[FakeWorker]) -> None:
    fakes.failing["a", "warm_up 1"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        measure(fake_jobs())
    assert ("close", "a") in fakes.calls


# Baseline ------------------------------------------------------------------------------------------------------------


def test_a_regression_beyond_the_tolerance_ends_with_1(fakes: type[FakeWorker]) -> None:
    before = measure(fake_jobs(names="a"), labelled=Labelled("data"))
    fakes.latency["a"] = 11.0
    now = measure(fake_jobs(names="a"), labelled=Labelled("data"))
    strict, loose = compare(now, before, 0.05), compare(now, before, 0.2)
    assert {change.figure: change.worse for change in strict.changes} == {
        "p50 ms": True, "p90 ms": True, "images/s": True, "AP": False
    }  # fmt: skip
    assert all(change.certain for change in strict.changes if change.worse)
    assert (exit_code(strict), exit_code(loose), exit_code(compare(before, now, 0.05))) == (1, 0, 0)
    assert any("REGRESSION" in line for line in notes(strict))
    assert not any("REGRESSION" in line for line in notes(loose))


def test_lost_ap_is_a_regression(fakes: type[FakeWorker]) -> None:
    before = measure(fake_jobs(names="a"), labelled=Labelled("data"))
    lost = AccuracyFacts(0.4, 0.7, "data", 9)
    now = replace(before, measurements=(replace(before.measurements[0], accuracy=lost),))
    (change,) = (item for item in compare(now, before, 0.05).changes if item.worse)
    assert (change.figure, change.before, change.now) == ("AP", 0.5, 0.4)


def test_unreportable_runs_do_not_pass_as_unchanged(fakes: type[FakeWorker]) -> None:
    before = measure(fake_jobs(names="a"))
    now = measure(fake_jobs(choose("single-stream", min_duration=0, min_count=20), "a"))
    judged = compare(now, before, 0.05)
    assert not judged.changes
    assert "this run is not reportable" in judged.failures[0].message
    assert exit_code(judged) == 1


def test_a_baseline_of_other_things(fakes: type[FakeWorker]) -> None:
    one, other = measure(fake_jobs(names="a")), measure(fake_jobs(names="b"))
    with pytest.raises(UsageError, match="holds none of what was measured, but b t"):
        compare(one, other, 0.05)
    both = compare(measure(fake_jobs()), one, 0.05)
    assert "b t: not in the baseline" in both.warnings
    assert "b t: in the baseline only" in compare(one, measure(fake_jobs()), 0.05).warnings


def test_devices_of_a_fleet_are_compared_with_themselves(fakes: type[FakeWorker]) -> None:
    fast, fakes.latency["a"] = measure(fake_jobs(names="a"), device="fast"), 20.0
    slow = measure(fake_jobs(names="a"), device="slow")
    changes = compare(merge((slow, fast)), merge((fast, slow)), 0.05).changes
    assert len(changes) == 6
    assert not any(change.worse for change in changes)


def test_ap_of_a_remote_device_is_measured_here_on_the_same_artifact(
    fakes: type[FakeWorker], small_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycocotools", reason="needs the eval extra")
    sha256 = Artifact.open(small_artifact).sha256
    fakes.latency[small_artifact.name] = 5.0

    def away(remote: Remote, jobs: list[Job], *, limits: bool, hear: Any) -> Report:
        report = measure(jobs, device=remote.host)
        (item,) = report.measurements
        return replace(report, measurements=(replace(item, artifact=replace(item.artifact, sha256=sha256)),))

    monkeypatch.setattr(elsewhere, "measure_remotely", away)
    data = labelled_scenes(tmp_path)
    report = elsewhere.measure_elsewhere(
        [Member(Remote("one")), Member(Remote("other"))], [small_artifact], Wanted(SHORT, WORKLOAD),
        labelled=Labelled(str(data)),
    )  # fmt: skip
    assert [item.device for item in report.measurements] == ["one", "other"]
    found = [item.accuracy for item in report.measurements]
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].images == 3
    assert "on the machine that asked" in found[0].stand_in


def test_a_baseline_that_is_no_report_is_found_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    done = bench("nothing-there", "--baseline", tmp_path)
    assert isinstance(done.exception, DamagedFileError)


# What is measured ----------------------------------------------------------------------------------------------------


def test_targets_are_split_and_checked() -> None:
    assert split_targets(("cpu-onnx-fp32,cpu-openvino-fp32", "cpu-onnx-fp32")) == (
        "cpu-onnx-fp32", "cpu-openvino-fp32"
    )  # fmt: skip
    with pytest.raises(UsageError, match="not known"):
        split_targets(("cpu-onix-fp32",))


def test_an_artifact_twice_gets_two_names(small_artifact: Path) -> None:
    jobs, failures = make_jobs([small_artifact, small_artifact / "manifest.json"], Wanted(SHORT, WORKLOAD))
    assert [job.label for job in jobs] == ["small-onnx cpu-onnx-fp32", "small-onnx (2) cpu-onnx-fp32"]
    assert not failures


def test_options_unfit_for_an_artifact_are_refused(small_artifact: Path) -> None:
    with pytest.raises(UsageError, match="another size than the artifact's, 96x96"):
        make_jobs([small_artifact], Wanted(SHORT, WORKLOAD, size=(64, 64)))
    with pytest.raises(UsageError, match="exported for cpu-onnx-fp32, not for cpu-openvino-fp32"):
        make_jobs([small_artifact], Wanted(SHORT, WORKLOAD, ("cpu-openvino-fp32",)))


def test_a_target_that_cannot_run_here_costs_the_others_nothing(
    small_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path))
    wanted = Wanted(SHORT, WORKLOAD, ("ane-coreml-fp16", "cpu-onnx-fp32"))
    jobs, failures = make_jobs([small_weights], wanted)
    assert [job.label for job in jobs] == ["small cpu-onnx-fp32"]
    assert failures[0].what == "small ane-coreml-fp16"
    assert failures[0].exit_code == 3
    assert str(jobs[0].artifact).startswith(str(tmp_path))
    with pytest.raises(RuntimeMissingError, match="cannot be measured here"):
        make_jobs([small_weights], replace(wanted, targets=("ane-coreml-fp16",)))


def test_what_is_said_of_the_size_of_weights_is_said_of_any_device(
    small_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once, also for several devices; not of artifacts, whose export has said it."""
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path))

    def away(remote: Remote, jobs: list[Job], *, limits: bool, hear: Any) -> Report:
        return measure([], device=remote.host)

    monkeypatch.setattr(elsewhere, "measure_remotely", away)
    said: list[str] = []
    wanted = Wanted(SHORT, WORKLOAD, ("cpu-onnx-fp32",))
    elsewhere.measure_elsewhere(
        [Member(Remote("one"))], [small_weights], wanted, listener=Listener(remark=said.append)
    )
    assert len(said) == 1
    assert "does not say what size it was trained at" in said[0]
    here: list[str] = []
    jobs, _ = make_jobs([small_weights], wanted, remark=here.append)
    assert here == said
    make_jobs([jobs[0].artifact], Wanted(SHORT, WORKLOAD), remark=here.append)
    assert here == said
