"""A loaded TFLite file."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract, Quantization, RawMaps
from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo_tflite.runtime import Runtime

MAX_THREADS = 4  # the boards this is for have four cores, and more threads than that wait for each other


class TfliteSession:
    """A network of raw head maps in a TFLite interpreter.

    It runs on the CPU (XNNPACK) or on what `delegates` reach.

    An interpreter holds its tensors and is run by one thread at a time; several threads take turns. `threads` is for
    the CPU kernels; None takes the cores that the process may use, at most four, because the interpreter's own
    default is a single one.

    Integer models take int8, what the contract's quantization makes of pixels, and give maps in float32. The contracts
    of older artifacts say uint8 where the file has int8: pixels are then turned into the input tensor's scale here.
    """

    def __init__(
        self,
        path: Path,
        input: InputContract,
        output: OutputContract,
        runtime: Runtime,
        *,
        threads: int | None = None,
        delegates: tuple[Any, ...] = (),
    ) -> None:
        self._path, self._input, self._output, self._runtime = path, input, output, runtime
        try:
            interpreter = runtime.interpreter(
                str(path), threads=threads or usable_cores(), delegates=delegates
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            self._refuse(f"{runtime.name} cannot load it: {error}", error)
        given = {item["name"]: item for item in interpreter.get_input_details()}
        maps = {item["name"]: item for item in interpreter.get_output_details()}
        self._check(given, {input.name: input.shape()})
        shapes = output.shapes(input.batch, input.size)
        self._check(maps, dict(zip(output.names, shapes, strict=True)))
        self._entry = given[input.name]["index"]
        self._table = self._quantizer(given[input.name])
        self._maps = {name: maps[name] for name in output.names}
        self._check_scales(given[input.name])
        self._exact = self._scales_are_exact()
        self._interpreter: Any = interpreter
        self._lock = Lock()

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map (n, height, width, 3) float32 or uint8 to the raw maps by name.

        The arrays are the caller's.
        """
        return {name: dequantize(each, self._maps[name]) for name, each in self._invoke(batch).items()}

    def run_integers(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run as `run` does, and leave maps of integers as they are.

        Where the manifest has other scales than the file, by a rounding, they become float32 all the same.
        """
        return self._invoke(batch) if self._exact else self.run(batch)

    def _invoke(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self._input.check(batch)
        values = batch if self._table is None else to_int8(batch, self._table)
        with self._lock:
            if self._interpreter is None:
                raise EdgeYoloError(f"{self._path}: the session is closed")
            self._interpreter.set_tensor(self._entry, values)
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(item["index"]) for name, item in self._maps.items()}

    def close(self) -> None:
        """Release the interpreter, and with it its delegates.

        A run under way is waited for.
        """
        with self._lock:
            self._interpreter = None

    def _check(self, found: dict[str, Any], expected: dict[str, tuple[int, ...]]) -> None:
        have = {name: tuple(int(side) for side in item["shape"]) for name, item in found.items()}
        for name, shape in expected.items():
            if have.get(name) != shape:
                self._refuse(f"expected a tensor {name!r} of shape {shape}, the model has {have}")

    def _check_scales(self, item: dict[str, Any]) -> None:
        """Refuse scales and zero points other than the manifest's."""
        stated = [(self._input.name, item, self._input.quantization)]
        if isinstance(self._output, RawMaps):
            pairs = zip(self._output.names, self._output.quantization, strict=False)
            stated += [(name, self._maps[name], each) for name, each in pairs]
        for name, found, expected in stated:
            if expected is not None and not expected.same(quantization_of(found)):
                self._refuse(
                    f"tensor {name!r} has the scale and zero point {found['quantization']}, not {expected}"
                )

    def _scales_are_exact(self) -> bool:
        """Compare scales and zero points with the manifest's to the last bit of float32."""
        stated = self._output.quantization if isinstance(self._output, RawMaps) else ()
        return len(stated) == len(self._maps) and all(
            (np.float32(each.scale), each.zero_point) == item["quantization"]
            for each, item in zip(stated, self._maps.values(), strict=True)
        )

    def _quantizer(self, item: dict[str, Any]) -> NDArray[np.int8] | None:
        """The int8 value of every pixel value 0..255.

        None where the tensor takes the batch as it is.
        """
        if item["dtype"] == np.dtype(self._input.dtype):
            return None
        if item["dtype"] != np.int8 or self._input.dtype != "uint8":
            self._refuse(f"the model takes {np.dtype(item['dtype'])}, the manifest says {self._input.dtype}")
        scale, zero = item["quantization"]
        values = np.rint(np.arange(256) * self._input.scale / scale) + zero
        table: NDArray[np.int8] = np.clip(values, -128, 127).astype(np.int8)
        return table

    def _refuse(self, reason: str, error: Exception | None = None) -> NoReturn:
        raise DamagedFileError(
            f"{self._path}: {reason}", hint="Copy the whole artifact again, or export the weights again."
        ) from error


def quantization_of(item: dict[str, Any]) -> Quantization | None:
    """Scale and zero point of a tensor; None of one that has none.

    `item` is what an interpreter says of the tensor.
    """
    scale, zero = item["quantization"]
    return Quantization(float(scale), int(zero)) if scale else None


def to_int8(pixels: NDArray[np.uint8], table: NDArray[np.int8]) -> NDArray[np.int8]:
    """Pixels by a table of 256 values.

    The usual one, pixel - 128, is the flip of one bit, and 200 times faster.
    """
    if np.array_equal(table, np.arange(-128, 128)):
        return np.bitwise_xor(pixels, np.uint8(128)).view(np.int8)
    return table[pixels]


def dequantize(values: NDArray[Any], item: dict[str, Any]) -> NDArray[np.float32]:
    """An output tensor in float32: (value - zero point) * scale for integer ones."""
    if values.dtype == np.float32:
        return values
    scale, zero = item["quantization"]
    return Quantization(float(scale), int(zero)).real(values)


def usable_cores() -> int:
    """The cores that this process may use, at most MAX_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)
