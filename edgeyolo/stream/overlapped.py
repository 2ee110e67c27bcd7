"""The overlapped pipeline: reading, preparation, network and decoding at once.

While one frame is in the network, the next is read and prepared and the last one finished.

Three kinds of threads: the source's own that decodes, one that prepares, and those that run the network and read its
output. The runtimes, OpenCV and FFmpeg release the interpreter's lock, so that they work at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.stream.frame import Counts
from edgeyolo.stream.in_order import InOrder
from edgeyolo.stream.progress import Progress, Stopwatch
from edgeyolo.stream.source import Source
from edgeyolo.stream.stages import Feeder, Gate, Result, Workers, batch_size


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
        self._feeder: threading.Thread | None = None
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
        """End every thread and close the source; the detector stays open."""
        self._stopped.set()
        self._results.close()
        self._gate.close()
        self._workers.stop()
        self.source.close()
        if self._feeder is not None:
            self._feeder.join(0.3)

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
        if self._feeder is None and not self._stopped.is_set():
            self._watch.start()
            self._workers.start()
            feeder = Feeder(self._pipeline, self.source, self._rows, self._workers, self._results, self._gate)
            self._feeder = threading.Thread(target=feeder.run, name="prepare frames", daemon=True)
            self._feeder.start()
