"""Tensors of a model file, a client and its check, for servers of KServe v2."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections
from edgeyolo.backend import registry
from edgeyolo.backend.interface import AdoptingBackend
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.recipe import client
from edgeyolo.recipe.host import model_name, place_golden, write_check

SUFFIXES = {"onnx": (".onnx",), "openvino": (".xml", ".bin")}
"""A runtime's files that are to be copied."""
_READERS = {"onnx": "onnxruntime", "openvino": "openvino"}  # on any machine, whatever the device


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model.

    `dtype` is NumPy's name of its type, `sides` its shape without the batch.
    """

    name: str
    dtype: str
    sides: tuple[int, ...]


def tensors(artifact: Artifact) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The input and the outputs of an artifact's file.

    Shapes are the contract's, types the file's own: ONNX and OpenVINO files are asked; a TensorRT package has
    float32, and whole numbers for counts and labels.

    Raises RuntimeMissingError where the package that reads the file is not installed.
    """
    manifest = artifact.manifest
    given, gives = manifest.input, manifest.output
    types = _types(artifact)
    shapes = gives.shapes(given.batch, given.size)
    outputs = tuple(
        Tensor(name, types.get(name, "float32"), shape[1:])
        for name, shape in zip(gives.names, shapes, strict=True)
    )
    return Tensor(given.name, given.dtype, given.shape()[1:]), outputs


def _types(artifact: Artifact) -> dict[str, str]:
    runtime, output = artifact.manifest.target.runtime, artifact.manifest.output
    if runtime not in _READERS:
        whole = output.names[0::3] if isinstance(output, GraphDetections) else ()  # count and labels
        return dict.fromkeys(whole, "int32")
    reader = registry.backends()[_READERS[runtime]]
    ready = reader.can_run()
    if not isinstance(reader, AdoptingBackend) or not ready.ok:
        raise RuntimeMissingError(
            f"reading the types of the model's tensors: {ready.reason}", hint=ready.hint
        )
    file = artifact.file(SUFFIXES[runtime][0])
    return {port.name: port.dtype for port in reader.ports(file)[1]}


def write_client(artifact: Artifact, folder: Path, url: str) -> None:
    """Write client.py with what it needs, and a check by the golden picture."""
    shutil.copyfile(client.__file__, folder / "client.py")
    (folder / "MODEL").write_text(f"{model_name(artifact.manifest)}\n", encoding="utf-8")
    place_golden(artifact, folder)
    write_check(folder, f'python3 client.py --check --url "${{1:-{url}}}"\n')
