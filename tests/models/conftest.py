"""The published networks as the tests know them: keys, shapes, layer tables, and weights made from the keys."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
Shapes = dict[str, tuple[int, ...]]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `case` runs for each of the 15 published (model, form) pairs; forms of a model in a row.

    Where networks are computed, the largest ones are slow cases, but for one training form.
    """
    if "case" in metafunc.fixturenames:
        pairs = sorted((row["model"], row["form"]) for row in _rows(GOLDEN / "summary.csv"))
        large, kept = ("yolov7x", "yolov7-e6", "yolov7-d6", "yolov7-e6e"), ("yolov7-e6e", "training")
        slow = {pair for pair in pairs if pair[0] in large and pair != kept}
        if "golden_input" not in metafunc.fixturenames:
            slow.clear()
        cases = [pytest.param(pair, marks=[pytest.mark.slow] if pair in slow else []) for pair in pairs]
        metafunc.parametrize("case", cases, ids=".".join)


@pytest.fixture(scope="session")
def summary() -> dict[tuple[str, str], dict[str, str]]:
    """Parameter counts, GFLOPs, strides and anchors of every (model, form)."""
    return {(row["model"], row["form"]): row for row in _rows(GOLDEN / "summary.csv")}


@pytest.fixture(scope="session")
def published_shapes() -> Callable[[str, str], Shapes]:
    """(model, form) -> published state-dict keys and shapes, 80 classes."""
    tables = json.loads(gzip.decompress((GOLDEN / "state_dicts.json.gz").read_bytes()))
    return lambda model, form: {key: tuple(shape) for key, shape in tables[f"{model}.{form}"].items()}


@pytest.fixture(scope="session")
def layer_table() -> Callable[[str, str], list[dict[str, str]]]:
    """(model, form) -> the nodes of the published network in execution order."""
    return lambda model, form: _rows(GOLDEN / "layers" / f"{model}.{form}.csv")


@pytest.fixture(scope="session")
def golden_input() -> np.ndarray:
    """The 1x3x64x64 float32 image in 0..1 on which the golden outputs were computed."""
    return np.random.RandomState(7).uniform(0.0, 1.0, (1, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def filled(published_shapes: Callable[[str, str], Shapes]) -> Callable[[str, str], dict[str, Any]]:
    """(model, form) -> a published state dict (torch tensors) whose values follow from its keys alone.

    The forms of a model share most entries, so those of the last model are kept.
    """
    torch = pytest.importorskip("torch", reason="needs the export extra")
    kept: dict[tuple[str, tuple[int, ...]], Any] = {}
    models: list[str] = []

    def make(model: str, form: str) -> dict[str, Any]:
        if models != [model]:
            kept.clear()
            models[:] = [model]
        state = {}
        for key, shape in published_shapes(model, form).items():
            if key.rpartition(".")[2] in ("anchors", "anchor_grid", "num_batches_tracked"):
                continue
            if (key, shape) not in kept:
                kept[key, shape] = torch.from_numpy(_value(key, shape))
            state[key] = kept[key, shape]
        return state

    return make


@pytest.fixture(scope="session")
def value_of() -> Callable[[str, tuple[int, ...]], np.ndarray]:
    """(key, shape) -> the values that an entry of a published state dict is filled with."""
    return _value


def _value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    leaf = key.rpartition(".")[2]
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if leaf == "running_var":
        value = random.uniform(0.5, 1.5, shape)
    elif leaf == "implicit":
        value = random.normal(0.0 if ".ia." in key else 1.0, 0.1, shape)
    elif leaf == "weight" and len(shape) == 4:
        value = random.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape)
    elif leaf == "weight":
        value = random.uniform(0.8, 1.2, shape)
    else:
        value = random.normal(0.0, 0.1, shape)
    return value.astype(np.float32)


@pytest.fixture
def rich_spec() -> Any:
    """A narrow network with every kind of part: ReOrg, E-ELAN, mpconv, downc, pool, SPPCSPC, RepConv, aux heads."""
    from edgeyolo.models.specs import Elan, ModelSpec, Stage, TopDown

    def neck(out: int) -> Elan:
        return Elan(8, out, depth=2, stride=1, chain=4, twins=2)

    levels = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198)))
    return ModelSpec(
        "rich",
        stem=((8, 1),),
        backbone=(
            Stage("conv", 16, Elan(8, 16, twins=2)),
            Stage("mpconv", 16, Elan(8, 24)),
            Stage("downc", 24, Elan(8, 32, depth=2)),
            Stage("pool", 32, Elan(8, 32, depth=2, stride=1)),
        ),
        spp=16,
        top_down=(TopDown(16, neck(24)), TopDown(8, neck(16))),
        bottom_up=(Stage("downc", 24, neck(24)), Stage("mpconv", 32, neck(32))),
        lead=(16, 24, 32),
        anchors=tuple(tuple((float(w), float(h)) for w, h in level) for level in levels),
        imgsz=128,
        aux=(16, 16, 24),
        space_to_depth=True,
        rep=True,
    )


@pytest.fixture
def scramble() -> Callable[[Any], Any]:
    """Give a network weights of a seed, batch norm statistics and implicit vectors included; inference mode."""
    torch = pytest.importorskip("torch", reason="needs the export extra")

    def fill(network: Any, seed: int = 0) -> Any:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, value in network.state_dict().items():
                if key.endswith("running_var"):
                    value.uniform_(0.5, 1.5, generator=generator)
                elif key.endswith("num_batches_tracked"):
                    value.fill_(0)
                elif value.ndim == 4 and value.shape[0] > 1:
                    value.normal_(0.0, (2.0 / value[0].numel()) ** 0.5, generator=generator)
                else:
                    value.normal_(1.0 if key.endswith("norm.weight") else 0.0, 0.2, generator=generator)
        return network.eval()

    return fill
