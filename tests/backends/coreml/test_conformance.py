"""The suite that every backend passes, run on the session of a Mac with Apple's half of coremltools replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.conformance import *  # noqa: F403
from edgeyolo.export import export
from edgeyolo_coreml import CoremlBackend

TARGETS = [
    "ane-coreml-fp16",
    pytest.param("ane-coreml-int8", marks=pytest.mark.slow),
    pytest.param("ane-coreml-w6", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def mac(fake_framework: ModuleType) -> Iterator[CoremlBackend]:
    """A machine on which the registry finds the backend, and the backend finds Core ML."""
    backend = CoremlBackend()
    with pytest.MonkeyPatch.context() as patch:
        fake_framework.install(patch)
        known = {**registry.backends(), "coreml": backend}
        patch.setattr(registry, "_load", lambda: (known, ()))
        patch.setattr(registry, "_load_entry", known.get)
        yield backend


@pytest.fixture(scope="module", params=TARGETS)
def artifact(
    request: pytest.FixtureRequest,
    mac: CoremlBackend,
    small_weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    assert mac.can_run().ok
    return export(small_weights, request.param, tmp_path_factory.mktemp("export") / request.param)
