"""The small network on its way to OpenVINO, and its artifacts, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Backend
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.runtime.preprocess import preprocess

if TYPE_CHECKING:
    from edgeyolo.export.source import NetworkSource


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEVICE", "HINT", "PRECISION"):
        monkeypatch.delenv(f"EDGEYOLO_OPENVINO_{name}", raising=False)


@pytest.fixture(scope="session")
def source(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> NetworkSource:
    """The small network, ready for `Backend.compile`."""
    pytest.importorskip("openvino", reason="needs the openvino extra")
    from edgeyolo.export.source import NetworkSource
    from edgeyolo.models.importer import import_checkpoint
    from edgeyolo.models.reparameterize import reparameterize

    loaded = import_checkpoint(small_weights)
    spec = loaded.network.spec
    output = RawMaps(("p3", "p4", "p5"), spec.strides, spec.anchors, 3)
    network = reparameterize(loaded.network).network
    folder = tmp_path_factory.mktemp("source")
    return NetworkSource(network, InputContract(96, 96), output, loaded.class_names, folder)


@pytest.fixture(scope="session")
def make(source: NetworkSource) -> Callable[[Backend, str, Path], Artifact]:
    """A function that compiles the small network into a folder to be made, and seals it."""

    def compile_and_seal(backend: Backend, target: str, folder: Path) -> Artifact:
        folder.mkdir()
        compiled = backend.compile(source, Target.parse(target), folder)
        assert set(compiled.files) == {path.name for path in folder.iterdir()}
        manifest = Manifest(
            target=Target.parse(target),
            backend=backend.name,
            model="small",
            spec={},
            class_names=source.class_names,
            input=compiled.input,
            output=compiled.output,
            files={},
            tools=compiled.tools,
        )
        return Artifact.seal(folder, manifest)

    return compile_and_seal


@pytest.fixture(scope="session")
def batch(source: NetworkSource) -> np.ndarray:
    """An input array (1, 3, 96, 96) float32 of a generated scene; not to be changed."""
    return preprocess([make_scene(5).image], source.input)[0]
