"""Sessions: threads take turns, results are the caller's, closing waits, foreign files are named."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.backend.interface import IntegerSession
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.export.source import NetworkSource
from edgeyolo.runtime.preprocess import preprocess

pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")

from edgeyolo_tflite import runtime, session
from edgeyolo_tflite.session import TfliteSession

OpenFile = Callable[..., TfliteSession]


@pytest.fixture
def contracts(convert: ModuleType, source: NetworkSource) -> tuple[InputContract, RawMaps]:
    return convert.contracts(source)


@pytest.fixture
def open_file(tmp_path: Path, contracts: tuple[InputContract, RawMaps]) -> OpenFile:
    """Write the bytes and open them: (data, contract changes, **session arguments)."""

    def opened(data: bytes, loaded: Any = None, name: str = "net.tflite", **arguments: Any) -> TfliteSession:
        given, output = contracts
        path = tmp_path / name
        path.write_bytes(data)
        given = replace(given, **arguments.pop("input", {}))
        output = replace(output, **arguments.pop("output", {}))
        return TfliteSession(path, given, output, loaded or runtime.load(), **arguments)

    return opened


def pictures(contract: InputContract, seed: int = 5) -> np.ndarray:
    return preprocess([make_scene(seed).image], contract)[0]


def test_float_and_integer_models_give_float_maps(
    open_file: OpenFile,
    float_model: bytes,
    integer_model: bytes,
    contracts: tuple[InputContract, RawMaps],
) -> None:
    given, output = contracts
    pixels = replace(given, dtype="uint8")
    exact = open_file(float_model).run(pictures(given))
    rough = open_file(integer_model, input={"dtype": "uint8"}).run(pictures(pixels))
    for name, shape in zip(output.names, output.shapes(1, given.size), strict=True):
        assert exact[name].shape == rough[name].shape == shape
        assert exact[name].dtype == rough[name].dtype == np.float32
        assert np.abs(exact[name] - rough[name]).mean() < 0.1 * np.abs(exact[name]).max()


def test_maps_are_left_in_integers_where_the_manifest_has_their_very_scales(
    open_file: OpenFile, integer_model: bytes, contracts: tuple[InputContract, RawMaps]
) -> None:
    given, output = contracts
    batch = pictures(replace(given, dtype="uint8"))
    bare = open_file(integer_model, input={"dtype": "uint8"})
    stated = tuple(session.quantization_of(bare._maps[name]) for name in output.names)
    assert None not in stated
    exact = open_file(
        integer_model, input={"dtype": "uint8"}, output={"dtype": "int8", "quantization": stated}
    )
    assert isinstance(exact, IntegerSession)
    found, real = exact.run_integers(batch), exact.run(batch)
    for name, each in zip(output.names, stated, strict=True):
        assert each is not None
        assert found[name].dtype == np.int8
        assert np.array_equal(each.real(found[name]), real[name])
    rounded = tuple(replace(each, scale=each.scale * (1 + 5e-7)) for each in stated if each is not None)
    other = open_file(
        integer_model, input={"dtype": "uint8"}, output={"dtype": "int8", "quantization": rounded}
    )
    for opened in (bare, other):
        maps = opened.run_integers(batch)
        assert all(np.array_equal(maps[name], real[name]) for name in output.names)


def test_every_pixel_value_reaches_an_integer_model(open_file: OpenFile, integer_model: bytes) -> None:
    opened = open_file(integer_model, input={"dtype": "uint8"})
    assert np.array_equal(opened._table, np.arange(256) - 128)


def test_an_integer_model_of_another_scale(open_file: OpenFile, integer_model: bytes) -> None:
    """Made by another tool: three pixel values share a step, the brightest are clipped."""
    from edgeyolo_tflite import flatbuffer

    model = flatbuffer.read(integer_model)
    pad = model.subgraphs[0].operators[0]
    for index in (pad.inputs[0], pad.outputs[0]):
        entry = model.subgraphs[0].tensors[index].quantization
        entry.scale, entry.zeroPoint = [3 / 255], [100]
    opened = open_file(flatbuffer.write(model), input={"dtype": "uint8"})
    assert np.array_equal(opened._table, np.clip(np.rint(np.arange(256) / 3) + 100, -128, 127))


def test_both_ways_to_int8_are_the_same() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 4, 8, 8)
    usual = (np.arange(256) - 128).astype(np.int8)
    assert np.array_equal(session.to_int8(pixels, usual), usual[pixels])
    other = np.clip(np.arange(256) * 2 - 128, -128, 127).astype(np.int8)  # the same ends
    assert np.array_equal(session.to_int8(pixels, other), other[pixels])


def test_eight_threads_get_what_one_gets(
    open_file: OpenFile, float_model: bytes, contracts: tuple[InputContract, RawMaps]
) -> None:
    opened = open_file(float_model, threads=1)
    batches = [pictures(contracts[0], seed) for seed in range(8)]
    alone = [opened.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(opened.run, batches * 3))
    for one, other in zip(alone * 3, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_results_are_the_callers(
    open_file: OpenFile, float_model: bytes, contracts: tuple[InputContract, RawMaps]
) -> None:
    opened = open_file(float_model)
    first = opened.run(pictures(contracts[0]))
    copies = {name: each.copy() for name, each in first.items()}
    first_again = opened.run(pictures(contracts[0], seed=9))
    assert any(not np.array_equal(first_again[name], copies[name]) for name in copies)
    opened.close()
    gc.collect()
    for name, each in first.items():
        assert np.array_equal(each, copies[name])
        assert each.flags.writeable


def test_closing(open_file: OpenFile, float_model: bytes, contracts: tuple[InputContract, RawMaps]) -> None:
    opened = open_file(float_model)
    opened.close()
    opened.close()
    with pytest.raises(EdgeYoloError, match=r"net\.tflite: the session is closed"):
        opened.run(pictures(contracts[0]))


def test_a_wrong_batch_is_refused_before_the_interpreter_sees_it(
    open_file: OpenFile, float_model: bytes, contracts: tuple[InputContract, RawMaps]
) -> None:
    opened, good = open_file(float_model), pictures(contracts[0])
    for bad in (good[0], good.transpose(0, 3, 1, 2), (good * 255).astype(np.uint8)):
        with pytest.raises(UsageError, match="expected float32"):
            opened.run(bad)


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_threads(
    open_file: OpenFile,
    float_model: bytes,
    fake: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    threads: int | None,
) -> None:
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda pid: set(range(96)), raising=False)
    module = fake.Module()
    open_file(float_model, runtime.Runtime(module, "fake"), threads=threads)
    assert module.threads == [threads or 4]


def test_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda pid: {5}, raising=False)
    assert session.usable_cores() == 1


@pytest.mark.parametrize("data", [b"not a network" * 50, b"", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 100])
def test_other_files_are_refused(open_file: OpenFile, data: bytes) -> None:
    with pytest.raises(DamagedFileError, match=r"net\.tflite: ai-edge-litert \S+ cannot load it"):
        open_file(data)


def test_half_a_file_is_refused(open_file: OpenFile, float_model: bytes) -> None:
    with pytest.raises(DamagedFileError, match=r"net\.tflite: ai-edge-litert \S+ cannot load it"):
        open_file(float_model[: len(float_model) // 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {"height": 64}}, r"expected a tensor 'images' of shape \(1, 64, 96, 3\), the model has"),
        ({"input": {"name": "pixels"}}, r"expected a tensor 'pixels'"),
        ({"output": {"names": ("p3", "p4", "p6")}}, r"expected a tensor 'p6' of shape \(1, 3, 3, 24\)"),
        ({"output": {"classes": 80}}, r"expected a tensor 'p3' of shape \(1, 12, 12, 255\)"),
        ({"input": {"dtype": "uint8"}}, r"the model takes float32, the manifest says uint8"),
    ],
)
def test_a_model_of_another_network_is_refused(
    open_file: OpenFile, float_model: bytes, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DamagedFileError, match=message):
        open_file(float_model, **changes)


def test_an_integer_model_under_a_float_manifest_is_refused(
    open_file: OpenFile, integer_model: bytes
) -> None:
    with pytest.raises(DamagedFileError, match="the model takes int8, the manifest says float32"):
        open_file(integer_model)
