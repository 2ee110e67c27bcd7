"""The model that comes with the package.

Twenty everyday objects, found without a download (MODEL_CARD.md).

The artifact lies beside this file and runs on the base install. The weights in training form, for other targets and
for fine-tuning, are in the repository only.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgeyolo.errors import UsageError

NAME = "builtin"
MEASURED = "measured"
"""Key in the provenance of its weights and artifact: `data`, `images`, `AP`, `AP50`, and `precision` and `recall` of
what it shows by default."""

_HERE = Path(__file__).parent
_IN_REPOSITORY = "benchmarks/weights/builtin.safetensors"


def is_builtin(model: str | os.PathLike[str]) -> bool:
    """Return True if `model` names the built-in model.

    A file or folder of that name comes first.
    """
    return os.fspath(model) == NAME and not Path(model).exists()


def artifact_path() -> Path:
    """The directory of the built-in artifact, for `cpu-onnx-fp16`."""
    return _HERE / "model"


def introduce(better: str) -> str:
    """The built-in model in a sentence: its classes and its worth.

    It also says how to take a `better` published network.
    """
    from edgeyolo.artifact.artifact import MANIFEST
    from edgeyolo.artifact.manifest import Manifest

    manifest = Manifest.from_json((artifact_path() / MANIFEST).read_bytes())
    names, measured = manifest.class_names, manifest.provenance[MEASURED]
    return (
        f"no model given: the one that comes with edgeyolo looks for {len(names)} kinds of objects "
        f"({', '.join(names)}), finds {measured['recall']:.0%} of them and is right in {measured['precision']:.0%} "
        f"of what it shows (AP50 {measured['AP50']:.3f}; {measured['data']}); "
        f"a better one: edgeyolo detect --weights {better} SOURCE"
    )


def has_weights() -> bool:
    """Return True if the weights in training form are here.

    They are where edgeyolo is run from its repository.
    """
    return _weights().is_file()


def weights_path() -> Path:
    """The built-in model in training form, float16; UsageError where it is not here."""
    if has_weights():
        return _weights()
    raise UsageError(
        f"the weights of `{NAME}` in training form are not installed, only what runs on this CPU",
        hint=f"They are in edgeyolo's repository, {_IN_REPOSITORY}: give that file instead of `{NAME}`.",
    )


def _weights() -> Path:
    return _HERE.parents[2] / _IN_REPOSITORY
