"""A loaded ONNX file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.backend.ort_options import cpu_options
from edgeyolo.errors import DamagedFileError, EdgeYoloError

if TYPE_CHECKING:
    import onnxruntime as ort


class OnnxruntimeSession:
    """Runs a network on the CPU.

    ONNX Runtime's `run` may be called from several threads.
    """

    def __init__(
        self,
        path: Path,
        input: InputContract,
        output: OutputContract,
        threads: int | None,
        *,
        spin: bool = True,
    ) -> None:
        session = load(path, threads, spin=spin)
        self._session: ort.InferenceSession | None = session
        self._path, self._input, self._output = path, input, output
        given = tuple(item.name for item in session.get_outputs())
        if missing := set(output.names) - set(given):
            raise DamagedFileError(
                f"{path}: the graph gives {given}, the manifest expects also {sorted(missing)}"
            )
        if [item.name for item in session.get_inputs()] != [input.name]:
            taken = tuple(item.name for item in session.get_inputs())
            raise DamagedFileError(f"{path}: the graph takes {taken}, the manifest says {input.name!r}")

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map an input array of the contract to its outputs by name."""
        if (session := self._session) is None:  # another thread may close it meanwhile
            raise EdgeYoloError(f"{self._path}: the session is closed")
        self._input.check(batch)
        given = session.run(list(self._output.names), {self._input.name: batch})
        return {
            name: np.asarray(each, np.float32) for name, each in zip(self._output.names, given, strict=True)
        }

    def layers(self, batch: NDArray[Any], names: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """The float tensors inside that are called so, for looking into a missed gate.

        Loads the file again.
        """
        import onnx

        from edgeyolo.export.for_backends import tensors_of

        self._input.check(batch)
        return tensors_of(onnx.load(str(self._path)), {self._input.name: batch}, names)

    def close(self) -> None:
        """Release the runtime's memory."""
        self._session = None


def load(
    path: Path, threads: int | None, *, optimized: bool = True, spin: bool = True
) -> ort.InferenceSession:
    """ONNX Runtime's own session on the CPU.

    One that is not optimized takes half the time and memory to load, and is for looking at what the file says. Threads
    that `spin` while they wait for work find it sooner, and take the processor from everything else meanwhile.

    DamagedFileError where it cannot load the file.
    """
    import onnxruntime as ort

    options = cpu_options(threads)
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class but Exception
        raise DamagedFileError(f"{path}: ONNX Runtime {ort.__version__} cannot load it: {error}") from error
