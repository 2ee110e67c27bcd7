"""The fakes are held against what was read from the real bindings: no name more, no argument called otherwise."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from tensorrt_fakes import machine as m
from tensorrt_fakes.cuda_python_fake import make_cuda_python
from tensorrt_fakes.surface import CUDA_PYTHON, TENSORRT
from tensorrt_fakes.tensorrt_fake import make_tensorrt

import edgeyolo_tensorrt

SOURCES = sorted(Path(edgeyolo_tensorrt.__file__).parent.rglob("*.py"))
# Methods whose overrides TensorRT calls itself, and what pybind11 does not write into a docstring.
UNTOLD = {"log"}


@pytest.mark.parametrize("version", TENSORRT)
def test_no_class_has_a_name_that_the_real_one_has_not(version: str) -> None:
    trt, offered = make_tensorrt(m.Machine(), version), TENSORRT[version]
    checked = 0
    for name, members in offered["classes"].items():
        kind = getattr(trt, name, None)
        for each in [each for each in vars(kind) if not each.startswith("_")] if kind else []:
            assert each in members, f"{name}.{each} is not in TensorRT {version}"
            checked += 1
    assert checked > 40


@pytest.mark.parametrize("version", TENSORRT)
def test_arguments_are_called_as_in_the_real_bindings(version: str) -> None:
    trt = make_tensorrt(m.Machine(), version)
    checked = 0
    for name, members in TENSORRT[version]["classes"].items():
        for each, overloads in members.items():
            method = vars(getattr(trt, name, object)).get(each)
            if each in UNTOLD or not inspect.isfunction(method) or isinstance(overloads, str):
                continue
            mine = [argument for argument in inspect.signature(method).parameters if argument != "self"]
            assert mine in [theirs[: len(mine)] for theirs in overloads], (
                f"{name}.{each} in TensorRT {version}"
            )
            checked += 1
    assert checked > 25


@pytest.mark.parametrize("version", TENSORRT)
def test_fakes_are_as_closed_as_the_real_modules(version: str) -> None:
    trt = make_tensorrt(m.Machine(), version)
    config = trt.IBuilderConfig()
    with pytest.raises(AttributeError):
        config.max_workspace = 1
    with pytest.raises(AttributeError):
        trt.Builder.num_DLA_cores.__set__(object.__new__(trt.Builder), 1)
    assert hasattr(config, "progress_monitor") == ("IProgressMonitor" in TENSORRT[version]["classes"])


def test_the_generations_differ_where_the_backend_asks() -> None:
    """Each name that the backend tests for is there in one version and missing in another."""
    answers = {
        version: (
            "STRONGLY_TYPED" in facts["enums"]["NetworkDefinitionCreationFlag"],
            "EXPLICIT_BATCH" in facts["enums"]["NetworkDefinitionCreationFlag"],
            "FP16" in facts["enums"]["BuilderFlag"],
            "IProgressMonitor" in facts["classes"],
            "node_name" in facts["classes"]["ParserError"],
        )
        for version, facts in TENSORRT.items()
    }
    assert answers["8.5.3.1"] == answers["8.6.1"] == (False, True, True, False, False)
    assert answers["10.3.0"] == answers["10.4.0"] == answers["10.16.1.11"] == (True, True, True, True, True)
    assert answers["11.0.0.114"] == answers["11.4.0.106"] == (True, False, False, True, True)


def test_enumerations_are_no_integers() -> None:
    trt = make_tensorrt(m.Machine(), "10.3.0")
    with pytest.raises(TypeError):
        1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 1


@pytest.mark.parametrize("version", CUDA_PYTHON)
def test_cuda_functions_and_arguments_are_the_real_ones(version: str) -> None:
    facts = CUDA_PYTHON[version]
    runtime = make_cuda_python(m.Machine(), version)[facts["module"]]
    functions = {name: value for name, value in vars(runtime).items() if inspect.ismethod(value)}
    assert len(functions) > 18
    for name, function in functions.items():
        assert list(inspect.signature(function).parameters) in facts["functions"][name], (
            f"{name} in {version}"
        )


@pytest.mark.parametrize("version", CUDA_PYTHON)
def test_cuda_numbers_are_the_real_ones(version: str) -> None:
    facts = CUDA_PYTHON[version]
    runtime = make_cuda_python(m.Machine(), version)[facts["module"]]
    for dotted, number in facts["constants"].items():
        value = runtime
        for part in dotted.split("."):
            value = getattr(value, part)
        assert int(value) == number, dotted


def test_every_cuda_name_that_the_backend_calls_is_in_every_version() -> None:
    text = (Path(edgeyolo_tensorrt.__file__).with_name("cuda") / "cuda_python.py").read_text()
    called = set(re.findall(r"\b_?api\.(cuda[A-Z]\w+)", text)) - {"cudaError_t"}
    assert len(called) > 15
    for version, facts in CUDA_PYTHON.items():
        known = {*facts["functions"], *[name.partition(".")[0] for name in facts["constants"]]}
        assert called <= known, version


def test_every_tensorrt_name_that_the_backend_calls_is_known() -> None:
    """A method that is called without a question must be in all versions."""
    text = "\n".join(
        path.read_text() for path in SOURCES if path.name in ("job.py", "session.py", "parsing.py")
    )
    called = set(
        re.findall(
            r"\b(?:builder|config|profile|parser|cache|error|_engine|engine|_context|_runtime)\.(\w+)\(", text
        )
    )
    asked = {"node_name", "node_operator"}
    for version, facts in TENSORRT.items():
        known = {name for members in facts["classes"].values() for name in members}
        assert called - asked <= known, version
    assert {"build_serialized_network", "execute_async_v3", "set_tensor_address", "parse_from_file"} <= called
