"""`edgeyolo calibrate`: ranges that export takes, and a report that says where integers cost most."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.backend import registry
from edgeyolo.cli import cli
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import UsageError
from edgeyolo.export import ExportOptions, export
from edgeyolo_calib.quantize.rules import ONNXRUNTIME, TENSORRT
from edgeyolo_calib.ranges.histogram import Histogram
from edgeyolo_calib.ranges.measured import open_ranges
from edgeyolo_calib.report.page import to_html
from edgeyolo_calib.report.report import bars, signal_to_noise


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(200, 206):
        cv2.imwrite(str(folder / f"{seed}.png"), make_scene(seed).image)
    return folder


@pytest.fixture(scope="module")
def calibrated(small_weights: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "out"
    run("calibrate", small_weights, "--calib", pictures, "-o", folder)
    return folder


def run(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_export_takes_the_ranges_and_gives_the_bytes_that_images_give(
    calibrated: Path, small_weights: Path, pictures: Path, tmp_path: Path
) -> None:
    run("export", small_weights, "--target", "cpu-onnx-int8", "--ranges", calibrated / "ranges.json",
        "-o", tmp_path / "ranges")  # fmt: skip
    run("export", small_weights, "--target", "cpu-onnx-int8", "--calib", pictures, "-o", tmp_path / "images")
    for name in ("model.onnx", "calibration.json"):
        assert (tmp_path / "ranges" / name).read_bytes() == (tmp_path / "images" / name).read_bytes()


def test_the_report_names_images_tensors_and_what_loses_most(calibrated: Path) -> None:
    report = json.loads((calibrated / "report.json").read_text())
    assert report["images"]["count"] == 6
    worst = [report["tensors"][name]["snr_db"] for name in report["worst"]]
    assert worst == sorted(worst)
    assert len(worst) > 10
    assert 5 < worst[0] < worst[-1] < 80
    for tensor in report["tensors"].values():
        assert 0 <= tensor["cut"] < 0.2  # far below zero SiLU is flat: there ranges may end early
        assert sum(tensor["bars"]) > 0


def test_the_page_is_whole_and_alone(calibrated: Path) -> None:
    text = (calibrated / "report.html").read_text()
    rows: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            rows.append(tag)
            for name, value in attrs:
                assert name != "href"
                assert name != "src" or (value or "").startswith("data:")

    Reader().feed(text)
    tensors = json.loads((calibrated / "report.json").read_text())["tensors"]
    assert rows.count("tr") == len(tensors) + 1
    assert rows.count("svg") == len(tensors)
    assert rows.count("img") == 6


def test_names_are_escaped() -> None:
    tensor = {
        "low": 0.0,
        "high": 1.0,
        "scale": 0.1,
        "cut": 0.0,
        "seen": [0.0, 1.0],
        "bars": [1],
        "snr_db": None,
    }
    record = {
        "images": {"count": 1, "sha256": "0", "described": "<b>"}, "rules": "r", "floats": [], "worst": [],
        "scheme": {"method": "mse", "percentile": 99.0}, "tensors": {"<script>": tensor},
    }  # fmt: skip
    page = to_html(record, "a & b")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page


def test_rules_and_methods_can_be_chosen(small_weights: Path, pictures: Path, tmp_path: Path) -> None:
    asked = ("--target", "jetson-trt-int8", "--method", "percentile", "--percentile", "99", "--json")
    record = json.loads(run("calibrate", small_weights, "--calib", pictures, "-o", tmp_path, *asked))
    assert record["rules"] == "tensorrt"
    assert record["scheme"]["percentile"] == 99
    assert all(tensor["zero_point"] == 0 for tensor in record["tensors"].values())
    with pytest.raises(UsageError, match="the method is"):
        run(
            "calibrate",
            small_weights,
            "--calib",
            pictures,
            "-o",
            tmp_path,
            "--method",
            "mse",
            "--percentile",
            "99",
        )


def test_ranges_of_another_size_or_for_another_quantizer_are_refused(
    calibrated: Path, small_weights: Path, pictures: Path, tmp_path: Path
) -> None:
    ranges = registry.open_ranges(str(calibrated / "ranges.json"))
    with pytest.raises(UsageError, match="another size"):
        export(small_weights, "cpu-onnx-int8", tmp_path / "a", ExportOptions((64, 64), calibration=ranges))
    with pytest.raises(UsageError, match="needs the images"):
        next(ranges.batches(None))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="was measured on"):
        run("export", small_weights, "--target", "cpu-onnx-int8", "--calib", pictures, "--calib-images", 3,
            "--ranges", calibrated / "ranges.json")  # fmt: skip
    with pytest.raises(UsageError, match="was measured on"):
        run("export", small_weights, "--target", "cpu-onnx-int8", "--calib", pictures, "--calib-seed", 7,
            "--ranges", calibrated / "ranges.json")  # fmt: skip
    with pytest.raises(UsageError, match="no such ranges"):
        open_ranges(tmp_path / "none.json")


def test_a_stopped_calibration_is_not_taken(calibrated: Path, tmp_path: Path) -> None:
    text = (calibrated / "ranges.json").read_text().replace('"complete":true', '"complete":false')
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(UsageError, match="stopped"):
        open_ranges(tmp_path / "ranges.json")


def test_signal_to_noise_is_that_of_rounding() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 60_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    scale, _ = TENSORRT.grid.place(-1, 1)
    expected = 10 * math.log10((1 / 3) / (float(scale) ** 2 / 12))  # uniform values, uniform rounding errors
    assert signal_to_noise(histogram, TENSORRT, -1, 1) == pytest.approx(expected, abs=0.3)
    assert signal_to_noise(histogram, ONNXRUNTIME, -0.5, 0.5) < 15  # half of the values are cut
    assert bars(histogram).sum() == histogram.total
