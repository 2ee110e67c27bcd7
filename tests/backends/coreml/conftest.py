"""Artifacts of the small network for Core ML, made once; nothing in here needs a Mac."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("coremltools", reason="needs the coreml extra")
torch = pytest.importorskip("torch", reason="needs the coreml extra")

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.artifact.manifest import Manifest  # noqa: E402
from edgeyolo.artifact.target import Target  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.export.source import NetworkSource  # noqa: E402
from edgeyolo.models.importer import import_checkpoint  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.runtime.preprocess import preprocess  # noqa: E402
from edgeyolo_coreml import CoremlBackend  # noqa: E402

if TYPE_CHECKING:
    from edgeyolo.models.network import Network


SourceOf = Callable[["Network", tuple[str, ...], tuple[int, int]], NetworkSource]


@pytest.fixture(scope="session")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> SourceOf:
    """Sources as the export pipeline hands them to a backend: (folded network, class names, size) -> source."""
    scratch = tmp_path_factory.mktemp("coreml-source")

    def make(network: Network, names: tuple[str, ...], size: tuple[int, int]) -> NetworkSource:
        spec = network.spec
        levels = tuple(f"p{stride.bit_length() - 1}" for stride in spec.strides)
        output = RawMaps(levels, spec.strides, spec.anchors, len(names))
        return NetworkSource(network, InputContract(*size), output, names, scratch)

    return make


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """The networks are small: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def fake_framework() -> ModuleType:
    """The module beside this file: Apple's half of coremltools."""
    path = Path(__file__).with_name("fake_framework.py")
    spec = importlib.util.spec_from_file_location("fake_framework", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small_source(small_weights: Path, source_of: SourceOf) -> NetworkSource:
    """The small three-class network, folded; 64 rows by 96 columns, so that a swap of the two shows."""
    loaded = import_checkpoint(small_weights)
    network = reparameterize(loaded.network).network
    return source_of(network, loaded.class_names, (64, 96))


@pytest.fixture(scope="session")
def make_artifact() -> Callable[[NetworkSource, str, Path], Artifact]:
    """Compile and seal, without the gate: (source, precision, folder) -> artifact."""

    def make(source: NetworkSource, precision: str, folder: Path) -> Artifact:
        folder.mkdir(parents=True)
        target = Target("ane", "coreml", precision)
        compiled = CoremlBackend().compile(source, target, folder)
        spec = source.network.spec
        manifest = Manifest(
            target, "coreml", spec.name, {}, source.class_names, compiled.input, compiled.output, {}
        )
        return Artifact.seal(folder, manifest)

    return make


@pytest.fixture(scope="session")
def artifacts(
    small_source: NetworkSource,
    make_artifact: Callable[[NetworkSource, str, Path], Artifact],
    once: Callable[[str, Callable[[Path], object]], Path],
) -> dict[str, Artifact]:
    """The small network for each precision; not to be changed."""

    def made(precision: str) -> Artifact:
        place = once(f"coreml-{precision}", lambda path: make_artifact(small_source, precision, path))
        return Artifact.open(place)

    return {each: made(each) for each in ("fp16", "int8", "w6")}


@pytest.fixture(scope="session")
def pictures(artifacts: dict[str, Artifact]) -> np.ndarray:
    """Four generated pictures as the artifacts take them: uint8 (4, 64, 96, 3) RGB."""
    return preprocess([make_scene(seed).image for seed in range(4)], artifacts["fp16"].manifest.input)[0]


@pytest.fixture(scope="session")
def expected(small_source: NetworkSource, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """torch's raw maps of the pictures."""
    images = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    with torch.inference_mode():
        maps = small_source.network(images)
    return {name: each.numpy() for name, each in zip(small_source.output.names, maps, strict=True)}
