"""`edgeyolo check`, and the options of `export` that come before any build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli import cli
from edgeyolo.errors import EdgeYoloError, UnsupportedTargetError, UsageError


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_network_by_its_name_needs_no_weights() -> None:
    code, out, told = run("check", "yolov7-tiny", "--target", "edgetpu-tflite-int8")
    assert code == 5
    assert "LeakyRelu" in out
    assert "--activation relu" in told
    assert "https://github.com/google-coral/edgetpu/issues/272" in told


def test_weights_that_fit(small_weights: Path) -> None:
    code, out, _ = run("check", small_weights, "--target", "edgetpu-tflite-int8", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["fits"]
    assert facts["target"] == "edgetpu-tflite-int8"
    assert {place["where"] for place in facts["places"]} == {"edge TPU"}


def test_several_targets_and_the_largest_code(small_weights: Path) -> None:
    code, out, told = run("check", small_weights, "--target", "cpu-onnx-fp32,ncs-openvino-fp16", "--batch", 2)
    assert code == 5
    assert "100% on CPU" in out
    assert "ncs-openvino-fp16: it takes one image at a time, batch 2 was asked for" in told


def test_all_targets_in_one_document(small_weights: Path) -> None:
    from edgeyolo.backend import registry

    code, out, _ = run("check", small_weights, "--target", "all", "--json")
    assert code == 0
    assert [each["target"] for each in json.loads(out)] == [str(p.target) for p, _ in registry.profiles()]


def test_suppression_in_the_graph_is_part_of_the_answer(small_weights: Path, tmp_path: Path) -> None:
    """`check` and a dry run alike; exit code 5 where the file cannot have it."""
    asked = ("--nms", "graph", "--conf", "0.3")
    code, out, _ = run("check", small_weights, "--target", "gpu-trt-fp16", *asked)
    assert code == 0
    assert "EfficientNMS_TRT" in out
    code, _, told = run("check", small_weights, "--target", "ncs-openvino-fp16", *asked)
    assert code == 5
    assert "--nms host" in told
    place = tmp_path / "made"
    _, out, _ = run(
        "export", small_weights, "--target", "gpu-trt-fp16", *asked, "--dry-run", "-o", place, "--json"
    )
    assert "EfficientNMS_TRT" in {each["operator"] for each in json.loads(out)["check"]["places"]}
    with pytest.raises(UsageError, match="--conf"):
        run("check", small_weights, "--target", "cpu-onnx-fp32", "--conf", "0.3")


def test_no_file_of_that_name() -> None:
    with pytest.raises(EdgeYoloError) as caught:
        run("check", "absent.safetensors", "--target", "cpu-onnx-fp32")
    assert caught.value.exit_code in (2, 6)


def test_export_checks_before_it_builds(small_weights: Path, tmp_path: Path) -> None:
    arguments = ("--target", "jetson-trt-fp16", "--opset", 18, "-o", tmp_path / "made")
    with pytest.raises(UnsupportedTargetError, match="opset 18: it reads 11 to 17"):
        run("export", small_weights, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_hopeless_targets_are_refused_before_images_are_asked_for(
    small_weights: Path, tmp_path: Path, dry: tuple[str, ...]
) -> None:
    arguments = ("--target", "edgetpu-tflite-int8", "-o", tmp_path / "made", *dry)
    with pytest.raises(UnsupportedTargetError, match="batch 2 was asked for"):
        run("export", small_weights, *arguments, "--batch", 2)
    with pytest.raises(UsageError, match="quantized from images, and none were given"):
        run("export", small_weights, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("target", "opset"), [("cpu-onnx-fp32", 12), ("jetson-trt-fp16", 13)])
def test_an_opset_of_ones_own(small_weights: Path, tmp_path: Path, target: str, opset: int) -> None:
    import onnx

    run("export", small_weights, "--target", target, "--opset", opset, "-o", tmp_path / "made")
    model = onnx.load(tmp_path / "made" / "model.onnx")
    assert {item.domain: item.version for item in model.opset_import}[""] == opset


def test_half_is_the_fp16_sibling(small_weights: Path, tmp_path: Path) -> None:
    run("export", small_weights, "--target", "cpu-onnx-fp32", "--half", "-o", tmp_path / "made")
    assert str(Artifact.open(tmp_path / "made").manifest.target) == "cpu-onnx-fp16"


@pytest.mark.parametrize(
    ("target", "said"), [("cpu-tflite-fp32", "has no float16 target"), ("cpu-onnx-int8", "is int8 already")]
)
def test_half_where_there_is_none(small_weights: Path, target: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run("export", small_weights, "--target", target, "--half")


def test_a_dry_run_says_all_and_writes_nothing(small_weights: Path, tmp_path: Path) -> None:
    arguments = ("--target", "jetson-trt-fp16", "-o", tmp_path / "made", "--dry-run", "--json")
    code, out, _ = run("export", small_weights, *arguments)
    plan = json.loads(out)
    assert code == 0
    assert plan["check"]["fits"]
    assert (plan["opset"], plan["calibrated"]) == (17, False)
    assert plan["files"] == ["model.onnx", "build.json", "README.md", "build.sh"]
    assert plan["outputs"] == {"p3": [1, 24, 12, 12], "p4": [1, 24, 6, 6], "p5": [1, 24, 3, 3]}
    assert set(plan["tools"]) == {"edgeyolo", "torch", "onnx"}  # what makes the package, not what will run it
    assert not list(tmp_path.iterdir())


def test_a_dry_run_foretells_the_size(small_weights: Path, small_artifact: Path) -> None:
    _, out, _ = run("export", small_weights, "--target", "cpu-onnx-fp32", "-o", "x", "--dry-run", "--json")
    real = sum(file.stat().st_size for file in small_artifact.glob("*.onnx")) / 1e6
    assert json.loads(out)["megabytes"] == pytest.approx(real, rel=0.4)  # a small network is half description


def test_a_dry_run_ends_as_the_export_would(small_weights: Path, tmp_path: Path) -> None:
    targets = "cpu-onnx-fp32,cpu-onnx-int8"
    code, out, told = run("export", small_weights, "--target", targets, "-o", tmp_path / "made", "--dry-run")
    assert code == 2  # no calibration images
    assert "would fail, exit code 2" in out
    assert "--calib" in told
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="already exists"):
        run("export", small_weights, "--target", "cpu-onnx-fp32", "-o", tmp_path / "taken", "--dry-run")
    (tmp_path / "taken" / "letters.txt").write_text("dear")
    for dry in ((), ("--dry-run",)):
        with pytest.raises(UsageError, match="holds other things"):
            run(
                "export",
                small_weights,
                "--target",
                "cpu-onnx-fp32",
                "-o",
                tmp_path / "taken",
                "--overwrite",
                *dry,
            )
