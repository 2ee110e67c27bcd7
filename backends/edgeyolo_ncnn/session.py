"""A loaded ncnn network."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo.support.machine import cores


class NcnnSession:
    """Runs a network on the CPU, one image at a time; threads wait for each other.

    `half` computes in float16 where the processor does (ARMv8.2), and in float32 elsewhere.
    """

    def __init__(
        self,
        files: tuple[Path, Path],
        input: InputContract,
        output: OutputContract,
        *,
        half: bool,
        threads: int | None,
    ) -> None:
        self._path, self._input, self._output, self._lock = files[0], input, output, Lock()
        self._net: Any = load(files, half=half, threads=threads)
        self._require_names()

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map an input array of the contract to its outputs by name."""
        import ncnn

        self._input.check(batch)
        with self._lock:
            if self._net is None:
                raise EdgeYoloError(f"{self._path}: the session is closed")
            with self._net.create_extractor() as extractor:
                image = np.ascontiguousarray(batch[0])  # a Mat points into it, and does not keep it
                extractor.input(self._input.name, ncnn.Mat(image).clone())
                return {name: self._extract(extractor, name) for name in self._output.names}

    def close(self) -> None:
        """Release the network's memory."""
        with self._lock:
            self._net = None

    def _extract(self, extractor: Any, name: str) -> NDArray[np.float32]:
        code, found = extractor.extract(name)
        if code:
            raise EdgeYoloError(
                f"{self._path}: ncnn cannot compute {name} (code {code}); is there memory enough?"
            )
        return np.array(found, np.float32)[None]

    def _require_names(self) -> None:
        takes, gives = list(self._net.input_names()), set(self._net.output_names())
        if takes != [self._input.name]:
            raise DamagedFileError(
                f"{self._path}: the network takes {takes}, the manifest says {self._input.name!r}"
            )
        if missing := set(self._output.names) - gives:
            raise DamagedFileError(
                f"{self._path}: the network gives {sorted(gives)}, the manifest expects also {sorted(missing)}"
            )


def load(files: tuple[Path, Path], *, half: bool, threads: int | None) -> Any:
    """ncnn's network from the list of layers and the weights.

    DamagedFileError where they do not load.
    """
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_bf16_storage = net.opt.use_bf16_packed = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    net.opt.num_threads = threads or _own_threads()
    for read, file in ((net.load_param, files[0]), (net.load_model, files[1])):
        if code := read(str(file)):
            raise DamagedFileError(f"{file}: ncnn {ncnn.__version__} cannot load it (code {code})")
    return net


def _own_threads() -> int:
    """Number of threads that OpenMP is told to use, by default of cores.

    ncnn computes with OpenMP.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else cores() or 1
