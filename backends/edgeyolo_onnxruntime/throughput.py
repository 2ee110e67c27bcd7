"""A session for many images in flight, with a thread for each.

Several threads on one image wait for each other at every layer; one thread on each of several images never waits. On
processors of more than MOST cores the others help wherever a layer can be split.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.support.machine import cores
from edgeyolo.support.memory import available_memory
from edgeyolo_onnxruntime.session import OnnxruntimeSession

MOST = 8
"""Batches at once."""
BYTES = 1000
"""Memory of a batch's activations for each of its pixels. yolov7-tiny takes 110 to 170, the built-in network 190; wide
networks were not measured and are given room."""


class ThroughputSession(OnnxruntimeSession):
    """Runs a network on the CPU, several batches at once, by `threads` together.

    None stands for as many as there are cores.
    """

    def __init__(self, path: Path, input: InputContract, output: OutputContract, threads: int | None) -> None:
        total = threads or cores() or 1
        count = batches_at_once(total, input)
        super().__init__(path, input, output, 1 + total - count, spin=False)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="onnxruntime")
        self._free = Semaphore(count + 1)  # the next batch waits where it is taken at once

    def submit(self, batch: NDArray[Any]) -> Future[dict[str, NDArray[np.float32]]]:
        """Start a run and return at once; the future gives what `run` gives.

        The batch is copied, so its buffer may be refilled. Blocks while all threads are taken and a batch waits.
        """
        self._input.check(batch)
        self._free.acquire()
        try:
            future = self._pool.submit(self.run, np.array(batch))
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Release the runtime's memory; what runs comes to its end."""
        self._pool.shutdown(wait=False)  # a future's callback may be the one that closes
        super().close()


def batches_at_once(threads: int, given: InputContract) -> int:
    """As many as there are threads, where memory holds them.

    At most MOST, in half of what is free.
    """
    free = available_memory()
    if free is None:
        return min(threads, MOST)
    each = BYTES * given.batch * given.height * given.width
    return max(1, min(threads, MOST, free // 2 // each))
