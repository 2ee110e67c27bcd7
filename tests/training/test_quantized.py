"""Quantization-aware runs from the outside: they learn, resume bit by bit, and export without calibration images."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgeyolo.cli import main  # noqa: E402
from edgeyolo.datasets import Dataset, Sample  # noqa: E402
from edgeyolo.errors import DatasetError, UsageError  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo.models import weights  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.loop.listener import Listener  # noqa: E402
from edgeyolo.training.loop.state import Position, read_facts  # noqa: E402
from edgeyolo.training.loop.trainer import STATE  # noqa: E402
from edgeyolo.training.quantized import CLIP, TEACHER, QuantizedOptions, train_quantized  # noqa: E402
from edgeyolo.training.recipe import QAT  # noqa: E402
from edgeyolo.training.run import resume  # noqa: E402

CONFIG = TrainConfig(epochs=2, batch_size=2, image_size=96)
RECIPE = replace(QAT, nominal_batch=2)
OPTIONS = QuantizedOptions(images=4, distill=1.0)
NAMES = ("bird", "cat", "dog")  # not in the order of the weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("pictures")
    samples = []
    for number in range(4):
        path = folder / f"{number}.png"
        picture = np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(picture, (96, 96), interpolation=cv2.INTER_NEAREST))
        rows, no = np.array([[8.0, 8.0, 50.0, 60.0]]), np.zeros(1, bool)
        samples.append(Sample(path, number, np.array([number % 3]), rows, no, no, declared_size=(96, 96)))
    return Dataset("four", "coco", folder / "four.json", NAMES, (1, 2, 3), tuple(samples))


@pytest.fixture(scope="module")
def run(small_weights: Path, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qat") / "whole"
    history = train_quantized(
        small_weights, data, data, folder, config=CONFIG, recipe=RECIPE, options=OPTIONS
    )
    assert [row["epoch"] for row in history] == [0, 1]
    return folder


def test_the_weights_are_plain_have_moved_a_little_and_bring_ranges(run: Path, small_weights: Path) -> None:
    made = weights.load(run / "weights/last.safetensors")
    before = reparameterize(weights.load(small_weights).network).network
    assert made.network.form == "plain"
    assert made.class_names == ("cat", "dog", "bird")
    assert made.ranges is not None
    assert set(made.ranges.sets) == {"onnxruntime", "tensorrt"}
    assert made.ranges.images == 4
    assert "4 images of four" in made.ranges.described
    moved = [
        float((one - other).detach().norm() / other.norm())
        for one, other in zip(made.network.parameters(), before.parameters(), strict=True)
        if other.ndim == 4
    ]
    assert 0 < max(moved) < 0.1
    assert made.provenance["training"]["technique"]["name"] == "quantization"
    assert read_facts(run / STATE)["config"]["clip"] == CLIP


def test_the_teacher_is_the_network_in_float(run: Path, small_weights: Path) -> None:
    """Training begins from rounded weights, which are nothing to stay near."""
    teacher = weights.load(run / TEACHER).network.state_dict()
    before = reparameterize(weights.load(small_weights).network).network.state_dict()
    assert teacher.keys() == before.keys()
    assert all(torch.equal(values, before[name]) for name, values in teacher.items())


@pytest.mark.parametrize("target", ["cpu-onnx-int8", "jetson-trt-int8", "cpu-openvino-int8"])
def test_our_quantizers_take_the_learned_ranges_without_images(
    run: Path, target: str, tmp_path: Path
) -> None:
    if "openvino" in target:
        pytest.importorskip("openvino")
    artifact = export(run / "weights/last.safetensors", target, tmp_path / "made")
    record = (artifact.path / "calibration.json").read_text()
    assert '"method": "learned"' in record
    assert "quantization-aware training on 4 images of four" in record
    assert artifact.manifest.provenance["training"]["technique"]["images"] == 4
    assert artifact.size < 6 * (run / "weights/last.safetensors").stat().st_size


@pytest.mark.slow
def test_networks_with_auxiliary_heads_train_quantized(data: Dataset, tmp_path: Path) -> None:
    """A narrow yolov7-w6: four levels, space to depth; its auxiliary heads are for the float training only."""
    from edgeyolo.models.build import build
    from edgeyolo.models.scaling import scale_width
    from edgeyolo.models.specs import get

    spec = scale_width(get("yolov7-w6"), 1 / 16)
    network = build(spec, 3, "training").eval()
    assert len(network.aux_outputs) == 4
    weights.save(tmp_path / "w6.safetensors", network, ("cat", "dog", "bird"), {"source": "random"})
    config = replace(CONFIG, epochs=1, image_size=128)
    history = train_quantized(
        tmp_path / "w6.safetensors",
        data,
        None,
        tmp_path / "run",
        config=config,
        recipe=RECIPE,
        options=OPTIONS,
    )
    assert np.isfinite([history[0]["box"], history[0]["obj"], history[0]["cls"]]).all()
    made = weights.load(tmp_path / "run/weights/last.safetensors")
    assert made.network.form == "plain" and made.ranges is not None
    options = ExportOptions(size=(128, 128), unjudged=True)
    for target in ("cpu-onnx-int8", "jetson-trt-int8"):
        artifact = export(tmp_path / "run/weights/last.safetensors", target, tmp_path / target, options)
        assert '"learned"' in (artifact.path / "calibration.json").read_text()


def test_other_targets_ask_for_images_as_ever(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quantized from images"):
        export(run / "weights/last.safetensors", "cpu-tflite-int8", tmp_path / "made")


def test_ranges_measured_since_come_first(
    run: Path, calibration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeyolo.backend.registry import open_ranges

    weights_file = run / "weights/last.safetensors"
    images = export(
        weights_file, "cpu-onnx-int8", tmp_path / "images", ExportOptions(calibration=calibration)
    )
    assert '"learned"' in (images.path / "calibration.json").read_text()
    arguments = [
        "edgeyolo",
        "calibrate",
        weights_file,
        "--calib",
        calibration.paths[0].parent,
        "-o",
        tmp_path,
    ]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    measured = ExportOptions(calibration=open_ranges(str(tmp_path / "ranges.json")))
    artifact = export(weights_file, "cpu-onnx-int8", tmp_path / "measured", measured)
    assert '"learned"' not in (artifact.path / "calibration.json").read_text()


class StopAt(Listener):
    """Fails like a crash in the middle of the second epoch."""

    def iteration(self, position: Position, items: list[float]) -> None:
        if position.iteration == 3:
            raise ConnectionAbortedError


@pytest.mark.slow
def test_a_run_that_broke_off_ends_with_the_same_bits(
    run: Path, small_weights: Path, data: Dataset, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"config": CONFIG, "recipe": RECIPE, "options": OPTIONS}
    with pytest.raises(ConnectionAbortedError):
        train_quantized(small_weights, data, data, tmp_path / "broken", listener=StopAt(), **how)
    whole, again = run / "weights/last.safetensors", tmp_path / "broken/weights/last.safetensors"
    resume(tmp_path / "broken", data, data)
    assert weights.read_info(again).sha256 == weights.read_info(whole).sha256
    assert weights.read_info(again).ranges == weights.read_info(whole).ranges


def test_unfit_starting_weights_are_refused(small_weights: Path, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="starts from trained weights"):
        train_quantized("yolov7-tiny", data, None, tmp_path / "run", config=CONFIG)
    others = Dataset("o", "coco", data.source, ("fish", "cat", "dog"), (1, 2, 3), data.images)
    with pytest.raises(DatasetError, match="fish"):
        train_quantized(small_weights, others, None, tmp_path / "run", config=CONFIG)


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--distill", "1"), "Add --qat"), (("--qat", "--freeze", "stem"), "--freeze cannot be had")],
)
def test_options_that_do_not_fit_are_refused(  # noqa: PLR0917
    small_weights: Path, data: Dataset, words: tuple[str, ...], says: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = ["edgeyolo", "train", str(small_weights), "--data", str(data.source), *words]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
