"""Compressed packages hold the rounded weights bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.export.source import NetworkSource
from edgeyolo_coreml.compress import EIGHT, KEPT, sizes_for
from edgeyolo_coreml.convert import prepare
from edgeyolo_coreml.interpreter import Interpreter
from edgeyolo_coreml.package import read


def weights_in(artifact: Artifact) -> list[np.ndarray]:
    """The convolution weights of a package in order of execution, decompressed by the interpreter."""
    program = Interpreter(read(artifact.path / "model.mlpackage")[1])
    return [step.constants["weight"].numpy() for step in program._steps if step.kind == "conv"]


@pytest.mark.parametrize("precision", ["fp16", "int8", "w6"])
def test_the_file_holds_the_rounded_weights(
    artifacts: dict[str, Artifact], small_source: NetworkSource, precision: str
) -> None:
    network = prepare(small_source, precision)
    rounded = [unit.weight.detach().numpy() for unit in network.modules() if isinstance(unit, nn.Conv2d)]
    held = weights_in(artifacts[precision])
    assert len(held) == len(rounded)
    left = list(rounded)
    for weights in held:  # execution follows another order than registration
        match = [i for i, each in enumerate(left) if np.array_equal(each.astype(np.float16), weights)]
        assert match, f"weights of shape {weights.shape} are not those of the network"
        del left[match[0]]


@pytest.mark.parametrize("precision", ["int8", "w6"])
def test_all_but_the_smallest_tensors_are_compressed(
    artifacts: dict[str, Artifact], small_source: NetworkSource, precision: str
) -> None:
    wanted = sizes_for(small_source.network)
    program = read(artifacts[precision].path / "model.mlpackage")[1]
    convolutions = [each for each in program.functions["main"].operations if each.op_type == "conv"]
    for operation in convolutions:
        values = int(np.prod(operation.weight.shape))
        kind = "affine_dequantize" if precision == "int8" or values < wanted.palettes else "lut_to_dense"
        expected = f"constexpr_{kind}" if values >= wanted.compressed else "const"
        assert operation.weight.op.op_type == expected
    sizes = [int(np.prod(operation.weight.shape)) for operation in convolutions]
    assert 0 < sum(size for size in sizes if size < wanted.compressed) <= KEPT * sum(sizes)
    assert KEPT * sum(sizes) < sum(size for size in sizes if size < wanted.palettes) <= EIGHT * sum(sizes)


def test_smaller_forms_make_smaller_files(artifacts: dict[str, Artifact]) -> None:
    weights = {name: each.file("weight.bin").stat().st_size for name, each in artifacts.items()}
    assert weights["int8"] < 0.65 * weights["fp16"]
    assert weights["w6"] < 0.85 * weights["int8"]


def test_rounding_leaves_the_trained_network_alone(small_source: NetworkSource) -> None:
    before: Any = {name: each.clone() for name, each in small_source.network.state_dict().items()}
    prepare(small_source, "w6")
    after = small_source.network.state_dict()
    assert all(np.array_equal(before[name].numpy(), after[name].numpy()) for name in before)


def test_a_network_of_nothing_to_compress_is_an_error() -> None:
    with pytest.raises(ValueError, match="without convolutions"):
        sizes_for(nn.Identity())
