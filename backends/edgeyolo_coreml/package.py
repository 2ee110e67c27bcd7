"""The .mlpackage directory.

Written so that equal networks give equal bytes, read back as a MIL program.

Manifest.json                                 which file is what; coremltools writes random identifiers
Data/com.apple.CoreML/model.mlmodel           the program, as a protobuf message
Data/com.apple.CoreML/weights/weight.bin      the weights the program refers to by offset
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgeyolo.errors import DamagedFileError
from edgeyolo_coreml.toolkit import coremltools

DATA = "Data/com.apple.CoreML"
FILES = ("Manifest.json", f"{DATA}/model.mlmodel", f"{DATA}/weights/weight.bin")
_DATE = "com.github.apple.coremltools.conversion_date"


def write(spec: Any, weights: Path, package: Path) -> None:
    """Save a model and its folder of weights as `package`, reproducibly.

    It leaves out what differs from run to run: random identifiers and the date.
    """
    ct = coremltools()
    for model in [spec, *spec.pipeline.models]:
        model.description.metadata.userDefined.pop(_DATE, None)
    ct.utils.save_spec(spec, str(package), weights_dir=str(weights))
    place = package / DATA / "model.mlmodel"
    place.write_bytes(spec.SerializeToString(deterministic=True))
    place.chmod(0o644)  # coremltools leaves the mode of a temporary file
    _name_items(package)


def read(package: Path) -> tuple[Any, Any]:
    """The protobuf message of a package and its ML program.

    The latter is a pymil program (of a pipeline, that of the first model).

    Raises DamagedFileError where there is no such package.
    """
    coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    with _told(package):
        _check_manifest(package)
        spec = _read_message(package / DATA / "model.mlmodel")
        model = spec.pipeline.models[0] if spec.WhichOneof("Type") == "pipeline" else spec
        return spec, load(model, model.specificationVersion, str(package / DATA / "weights"))


def _read_message(place: Path) -> Any:
    spec = coremltools().proto.Model_pb2.Model()
    spec.ParseFromString(place.read_bytes())
    return spec


def _name_items(package: Path) -> None:
    """Give every item an identifier made of what it holds."""
    place = package / "Manifest.json"
    manifest = json.loads(place.read_text(encoding="utf-8"))
    names = {old: _identifier(package, item["path"]) for old, item in manifest["itemInfoEntries"].items()}
    manifest["itemInfoEntries"] = {names[old]: item for old, item in manifest["itemInfoEntries"].items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    place.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")


def _identifier(package: Path, item: str) -> str:
    digest = sha256(item.encode())
    place = package / "Data" / item
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.is_file():
            digest.update(path.read_bytes())
    return str(uuid.UUID(bytes=digest.digest()[:16], version=4))


def _check_manifest(package: Path) -> None:
    """Check the manifest's entries that the Core ML framework looks for.

    It is done before any of it is given to native code.
    """
    manifest = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
    root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    if root != "com.apple.CoreML/model.mlmodel":
        raise ValueError(f"Manifest.json names {root!r} as the model")


@contextmanager
def _told(package: Path) -> Iterator[None]:
    """Turn the readers' exceptions on foreign bytes into one error.

    It names the package.
    """
    try:
        yield
    except (
        Exception
    ) as error:  # protobuf, JSON, pymil and its native reader share no base class but Exception
        raise DamagedFileError(
            f"{package}: expected a Core ML package with one ML program: {type(error).__name__}: {error}",
            hint="Copy the whole directory again, or export the weights again.",
        ) from error
