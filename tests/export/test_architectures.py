"""Every network to ONNX, OpenVINO, Core ML and the TensorRT package, without auxiliary outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export extra")

import torch

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.export import ExportOptions, export
from edgeyolo.models.scaling import scale_width
from edgeyolo.models.specs import find, get, known
from edgeyolo.models.topology import ModelSpec
from edgeyolo_bench.measure.random_weights import random_network, save_random

TARGETS = ("cpu-onnx-fp32", "cpu-openvino-fp32", "ane-coreml-fp16", "jetson-trt-fp16")


WIDTHS = ("width", "channels", "out", "spp", "lead", "widths")  # fields of baselines that count channels


def narrow(value: Any, field: str = "") -> Any:
    """A network of a quarter of the channels: nodes, connections and names are those of the whole one."""
    if isinstance(value, ModelSpec):
        return scale_width(value, 1 / 4, name=value.name)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{each.name: narrow(getattr(value, each.name), each.name) for each in fields(value)}
        )
    if isinstance(value, tuple):
        return tuple(narrow(each, field) for each in value)
    return value // 4 if field in WIDTHS and type(value) is int else value


@pytest.fixture(scope="module", params=known())
def weights(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three-class weights in training form: auxiliary heads, RepConv, batch norms and all."""
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.safetensors"
    spec = find(request.param)
    save_random(
        path, spec if spec.name == "x50-csp" else narrow(spec), classes=3
    )  # its groups of 32 stay whole
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_it_exports_without_auxiliary_maps(weights: Path, target: str, tmp_path: Path) -> None:
    _, backend = registry.find_target(target)
    if not backend.can_compile().ok:
        pytest.skip(backend.can_compile().reason)
    spec = find(weights.stem)
    artifact = export(weights, target, tmp_path / target, ExportOptions(size=(128, 128)))
    levels = [f"p{stride.bit_length() - 1}" for stride in spec.strides]
    assert outputs_of(artifact, target) == levels
    assert artifact.manifest.parity is not None
    assert artifact.manifest.parity.holds


def outputs_of(artifact: Artifact, target: str) -> list[str]:
    """The outputs of the runtime's own file, read by the runtime's own means."""
    if target.startswith("cpu-openvino"):
        import openvino

        return [
            next(iter(each.get_names()))
            for each in openvino.Core().read_model(artifact.path / "model.xml").outputs
        ]
    if target.startswith("ane"):
        from edgeyolo_coreml.package import read

        return [item.name for item in read(artifact.path / "model.mlpackage")[0].description.output]
    import onnx

    return [value.name for value in onnx.load(artifact.path / "model.onnx").graph.output]


def test_random_weights_carry_a_picture_to_the_maps() -> None:
    """Otherwise the comparison above would compare nothing with nothing."""
    network = random_network(scale_width(get("yolov7-w6"), 1 / 8), classes=3)
    with torch.inference_mode():
        one, other = (network(torch.full((1, 3, 64, 64), value))[: network.levels] for value in (0.2, 0.8))
    for before, after in zip(one, other, strict=True):
        assert (before - after).abs().max() > 0.05
