"""The static check: what the engine does not take is found before an artifact is made, and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.target import Target
from edgeyolo.errors import UnsupportedTargetError
from edgeyolo.export.source import NetworkSource
from edgeyolo_coreml import CoremlBackend
from edgeyolo_coreml.neural_engine import placement, require_neural_engine
from edgeyolo_coreml.package import read


def program_of(build: Any, shape: tuple[Any, ...], dtype: str = "fp16") -> Any:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    spec = mb.TensorSpec(shape=shape, dtype=types.string_to_builtin(dtype))
    return mb.program(input_specs=[spec], opset_version=ct.target.iOS16)(build)


def test_our_networks_stay_on_the_engine(artifacts: dict[str, Artifact]) -> None:
    for precision, artifact in artifacts.items():
        found = placement(read(artifact.path / "model.mlpackage")[1])
        assert found.misfits == (), precision
        # The image's scale and its cast to float16; a cast to float32 for each of the three maps.
        assert found.edges == {"mul": 1, "cast": 4}
        assert set(found.engine) == {"conv", "silu", "concat", "max_pool", "upsample_nearest_neighbor"}
        assert found.streamed == 0


def misfits(build: Any, shape: tuple[Any, ...], dtype: str = "fp16") -> str:
    found = placement(program_of(build, shape, dtype)).misfits
    assert found, "nothing was found"
    return "\n".join(found)


def kernel(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float16)


def test_each_limit_is_told_with_its_numbers() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    assert "5-D reshape" in misfits(lambda x: mb.reshape(x=x, shape=(1, 3, 8, 4, 4)), (1, 24, 4, 4))
    assert "no operator of the engine" in misfits(lambda x: mb.cumsum(x=x, axis=1), (1, 8, 4, 4))
    assert "fixed-point" in misfits(
        lambda x: mb.slice_by_index(x=x, begin=[0, 0, 0, 1], end=[1, 8, 4, 4], stride=[1, 1, 1, 2]),
        (1, 8, 4, 4),
    )
    assert "fp32, the engine computes in fp16 only" in misfits(lambda x: mb.relu(x=x), (1, 8, 4, 4), "fp32")
    assert "rank 5, the engine takes at most 4" in misfits(lambda x: mb.relu(x=x), (1, 3, 8, 4, 4))
    assert "16384 in a side" in misfits(lambda x: mb.relu(x=x), (1, 1, 16385, 1))
    assert "exceeds 65536 channels" in misfits(lambda x: mb.relu(x=x), (1, 65537, 1, 1))
    assert "kernel 1x14, at most 29x13" in misfits(
        lambda x: mb.conv(x=x, weight=kernel(2, 3, 1, 14)), (1, 3, 1, 20)
    )
    assert "over 1 axes" in misfits(lambda x: mb.conv(x=x, weight=kernel(2, 3, 3)), (1, 3, 20))


def test_the_limits_themselves_are_inside() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    assert not placement(program_of(lambda x: mb.relu(x=x), (1, 2, 16384, 1))).misfits
    assert not placement(program_of(lambda x: mb.relu(x=x), (1, 65536, 1, 1))).misfits
    widest = program_of(lambda x: mb.conv(x=x, weight=kernel(2, 3, 29, 13)), (1, 3, 40, 20))
    assert not placement(widest).misfits


def test_a_shape_that_is_not_static_is_told() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import get_new_symbol

    assert "is not static" in misfits(lambda x: mb.relu(x=x), (1, 3, get_new_symbol(), 8))


def test_large_tensors_are_counted_and_no_misfit() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    found = placement(program_of(lambda x: mb.relu(x=x), (1, 64, 160, 160)))
    assert (found.streamed, found.misfits, found.engine) == (1, (), {"relu": 1})


def test_many_misfits_are_summed_up() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    def build(x):  # type: ignore[no-untyped-def]
        for _ in range(10):
            x = mb.cumsum(x=x, axis=1)
        return x

    with pytest.raises(UnsupportedTargetError, match="10 operations do not run") as caught:
        require_neural_engine(program_of(build, (1, 8, 4, 4)), "ane-coreml-fp16")
    assert "and 2 more" in str(caught.value)
    assert caught.value.exit_code == 5


class Reshaping(nn.Module):
    """A network whose maps come with the anchors as a fifth axis."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = zip(self.network(x), (8, 4, 2), strict=True)
        return tuple(each.reshape(1, 3, 8, rows, -1) for each, rows in maps)


class Foreign(Reshaping):
    """A network with an operation that coremltools does not know."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.special.bessel_j0(each) for each in self.network(x))


def test_compiling_such_a_network_is_refused(small_source: NetworkSource, tmp_path: Path) -> None:
    source = replace(small_source, network=Reshaping(small_source.network).eval())
    with pytest.raises(UnsupportedTargetError, match="ane-coreml-fp16: 3 operations") as caught:
        CoremlBackend().compile(source, Target("ane", "coreml", "fp16"), tmp_path)
    assert "5-D reshape" in str(caught.value)


def test_an_operation_that_coremltools_does_not_know_is_named(
    small_source: NetworkSource, tmp_path: Path
) -> None:
    source = replace(small_source, network=Foreign(small_source.network).eval())
    with pytest.raises(UnsupportedTargetError, match="bessel_j0"):
        CoremlBackend().compile(source, Target("ane", "coreml", "fp16"), tmp_path)
    assert not list(tmp_path.iterdir())
