"""The interpreter gives what torch gives, with the program's own rounding, and refuses what it does not know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.interface import ParityBackend, Session
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo_coreml import CoremlBackend
from edgeyolo_coreml.interpreter import InterpretedSession, Interpreter
from edgeyolo_coreml.package import read


def scores(maps: dict[str, np.ndarray], anchors: int = 3) -> np.ndarray:
    """sigmoid(objectness) * sigmoid(class) of every cell."""
    found = []
    for each in maps.values():
        planes = each.reshape(len(each), anchors, -1, *each.shape[2:]).astype(np.float64)
        p = 1 / (1 + np.exp(-planes[:, :, 4:]))
        found.append((p[:, :, :1] * p[:, :, 1:]).ravel())
    return np.concatenate(found)


def open_session(artifact: Artifact) -> Session:
    backend = CoremlBackend()
    assert isinstance(backend, ParityBackend)
    return backend.open_for_parity(artifact)


# Largest deviation of a map, relative to its largest value, and of a score; random weights.
BUDGETS = {"fp16": (2e-3, 1e-3), "int8": (2e-2, 1e-2), "w6": (6e-2, 3e-2)}


@pytest.mark.parametrize("precision", BUDGETS)
def test_maps_and_scores_are_torchs(
    artifacts: dict[str, Artifact], pictures: np.ndarray, expected: dict[str, np.ndarray], precision: str
) -> None:
    of_maps, of_scores = BUDGETS[precision]
    maps = open_session(artifacts[precision]).run(pictures[:1])
    expected = {name: each[:1] for name, each in expected.items()}
    for name, want in expected.items():
        assert maps[name].shape == want.shape
        assert maps[name].dtype == np.float32
        assert np.abs(maps[name] - want).max() <= of_maps * np.abs(want).max(), name
    assert np.abs(scores(maps) - scores(expected)).max() <= of_scores


def test_outputs_are_float16_values(artifacts: dict[str, Artifact], pictures: np.ndarray) -> None:
    for each in open_session(artifacts["fp16"]).run(pictures[:1]).values():
        assert np.array_equal(each, each.astype(np.float16).astype(np.float32))
        assert not np.array_equal(each, np.rint(each))


def test_any_number_of_images_each_as_if_alone(artifacts: dict[str, Artifact], pictures: np.ndarray) -> None:
    artifact = artifacts["fp16"]
    contract = replace(artifact.manifest.input, dynamic_batch=True)
    session = InterpretedSession(artifact.path / "model.mlpackage", contract, artifact.manifest.output)
    together = session.run(pictures)
    for index in range(len(pictures)):
        alone = session.run(pictures[index : index + 1])
        assert all(np.array_equal(together[name][index], alone[name][0]) for name in alone)


def test_a_wrong_batch_and_a_closed_session_are_refused(
    artifacts: dict[str, Artifact], pictures: np.ndarray
) -> None:
    session = open_session(artifacts["fp16"])
    with pytest.raises(UsageError, match="expected uint8"):
        session.run(pictures[:1].astype(np.float32))
    with pytest.raises(UsageError, match="expected"):
        session.run(pictures[:2])
    session.close()
    session.close()
    with pytest.raises(EdgeYoloError, match="closed"):
        session.run(pictures[:1])


def test_a_manifest_of_another_network_is_refused(artifacts: dict[str, Artifact]) -> None:
    artifact = artifacts["fp16"]
    output = replace(artifact.manifest.output, names=("p4", "p5", "p6"))
    with pytest.raises(DamagedFileError, match=r"expects also \['p6'\]"):
        InterpretedSession(artifact.path / "model.mlpackage", artifact.manifest.input, output)


def test_only_live_variables_are_kept(artifacts: dict[str, Artifact]) -> None:
    program = Interpreter(read(artifacts["fp16"].path / "model.mlpackage")[1])
    live, most = {*program.inputs}, 0
    for step in program._steps:
        read_here = {
            name
            for names in step.variables.values()
            for name in ([names] if isinstance(names, str) else names)
        }
        assert read_here <= live, f"{step.name} reads what was thrown away"
        live = (live | {step.name}) - set(step.last_use)
        most = max(most, len(live))
    assert set(program.outputs) == live
    assert most < len(program._steps) / 4


def program_of(build: Any, shape: tuple[int, ...]) -> Any:
    """A pymil program with a float16 input of `shape`."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    spec = mb.TensorSpec(shape=shape, dtype=types.fp16)
    return mb.program(input_specs=[spec], opset_version=ct.target.iOS16)(build)


def test_float16_overflows_where_the_program_says_float16() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    def build(x):  # type: ignore[no-untyped-def]
        return mb.cast(x=mb.mul(x=mb.mul(x=x, y=np.float16(60000)), y=np.float16(0.5)), dtype="fp32")

    interpreter = Interpreter(program_of(build, (1, 2)))
    (result,) = interpreter.run({"x": np.float32([[1.0, 2.0]])}).values()
    assert result.tolist() == [[30000.0, float("inf")]]


def test_sums_are_wider_than_float16() -> None:
    """4096 ones and 4096 (guide, chapter 3): float16 alone would stay at 4096."""
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    weight = np.ones((1, 4097, 1, 1), np.float16)
    weight[0, 0] = 4096

    def build(x):  # type: ignore[no-untyped-def]
        return mb.cast(x=mb.conv(x=x, weight=weight), dtype="fp32")

    interpreter = Interpreter(program_of(build, (1, 4097, 1, 1)))
    (result,) = interpreter.run({"x": np.ones((1, 4097, 1, 1), np.float32)}).values()
    assert result.item() == 8192


def test_an_operator_without_a_rule_is_named() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    with pytest.raises(KeyError, match="no rule for the operator cumsum"):
        Interpreter(program_of(lambda x: mb.cumsum(x=x, axis=1), (1, 4)))


def test_an_input_of_another_shape_is_refused() -> None:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    interpreter = Interpreter(program_of(lambda x: mb.relu(x=x), (1, 4)))
    with pytest.raises(ValueError, match="expected"):
        interpreter.run({"x": np.ones((4, 1), np.float32)})
