"""GPU memory as the session sees it.

One small protocol, with cuda-python behind it or pycuda.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    `memory` is in bytes, `driver` the newest CUDA version that its driver serves, such as "12.6".
    """

    index: int
    name: str
    compute_capability: tuple[int, int]
    memory: int
    driver: str

    @property
    def architecture(self) -> str:
        """ "sm_87" for compute capability 8.7."""
        return f"sm_{self.compute_capability[0]}{self.compute_capability[1]}"


@dataclass(frozen=True, eq=False)
class Pair:
    """Room for one tensor, twice.

    Page-locked memory of the host and memory of the GPU, of equal size.

    `host` is a uint8 array over the page-locked memory; it must not be used after `free`. `address` is the GPU's.
    `owner` belongs to the implementation.
    """

    host: NDArray[np.uint8]
    address: int
    owner: Any = None

    @property
    def nbytes(self) -> int:
        """The size of each half."""
        return self.host.nbytes


class Graph(Protocol):
    """Recorded GPU work."""

    def launch(self) -> None:
        """Put the recorded work onto the stream it was recorded from."""
        ...


class Cuda(Protocol):
    """One stream on one GPU, and the memory that is used on it.

    Every call but `current` is made inside `with cuda.current():`, by one thread at a time. Copies and whatever else
    is put onto `stream` happen later; `synchronize` waits for them. All errors are EdgeYoloErrors.
    """

    library: str  # "cuda-python 13.4.4"
    gpu: Gpu
    stream: int  # the handle that TensorRT takes

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU the calling thread's for the block."""
        ...

    def allocate(self, nbytes: int) -> Pair:
        """Memory for a tensor of `nbytes`."""
        ...

    def free(self, pair: Pair) -> None:
        """Give it back; nothing on the stream may still use it."""
        ...

    def upload(self, pair: Pair, nbytes: int) -> None:
        """Put a copy of the first `nbytes` from host to GPU onto the stream."""
        ...

    def download(self, pair: Pair, nbytes: int) -> None:
        """Put a copy of the first `nbytes` from GPU to host onto the stream."""
        ...

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        ...

    def record(self, work: Callable[[], None]) -> Graph | None:
        """Record what `work` puts onto the stream instead of doing it.

        None where the library knows no graphs.
        """
        ...

    def discard(self, graph: Graph) -> None:
        """Destroy a recorded graph."""
        ...

    def close(self) -> None:
        """Wait for the stream, give everything back, the stream last.

        Calling it again does nothing.
        """
        ...


def cuda_error(name: str, text: str, doing: str, gpu: str = "") -> EdgeYoloError:
    """A CUDA error as a sentence: which, in doing what, and what helps."""
    message = f"CUDA: {text or name} ({name}) while {doing}" + (f" on {gpu}" if gpu else "")
    if name in (
        "cudaErrorNoDevice",
        "cudaErrorInsufficientDriver",
        "cudaErrorInvalidDevice",
        "CUDA_ERROR_NO_DEVICE",
    ):
        return RuntimeMissingError(
            message, hint="`nvidia-smi` (on a Jetson `tegrastats`) shows GPU and driver."
        )
    if "emoryAllocation" in name or "OUT_OF_MEMORY" in name:
        hint = "Free GPU memory, or use a smaller batch or image size."
    elif "llegalAddress" in name or "LaunchFailure" in name:
        hint = "The GPU's state is lost: start the process again. If it happens again, please report it."
    else:
        hint = "`nvidia-smi` (on a Jetson `tegrastats`) shows the state of the GPU."
    return EdgeYoloError(message, hint=hint)
