"""An artifact ready to be judged, also where its device is absent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from edgeyolo import registry
from edgeyolo.artifact import Artifact
from edgeyolo.devices import Device
from edgeyolo.pipeline import Pipeline
from edgeyolo.thresholds import settle


@contextmanager
def open_to_judge(artifact: Artifact, device: Device | None = None) -> Iterator[tuple[Pipeline, str]]:
    """A pipeline on the artifact's own runtime or, where that is not here, on the stand-in that its export was compared
    by; and the words for what runs it, "" for its own runtime.

    A stand-in gives the device's arithmetic, not its speed. Raises RuntimeMissingError where there is neither.
    """
    manifest = artifact.manifest
    session, runtime = registry.open_for_parity(artifact, device=device)
    with closing(session):
        pipeline = Pipeline(
            session, manifest.input, manifest.output, manifest.class_names, settle(manifest.output)
        )
        yield pipeline, "" if runtime == manifest.backend else runtime
