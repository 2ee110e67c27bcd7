"""The overlapped pipeline: reading, preparation, network and decoding at once.

While one frame is in the network, the next is read and prepared and the last one finished.

Three kinds of threads: the source's own that decodes, one that prepares, and those that run the network and read its
output. The runtimes, OpenCV and FFmpeg release the interpreter's lock, so that they work at the same time.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence

from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.stream.frame import Counts
from edgeyolo.stream.in_order import InOrder
from edgeyolo.stream.progress import Progress, Stopwatch
from edgeyolo.stream.source import Source
from edgeyolo.stream.stages import Feeder, Gate, Result, Workers, batch_size

_CLOSING_S, _ENDING_S = 0.5, 10.0


class DetectionStream:
    """Pairs (frame, detections) of a source, in the order of its frames.

    For `for` and for `async for`.

    Frames are read ahead of a source that gives every one. Of a source that gives the freshest, a frame is asked for
    only when the network is about to be free, so that none grows old in a queue; and none is taken while two results
    wait for the caller.

    An error of the source, or of a frame (FrameError, which has the frame), is raised once, after the results before
    it. Leaving a `for` loop early leaves the threads waiting: `close`, or `with`, ends them.
    """

    def __init__(self, pipeline: Pipeline, source: Source) -> None:
        self.source = source
        self._pipeline = pipeline
        self._results: InOrder[Result] = InOrder()
        self._watch = Stopwatch(source)
        self._rows = batch_size(pipeline, source)
        self._gate = Gate(source, self._rows)
        self._workers = Workers(pipeline, self._results, self._gate)
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    @property
    def counts(self) -> Counts:
        """Frames of the source, captured and dropped up to now."""
        return self.source.counts

    @property
    def progress(self) -> Progress:
        """Frames, their rate and latency up to now."""
        return self._watch.progress()

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        """The next frame with what is in it; waits for it."""
        self._start()
        while (result := self._take(0.25)) is None:  # Ctrl-C is seen between waits on every system
            pass
        return result

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        """The next frame with what is in it; the event loop goes on meanwhile.

        Cancelling it loses no frame.
        """
        import asyncio

        self._start()
        loop = asyncio.get_running_loop()
        while True:
            changed = asyncio.Event()

            def wake(changed: asyncio.Event = changed) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(changed.set)

            self._results.call_when_changed(wake)
            await changed.wait()
            try:
                result = self._take(0)
            except StopIteration:
                raise StopAsyncIteration from None
            if result is not None:
                return result

    def close(self) -> None:
        """End every thread and close the source; the detector stays open.

        A network that takes longer than that is not waited for here, but at the end of the process.
        """
        self._stopped.set()
        self._results.close()
        self._gate.close()
        self._workers.stop()
        self.source.close()
        if not _still_running(self._threads, _CLOSING_S):
            atexit.unregister(self._end_with_process)

    def __enter__(self) -> DetectionStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, timeout: float) -> Result | None:
        try:
            result = self._results.take(timeout)
        except BaseException:  # the end, one way or the other: nothing is left running
            self.close()
            raise
        if result is not None:
            self._gate.delivered()
            self._watch.delivered(result[0])
        return result

    def _start(self) -> None:
        if not self._threads and not self._stopped.is_set():
            self._watch.start()
            feeder = Feeder(self._pipeline, self.source, self._rows, self._workers, self._results, self._gate)
            feeding = threading.Thread(target=feeder.run, name="prepare frames", daemon=True)
            self._threads = [*self._workers.threads(), feeding]
            atexit.register(self._end_with_process)
            for thread in self._threads:
                thread.start()

    def _end_with_process(self) -> None:
        # A thread that comes back from a runtime's C++ to an interpreter that is gone aborts the process. The last one
        # prepares, and may be inside a caller's generator, which nobody waits for.
        self.close()
        _still_running(self._threads[:-1], _ENDING_S)


def _still_running(threads: Sequence[threading.Thread], seconds: float) -> bool:
    """True if one of them, but this one, still runs after waiting so long for all."""
    end = time.monotonic() + seconds
    others = [thread for thread in threads if thread is not threading.current_thread()]
    for thread in others:
        if thread.is_alive():  # it may not have begun
            thread.join(max(end - time.monotonic(), 0))
    return any(thread.is_alive() for thread in others)
