"""Whole exports through the two backends, and the edge TPU with a fake of what this machine lacks."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import Quantization, RawMaps
from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry
from edgeyolo.backend.interface import Backend, ParityBackend
from edgeyolo.backend.ports import port_faults
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import RuntimeMissingError, UnsupportedTargetError, UsageError
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.parity_gate import deviations, reference_maps
from edgeyolo.export.source import NetworkSource
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_tflite import EdgeTpuBackend, TfliteBackend, runtime

pytest.importorskip("litert_torch", reason="needs the tflite extra")

CPU, EDGE_TPU = Target("cpu", "tflite", "int8"), Target("edgetpu", "tflite", "int8")
Seal = Callable[..., Artifact]


@pytest.fixture
def ready(
    convert: ModuleType, float_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> Callable[[NetworkSource], bytes]:
    """The conversion of the small network, which the session's fixture has done already."""
    monkeypatch.setattr(convert, "to_flatbuffer", lambda source: float_model)
    return convert.to_flatbuffer


@pytest.fixture
def artifact(ready: object, source: NetworkSource, seal: Seal, tmp_path: Path) -> Artifact:
    """For the edge TPU, from a machine without its compiler."""
    backend = EdgeTpuBackend()
    return seal(backend, backend.compile(source, EDGE_TPU, tmp_path), EDGE_TPU, source, tmp_path)


@pytest.fixture
def compiled(artifact: Artifact, fake: ModuleType) -> Artifact:
    """The same, compiled."""
    data = (artifact.path / "model.tflite").read_bytes()
    (artifact.path / "model_edgetpu.tflite").write_bytes(fake.compile_graph(data))
    (artifact.path / "manifest.json").unlink()
    return Artifact.seal(artifact.path, artifact.manifest)


@pytest.fixture
def coral(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A machine with an edge TPU at its USB."""
    return fake.install(monkeypatch, runtime)


def pixels(artifact: Artifact) -> np.ndarray:
    return preprocess([make_scene(5).image], artifact.manifest.input)[0]


def test_both_keep_the_protocol() -> None:
    assert isinstance(TfliteBackend(), Backend)
    assert isinstance(EdgeTpuBackend(), ParityBackend)


@pytest.mark.slow
def test_an_export_says_nothing_and_repeats_to_the_byte(
    small_weights: Path, float_model: bytes, tmp_path: Path
) -> None:
    """In a process of its own: the converter writes progress lines, and keeps state."""
    info = tmp_path / "site" / "tflite-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tflite\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgeyolo.backends]\ntflite = edgeyolo_tflite:TfliteBackend\n")
    code = """
        import sys
        from edgeyolo.export import export
        from edgeyolo.runtime.verify import verify
        artifact = export(sys.argv[1], "cpu-tflite-fp32", sys.argv[2])
        found = verify(artifact.path)
        assert found.runtime == "tflite" and found.deviation < 1e-5, found
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(small_weights), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    artifact = Artifact.open(tmp_path / "out")
    assert (artifact.path / "model.tflite").read_bytes() == float_model
    assert artifact.manifest.parity is not None
    assert artifact.manifest.parity.worst < 1e-5
    assert {"litert-torch", "ai-edge-litert"} <= set(artifact.manifest.tools)


@pytest.mark.parametrize(
    ("backend", "target", "dtype", "most"),
    [(TfliteBackend(), CPU, "float32", 0.05), (EdgeTpuBackend(), EDGE_TPU, "int8", 0.1)],
)
def test_integers_on_the_cpu(  # noqa: PLR0917
    backend: TfliteBackend, target: Target, dtype: str, most: float, ready: object, source: NetworkSource,
    seal: Seal, tmp_path: Path,
) -> None:  # fmt: skip
    """From the pixels on; to the maps for the edge TPU, and to the last convolutions for CPUs."""
    compiled = backend.compile(source, target, tmp_path)
    assert (compiled.input.dtype, compiled.input.layout) == ("int8", "NHWC")
    assert compiled.input.quantization is not None
    assert compiled.input.quantization.same(Quantization(1 / 255, -128))
    assert isinstance(compiled.output, RawMaps)
    assert compiled.output.dtype == dtype
    assert len({each.scale for each in compiled.output.quantization}) == (3 if dtype == "int8" else 0)
    assert not port_faults(compiled.input, compiled.output, *backend.written_ports(tmp_path, compiled.output))
    assert "ai-edge-quantizer" in compiled.tools
    artifact = seal(backend, compiled, target, source, tmp_path)
    session, batch = registry.open_for_parity(artifact)[0], pixels(artifact)
    expected = reference_maps(source.network, batch, compiled.input, compiled.output)
    assert 1e-4 < max(deviations(expected, session.run(batch)).values()) < most
    session.close()


def test_integers_need_images(ready: object, source: NetworkSource, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cpu-tflite-int8: integers need calibration images"):
        TfliteBackend().compile(replace(source, calibration=None), CPU, tmp_path)


@pytest.mark.parametrize(
    ("weights", "batch", "sentence", "hint"),
    [
        ("leaky_weights", 1, "LeakyRelu (55 times): no operator of the edge TPU", "yolov7-tiny-silu"),
        ("small_weights", 4, "one image at a time, batch 4 was asked for", ""),
    ],
)
def test_chip_limits_are_checked_before_any_work(  # noqa: PLR0917
    weights: str, batch: int, sentence: str, hint: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    convert = request.getfixturevalue("convert")
    never = request.getfixturevalue("monkeypatch")
    never.setattr(convert, "to_flatbuffer", lambda source: pytest.fail("it was converted"))
    file = request.getfixturevalue(weights)
    with pytest.raises(UnsupportedTargetError, match=re.escape(sentence)) as caught:
        export(file, str(EDGE_TPU), tmp_path / "a", ExportOptions(batch=batch))
    assert hint in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_network_that_misfits_is_refused_before_an_image_is_read(
    convert: ModuleType,
    leaky_model: bytes,
    source: NetworkSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Faults that only the converted graph shows: here, as if the network had hidden its activation."""

    class Unread:
        sha256, count, described = "0" * 64, 1, "one picture"

        def batches(self, contract: object) -> object:
            return pytest.fail("images were read")

    monkeypatch.setattr(convert, "to_flatbuffer", lambda source: leaky_model)
    with pytest.raises(UnsupportedTargetError, match="LEAKY_RELU: no operator of the edge TPU"):
        EdgeTpuBackend().compile(replace(source, calibration=Unread()), EDGE_TPU, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_check_needs_no_images(
    ready: object,
    convert: ModuleType,
    leaky_model: bytes,
    source: NetworkSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = EdgeTpuBackend().check(replace(source, calibration=None))
    assert (found.share, found.misfits) == (1.0, ())
    monkeypatch.setattr(convert, "to_flatbuffer", lambda source: leaky_model)
    found = EdgeTpuBackend().check(replace(source, calibration=None))
    assert found.cpu["LEAKY_RELU"] > 0
    assert found.share < 0.1


def test_without_the_compiler_the_artifact_waits(artifact: Artifact) -> None:
    assert set(artifact.manifest.files) == {"model.tflite"}
    with pytest.raises(UsageError, match=r"not compiled for the edge TPU, there is no model_edgetpu\.tflite"):
        EdgeTpuBackend().open(artifact)
    session = EdgeTpuBackend().open_for_parity(artifact)
    assert session.run(pixels(artifact))["p3"].shape == (1, 12, 12, 24)
    session.close()


def test_the_edge_tpu_runs_the_compiled_file(compiled: Artifact, coral: ModuleType) -> None:
    """Its kernels are not the CPU's; the fake's are, so here the numbers are equal."""
    backend = EdgeTpuBackend()
    session, stand_in = backend.open(compiled, threads=2), backend.open_for_parity(compiled)
    batch = pixels(compiled)
    found, expected = session.run(batch), stand_in.run(batch)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert coral.log[:2] == ["device opened {}", "interpreter model_edgetpu.tflite"]
    assert coral.threads[0] == 2
    session.close()
    gc.collect()
    assert coral.log[-2:] == [
        "interpreter released",
        "device closed",
    ]  # in this order, or the library crashes
    stand_in.close()


def test_a_compiled_file_needs_the_device(
    compiled: Artifact, fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fake.install(monkeypatch, runtime, devices=())
    with pytest.raises(RuntimeMissingError, match="finds no edge TPU"):
        EdgeTpuBackend().open(compiled)
    assert not any(line.startswith("interpreter") for line in module.log)


def test_the_plain_interpreter_does_not_take_a_compiled_file(compiled: Artifact) -> None:
    """The fake is right about the real one: without the delegate its custom operator is unknown."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(compiled.path / "model_edgetpu.tflite"))
    with pytest.raises(RuntimeError, match="edgetpu-custom-op"):
        interpreter.allocate_tensors()


def test_the_compiler_is_called_where_it_is(
    ready: object,
    source: NetworkSource,
    fake: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgeyolo_tflite import compiler

    def compile_for_edge_tpu(model: Path) -> str:
        model.with_name("model_edgetpu.tflite").write_bytes(fake.compile_graph(model.read_bytes()))
        return "16.0.384591198"

    monkeypatch.setattr(compiler, "compile_for_edge_tpu", compile_for_edge_tpu)
    compiled = EdgeTpuBackend().compile(source, EDGE_TPU, tmp_path)
    assert compiled.files == ("model.tflite", "model_edgetpu.tflite")
    assert compiled.tools["edgetpu_compiler"] == "16.0.384591198"
