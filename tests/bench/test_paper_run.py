"""`edgeyolo bench --table`: what is measured, with which weights, and what becomes of failures and Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeyolo.cli import cli
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo_bench.limits.gemm import Peak
from edgeyolo_bench.limits.peaks import Peaks
from edgeyolo_bench.measure.jobs import Wanted
from edgeyolo_bench.measure.measure import Labelled, Listener
from edgeyolo_bench.measure.physics import impossible, with_limits
from edgeyolo_bench.measure.scenarios import choose
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.paper import paper_run
from edgeyolo_bench.paper.paper_options import tables_asked
from edgeyolo_bench.paper.paper_run import Cell, PaperRun, cells, default_targets, run_tables
from edgeyolo_bench.values.report import Report, join, load_report

from .sample import DEVICE, PEAKS, busy, measurement, sample_report

WANTED = Wanted(choose("paper"), None, ("cpu-onnx-fp32",))  # type: ignore[arg-type]


def run(*numbers: int, **changes: Any) -> PaperRun:
    return PaperRun(numbers, replace(WANTED, **changes.pop("wanted", {})), **changes)


def test_every_network_is_measured_once_at_the_papers_sizes() -> None:
    found = [(cell.network, cell.imgsz, cell.batch) for cell in cells(run(1, 2, 9))]
    assert found == [
        ("yolov7-tiny", 320, 1), ("yolov7-tiny", 416, 32), ("yolov7-tiny-silu", 640, 1), ("yolov7", 640, 1),
        ("yolov7x", 640, 1), ("yolov7-w6", 1280, 1), ("yolov7-e6", 1280, 1), ("yolov7-d6", 1280, 1),
        ("yolov7-e6e", 1280, 1), ("yolov4-tiny", 416, 1), ("yolov4-csp", 640, 1), ("yolor-csp", 640, 1),
        ("yolor-csp-x", 640, 1), ("yolor-p6", 1280, 1), ("yolor-w6", 1280, 1), ("yolor-e6", 1280, 1),
        ("yolor-d6", 1280, 1),
    ]  # fmt: skip


def test_networks_size_and_batch_can_be_chosen() -> None:
    (cell,) = cells(run(2, networks=("yolov7x",), wanted={"size": (320, 320), "batch": 4}))
    assert (cell.network, cell.imgsz, cell.batch) == ("yolov7x", 320, 4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (run(2, networks=("yolov7-tiny",)), "yolov7-tiny has no row in these tables"),
        (run(2, weights={"yolox": Path("x")}), "yolox has no row"),
        (run(2, wanted={"size": (320, 640)}), "square images"),
    ],
)
def test_runs_without_a_row_are_refused(asked: PaperRun, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cells(asked)


def test_default_targets_are_what_runs_here() -> None:
    found = default_targets("cpu")
    assert found[-1] == "cpu-onnx-fp32" and all(target.endswith("-fp32") for target in found)
    with pytest.raises(UsageError, match="no device of that name"):
        default_targets("toaster")
    with pytest.raises(RuntimeMissingError, match="device v100: nothing to measure here: v100-trt-fp16"):
        default_targets("v100")
    with pytest.raises(RuntimeMissingError, match="name one with --target"):
        default_targets("tpu")


def one(cell: Cell) -> Report:
    item = measurement(cell.network, "cpu-onnx-fp32", size=cell.imgsz, random=True)
    return replace(sample_report(), measurements=(item,), comparisons=(), limits=())


def test_a_network_that_fails_is_noted_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(run: PaperRun, cell: Cell, *_: Any) -> Report:
        if cell.network == "yolov7":
            raise EdgeYoloError("out of memory", hint="buy some")
        return one(cell)

    monkeypatch.setattr(paper_run, "_measure", measure)
    found = run_tables(run(2), Listener())
    assert [item.artifact.model for item in found.measurements] == [
        "yolov7-tiny-silu", "yolov7x", "yolov7-w6", "yolov7-e6", "yolov7-d6", "yolov7-e6e", "yolor-csp",
        "yolor-csp-x", "yolor-p6", "yolor-w6", "yolor-e6", "yolor-d6",
    ]  # fmt: skip
    assert [(item.what, item.message) for item in found.failures] == [("yolov7 at 640", "out of memory")]
    assert [device.name for device in found.devices] == [DEVICE.name]


def test_first_error_is_raised_when_all_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(run: PaperRun, cell: Cell, *_: Any) -> Report:
        raise RuntimeMissingError(f"{cell.network} cannot")

    monkeypatch.setattr(paper_run, "_measure", measure)
    with pytest.raises(RuntimeMissingError, match="yolov7-tiny-silu cannot"):
        run_tables(run(2), Listener())


def test_ctrl_c_keeps_what_was_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(run: PaperRun, cell: Cell, *_: Any) -> Report:
        if cell.network == "yolov7x":
            raise KeyboardInterrupt
        return one(cell)

    monkeypatch.setattr(paper_run, "_measure", measure)
    found = run_tables(run(2), Listener())
    assert found.interrupted and len(found.measurements) == 2
    with pytest.raises(KeyboardInterrupt):
        run_tables(run(2, networks=("yolov7x",)), Listener())


def test_interruption_within_a_network_ends_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement that Ctrl-C ends gives what it has, and says so: the networks behind it are not begun."""
    begun: list[str] = []

    def measure(run: PaperRun, cell: Cell, *_: Any) -> Report:
        begun.append(cell.network)
        return replace(one(cell), interrupted=cell.network == "yolov7")

    monkeypatch.setattr(paper_run, "_measure", measure)
    found = run_tables(run(2), Listener())
    assert begun == ["yolov7-tiny-silu", "yolov7"]
    assert found.interrupted and len(found.measurements) == 2


def test_joining_keeps_one_machine_and_all_that_disturbed_it() -> None:
    quiet, other = sample_report(), busy(sample_report())
    joined = join([quiet, other])
    assert (
        len(joined.devices) == 1 and joined.devices[0].interference.busy == other.devices[0].interference.busy
    )
    assert len(joined.measurements) == 2 * len(quiet.measurements)
    assert len(joined.limits) == 1 and len(joined.limits[0].placements) == 2 * len(quiet.limits[0].placements)
    apart = replace(other, limits=(replace(other.limits[0], peaks=replace(PEAKS, threads=1)),))
    assert len(join([quiet, apart]).limits) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (((), False, "yolov7", None, ()), "--models goes with --table"),
        (((), False, None, None, ("a=b",)), "--weights goes with --table"),
        ((("2",), False, None, None, ("yolov7",)), "expected NAME=FILE"),
        ((("2",), False, None, None, ("=x",)), "expected NAME=FILE"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tables_asked(*given)


def test_runs_from_the_options(tmp_path: Path) -> None:
    asked = tables_asked(("2", "1", "2"), False, "yolov7, yolov7x", None, (f"yolov7={tmp_path}",))
    assert asked is not None
    assert (asked.numbers, asked.networks, asked.kind) == ((2, 1), ("yolov7", "yolov7x"), "cpu")
    assert asked.weights == {"yolov7": tmp_path}
    every = tables_asked((), True, None, "cpu", ())
    assert every is not None and every.numbers == (1, 2, 9, 10)
    assert tables_asked((), False, None, None, ()) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench"], "expected a MODEL, or --table"),
        (["bench", "x", "--table", "2"], "not MODEL"),
        (["bench", "--table", "2", "--scenario", "offline"], "paper's protocol, not offline"),
        (["bench", "--table", "2", "--remote", "host"], "on this machine"),
        (["bench", "--table", "2", "--models", "yolov9"], "yolov9 has no row"),
    ],
)
def test_commands_that_do_not_fit_are_usage_errors(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)


@pytest.mark.slow
def test_a_table_is_measured_with_random_weights_and_written_in_every_form(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the export extra")
    arguments = [
        "bench", "--table", "2", "--models", "yolov7-tiny-silu", "--target", "cpu-onnx-fp32", "--imgsz", "64",
        "--min-duration", "0", "--min-count", "8", "--no-limits", "--threads", "1", "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "The paper's Table 2" in done.output and "286" in done.output
    report = load_report(tmp_path / "out")
    (item,) = report.measurements
    assert item.artifact.random_weights and item.artifact.name == "yolov7-tiny-silu"
    assert item.scenario.name == "paper" and item.artifact.size == (64, 64)
    assert "random weights" in done.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.md", "report.html"} <= names


def test_weights_of_another_network_are_refused(small_artifact: Path) -> None:
    asked = run(2, networks=("yolov7",), weights={"yolov7": small_artifact}, wanted={"size": (96, 96)})
    with pytest.raises(UsageError, match="they are of the network 'small'"):
        run_tables(asked, Listener())


def test_an_artifact_is_measured_once_as_it_is(small_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = run(1, networks=("yolov7-tiny",), weights={"yolov7-tiny": small_artifact})
    (cell,) = cells(asked)
    assert (cell.imgsz, cell.batch) == (96, 1)
    told: list[Job] = []

    def measure(jobs: list[Job], failures: Any, **_: Any) -> Report:
        told.extend(jobs)
        return one(cell)

    monkeypatch.setattr(paper_run, "measure", measure)
    monkeypatch.setattr(paper_run, "_checked", lambda job, network: job)
    run_tables(
        replace(asked, limits=False, wanted=replace(WANTED, targets=("cpu-openvino-fp32",))), Listener()
    )
    (job,) = told
    assert (job.artifact, job.target, job.scenario.query_images) == (small_artifact, "cpu-onnx-fp32", 1)


def test_ap_is_measured_of_the_users_weights_only(
    small_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def measure(jobs: list[Job], failures: Any, *, labelled: Any, **_: Any) -> Report:
        told[jobs[0].name] = (labelled, jobs[0].random_weights)
        return one(Cell(0, jobs[0].name, 96, 1))

    @contextmanager
    def models(*_: Any) -> Iterator[Any]:
        yield [small_artifact], []

    monkeypatch.setattr(paper_run, "measure", measure)
    monkeypatch.setattr(paper_run, "_models", models)
    monkeypatch.setattr(paper_run, "_checked", lambda job, network: job)
    labelled = Labelled("coco", "val2017")
    asked = run(
        2, networks=("yolov7", "yolov7x"), weights={"yolov7": small_artifact}, wanted={"size": (96, 96)},
        labelled=labelled, limits=False,
    )  # fmt: skip
    run_tables(asked, Listener())
    assert told == {"yolov7": (labelled, False), "yolov7x": (None, True)}


def test_limits_are_put_under_what_was_measured(small_artifact: Path) -> None:
    item = measurement("yolov7-tiny", "cpu-onnx-fp32", size=96)
    job = Job(item.artifact.name, "cpu-onnx-fp32", small_artifact, choose("paper"), None, None)  # type: ignore[arg-type]
    given = replace(sample_report(), measurements=(item,), limits=())
    asked: list[int] = []

    def measure(threads: int) -> Peaks:
        asked.append(threads)
        return PEAKS

    found = with_limits(given, [job], measure=measure)
    (placed,) = found.limits[0].placements
    assert asked == [8] and placed.verdict == "possible" and not found.warnings and not impossible(found)
    slow = replace(PEAKS, gemm={"fp32": (Peak(1e-3, "numpy"),)})
    wrong = with_limits(given, [job], threads=3, measure=lambda threads: slow)
    assert impossible(wrong) and "report this as a bug" in wrong.warnings[0]
    doubted = with_limits(busy(given), [job], measure=lambda threads: slow)
    assert not impossible(doubted) and "Winograd" in doubted.warnings[0]


def test_one_roofline_of_each_kind_for_all_networks(
    small_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    job = Job("", "", small_artifact, choose("paper"), None, None)  # type: ignore[arg-type]

    def cpu(threads: int) -> Peaks:
        asked.append("cpu")
        return PEAKS

    def cuda() -> Peaks:
        asked.append("cuda")
        return PEAKS

    def measure(run: PaperRun, cell: Cell, listener: Listener, name: str, limits: Any) -> Report:
        report = one(cell)
        (item,) = report.measurements
        both = (item, replace(item, artifact=replace(item.artifact, target="cuda-torch-fp16")))
        jobs = [replace(job, name=each.artifact.name, target=each.artifact.target) for each in both]
        return limits(replace(report, measurements=both), jobs)

    monkeypatch.setattr(paper_run, "measure_peaks", cpu)
    monkeypatch.setattr(paper_run, "measure_gpu_peaks", cuda)
    monkeypatch.setattr(paper_run, "_measure", measure)
    found = run_tables(run(2), Listener())
    assert asked == ["cpu", "cuda"]
    assert [(item.kind, len(item.placements)) for item in found.limits] == [("cpu", 13), ("cuda", 13)]


def test_devices_without_measured_limits_are_left_as_they_are(small_artifact: Path) -> None:
    item = measurement("yolov7-tiny", "cpu-onnx-fp32", size=96)
    job = Job(item.artifact.name, "cpu-onnx-fp32", small_artifact, choose("paper"), None, None)  # type: ignore[arg-type]

    def given(target: str) -> tuple[Report, Job]:
        artifact = replace(item.artifact, target=target)
        report = replace(sample_report(), measurements=(replace(item, artifact=artifact),), limits=())
        return report, replace(job, target=target)

    stick, its = given("ncs-openvino-fp16")
    assert with_limits(stick, [its], measure=lambda threads: PEAKS) == stick
    gpu, its = given("cuda-torch-fp16")
    assert with_limits(gpu, [its], measure_gpu=lambda: None) == gpu
    (limits,) = with_limits(gpu, [its], measure_gpu=lambda: PEAKS).limits
    assert limits.kind == "cuda" and limits.peaks == PEAKS


def test_random_weights_carry_a_picture_through() -> None:
    torch = pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.artifact.contracts import InputContract
    from edgeyolo.datasets.scenes import make_scene
    from edgeyolo.models import specs
    from edgeyolo.runtime.preprocess import preprocess
    from edgeyolo_bench.measure.random_weights import random_network

    network = random_network(specs.get("yolov7-tiny"), classes=2)
    pictures, _ = preprocess([make_scene(99).image], InputContract(128, 128))
    with torch.inference_mode():
        maps = network(torch.from_numpy(pictures))
    assert all(0.05 < each.std() < 20 and torch.isfinite(each).all() for each in maps[:3])
    assert all(torch.allclose(each[:, 4::7], torch.tensor(-8.0), atol=1e-4) for each in maps[:3])


def test_table_10_is_measured_at_both_thresholds(small_artifact: Path, tmp_path: Path) -> None:
    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.datasets.scenes import write_dataset
    from edgeyolo.evaluation import validate as module
    from edgeyolo_bench.paper.beside_paper import METRIC
    from edgeyolo_bench.paper.table10 import with_other_iou

    pytest.importorskip("faster_coco_eval", reason="needs the eval extra")
    data = Path(write_dataset(tmp_path / "data", range(3), (96, 96)))
    labels = json.loads(data.read_text())
    labels["categories"] = [{"id": place, "name": name} for place, name in enumerate(("cat", "dog", "bird"))]
    labels["annotations"] = [
        each | {"category_id": each["category_id"] % 3} for each in labels["annotations"]
    ]
    data.write_text(json.dumps(labels))
    item = measurement("yolov7x", "cpu-onnx-fp32", size=96, ap=0.2)
    facts = replace(item.artifact, sha256=Artifact.open(small_artifact).sha256)
    job = Job("yolov7x", "cpu-onnx-fp32", small_artifact, choose("paper"), None, None)  # type: ignore[arg-type]
    given = replace(sample_report(), measurements=(replace(item, artifact=facts), item))
    seen: list[float] = []
    original = module.validate

    def validate(*arguments: Any, iou: float, **others: Any) -> Any:
        seen.append(iou)
        return original(*arguments, iou=iou, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "validate", validate)
        found = with_other_iou(given, [job], Labelled(str(data)), Listener())
    first, second = found.measurements
    assert seen == [0.70]
    assert first.accuracy is not None and METRIC in first.accuracy.metrics
    assert second == item
