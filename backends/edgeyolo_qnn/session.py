"""A network on the Hexagon NPU, or on its emulator."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.backend.interface import Port
from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo_qnn import library

if TYPE_CHECKING:
    import onnxruntime as ort

_TYPES = {"float": "float32", "float16": "float16", "uint8": "uint8"}
Ports = tuple[tuple[Port, ...], tuple[Port, ...]]


class QnnSession:
    """Runs a compiled network.

    Threads wait for each other, as there is one NPU.
    """

    def __init__(self, path: Path, input: InputContract, output: OutputContract) -> None:
        session = library.load(path)
        self._session: ort.InferenceSession | None = session
        self._path, self._input, self._output, self._lock = path, input, output, Lock()
        takes, gives = ports(session)
        if [port.name for port in takes] != [input.name]:
            raise DamagedFileError(
                f"{path}: the graph takes {[port.name for port in takes]}, the manifest says {input.name!r}"
            )
        if missing := {*output.names} - {port.name for port in gives}:
            raise DamagedFileError(
                f"{path}: the graph gives {[port.name for port in gives]}, the manifest expects also {sorted(missing)}"
            )

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map an input array of the contract to its outputs by name."""
        self._input.check(batch)
        with self._lock:
            if self._session is None:
                raise EdgeYoloError(f"{self._path}: the session is closed")
            given = self._session.run(list(self._output.names), {self._input.name: batch})
        return {
            name: np.asarray(each, np.float32) for name, each in zip(self._output.names, given, strict=True)
        }

    def close(self) -> None:
        """Release the provider's memory."""
        with self._lock:
            self._session = None


def ports(session: ort.InferenceSession) -> Ports:
    """Inputs and outputs of a loaded graph."""
    return _ports(session.get_inputs()), _ports(session.get_outputs())


def _ports(nodes: list[Any]) -> tuple[Port, ...]:
    found = []
    for node in nodes:
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(side if isinstance(side, int) else None for side in node.shape)
        found.append(Port(node.name, shape, _TYPES.get(kind, kind)))
    return tuple(found)
