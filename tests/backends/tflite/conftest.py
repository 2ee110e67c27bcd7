"""A small network on its way to TFLite, converted once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Backend, Compiled
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.export.source import NetworkSource
from edgeyolo.runtime.preprocess import preprocess

if TYPE_CHECKING:
    from edgeyolo.models.network import Network


SMALL_NAMES = ("cat", "dog", "bird")


@dataclass(frozen=True)
class Scenes:
    """Generated pictures for calibration."""

    count: int = 4
    sha256: str = "0" * 64
    described: str = "generated pictures"
    ranges: Path | None = None
    floats: tuple[str, ...] = ()

    def batches(self, contract: InputContract) -> Iterator[np.ndarray]:
        for seed in range(0, self.count, contract.batch):
            yield preprocess([make_scene(seed + i).image for i in range(contract.batch)], contract)[0]


SourceOf = Callable[..., NetworkSource]


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> SourceOf:
    """Sources as the export pipeline hands them to a backend: (folded network, image side, **fields) -> source."""

    def make(network: Network, size: int, **changes: Any) -> NetworkSource:
        spec = network.spec
        output = RawMaps(
            tuple(f"p{stride.bit_length() - 1}" for stride in spec.strides),
            spec.strides,
            spec.anchors,
            network.classes,
        )
        names = SMALL_NAMES if network.classes == 3 else tuple(map(str, range(network.classes)))
        scratch = tmp_path_factory.mktemp("scratch")
        made = NetworkSource(network, InputContract(size, size), output, names, scratch, Scenes())
        return replace(made, **changes)

    return make


@pytest.fixture(scope="session")
def small(small_weights: Path) -> Network:
    """The small network, folded."""
    from edgeyolo.models.reparameterize import reparameterize
    from edgeyolo.models.weights import load

    return reparameterize(load(small_weights).network).network


@pytest.fixture(scope="session")
def leaky(small: Network) -> Network:
    """The small network with the other activation of the family."""
    from edgeyolo.models.build import build

    network = build(replace(small.spec, act="leaky_relu"), small.classes, "plain")
    network.load_state_dict(small.state_dict())
    return network.eval()


@pytest.fixture(scope="session")
def leaky_weights(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the small network with the other activation of the family."""
    from edgeyolo.models.build import build
    from edgeyolo.models.weights import load, save

    spec = load(small_weights).network.spec
    path = tmp_path_factory.mktemp("leaky") / "leaky.safetensors"
    save(path, build(replace(spec, act="leaky_relu"), len(SMALL_NAMES), "training"), SMALL_NAMES, {})
    return path


@pytest.fixture(scope="session")
def source(source_of: SourceOf, small: Network) -> NetworkSource:
    """The small network at 96 pixels, with pictures for calibration."""
    return source_of(small, 96)


@pytest.fixture(scope="session")
def convert() -> ModuleType:
    """The converter; the packages behind it belong to an extra."""
    for needed in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"):
        pytest.importorskip(needed, reason="needs the tflite extra")
    from edgeyolo_tflite import convert

    return convert


@pytest.fixture(scope="session")
def float_model(convert: ModuleType, source: NetworkSource, once: Once) -> bytes:
    """The small network as float32 TFLite."""
    return once("float.tflite", lambda path: path.write_bytes(convert.to_flatbuffer(source))).read_bytes()


@pytest.fixture(scope="session")
def leaky_source(source_of: SourceOf, leaky: Network) -> NetworkSource:
    """The small network with LeakyReLU, for images of 64 x 96 pixels."""
    return source_of(leaky, 96, input=InputContract(64, 96))


@pytest.fixture(scope="session")
def leaky_model(convert: ModuleType, leaky_source: NetworkSource, once: Once) -> bytes:
    """The small network with LeakyReLU, as float32 TFLite."""
    return once(
        "leaky.tflite", lambda path: path.write_bytes(convert.to_flatbuffer(leaky_source))
    ).read_bytes()


@pytest.fixture(scope="session")
def calibration(convert: ModuleType, source: NetworkSource) -> list[np.ndarray]:
    """Float32 images in 0..1, channels last."""
    return list(Scenes().batches(convert.contracts(source)[0]))


@pytest.fixture(scope="session")
def leaky_calibration(convert: ModuleType, leaky_source: NetworkSource) -> list[np.ndarray]:
    """The same for the network with LeakyReLU."""
    return list(Scenes().batches(convert.contracts(leaky_source)[0]))


@pytest.fixture(scope="session")
def integer_model(float_model: bytes, calibration: list[np.ndarray], once: Once) -> bytes:
    """The small network in integers."""
    from edgeyolo_tflite.quantize import quantize

    return once(
        "integer.tflite", lambda path: path.write_bytes(quantize(float_model, calibration))
    ).read_bytes()


@pytest.fixture(scope="session")
def seal() -> Callable[..., Artifact]:
    """The manifest that the export pipeline writes, without the checks that it makes."""

    def made(
        backend: Backend, compiled: Compiled, target: Target, source: NetworkSource, folder: Path
    ) -> Artifact:
        manifest = Manifest(
            target=target,
            backend=backend.name,
            model=source.network.spec.name,
            spec=source.network.spec.to_json(),
            class_names=source.class_names,
            input=compiled.input,
            output=compiled.output,
            files={},
            tools=compiled.tools,
        )
        return Artifact.seal(folder, manifest)

    return made


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The fake edge TPU; tests are no package, so it is loaded by its path."""
    path = Path(__file__).with_name("fake_edge_tpu.py")
    spec = importlib.util.spec_from_file_location("fake_edge_tpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
