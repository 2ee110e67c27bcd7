"""OpenVINO 2021.4 in a process of its own, because it needs another Python."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError

SCRIPT = Path(__file__).with_name("legacy.py")


@dataclass(frozen=True)
class Converted:
    """Answer of the MYRIAD plugin about a network.

    It is the number of layers, and those that it refuses.
    """

    version: str
    layers: int
    refused: tuple[str, ...]


def convert(python: Path, onnx: Path, xml: Path) -> Converted:
    """Write `xml` and the `.bin` beside it in format 10.

    It also asks the MYRIAD plugin about them.
    """
    return _ask(python, "convert", str(onnx), str(xml))


def query(python: Path, model: Path) -> Converted:
    """Ask the MYRIAD plugin about an `.onnx` or a format 10 `.xml`."""
    return _ask(python, "query", str(model))


def _ask(python: Path, *arguments: str) -> Converted:
    done = subprocess.run([python, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise EdgeYoloError(f"OpenVINO 2021.4 ({python}) cannot {arguments[0]} {arguments[1]}: {told[0]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Converted(answer["version"], answer["layers"], tuple(answer["refused"]))


class LegacySession:
    """A format 10 file on the CPU plugin of OpenVINO 2021.4.

    It runs in float32 arithmetic.
    """

    def __init__(self, python: Path, path: Path, input: InputContract, output: OutputContract) -> None:
        self._path, self._input, self._output = path, input, output
        self._lock = Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [python, SCRIPT, "run", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        try:
            self._receive()
        except EdgeYoloError as error:
            raise DamagedFileError(f"{path}: OpenVINO 2021.4 cannot load it: {error.message}") from error

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map (1, 3, height, width) float32 to the raw maps by name; one thread at a time."""
        self._input.check(batch)
        with self._lock:
            if self._process is None:
                raise EdgeYoloError(f"{self._path}: the session is closed")
            assert self._process.stdin is not None
            head = json.dumps({"name": self._input.name, "shape": batch.shape}).encode() + b"\n"
            try:
                self._process.stdin.write(head + batch.tobytes())
                self._process.stdin.flush()
            except BrokenPipeError:
                raise self._ended() from None
            shapes = self._receive()["outputs"]
            maps = {name: self._values(shape) for name, shape in shapes.items()}
        return {name: maps[name] for name in self._output.names}

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is None:
                return
            process, self._process = self._process, None
            process.communicate()  # its input ends, and so does it
            self._errors.close()

    def _receive(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EdgeYoloError(f"{self._path}: {answer['error']}")
        return answer

    def _values(self, shape: list[int]) -> NDArray[np.float32]:
        assert self._process is not None and self._process.stdout is not None
        data = self._process.stdout.read(4 * int(np.prod(shape)))
        if len(data) != 4 * int(np.prod(shape)):
            raise self._ended()
        return np.frombuffer(data, np.float32).reshape(shape).copy()

    def _ended(self) -> RuntimeMissingError:
        assert self._process is not None
        code = self._process.wait()
        self._errors.seek(0)
        told = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        return RuntimeMissingError(f"its process ended with {code}: {' '.join(told) or 'it said nothing'}")
