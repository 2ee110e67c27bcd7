"""The freshest frames of a source that itself gives every one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from edgeyolo.stream.frame import Counts, Frame
from edgeyolo.stream.mailbox import Mailbox
from edgeyolo.stream.source import Source


class Newest:
    """Newest frames of a source that is read in a thread of its own."""

    def __init__(
        self,
        source: Source,
        max_staleness: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total = source.name, source.total
        self._source, self._clock = source, clock
        self._box = Mailbox(1, "newer", max_staleness=max_staleness, clock=clock)
        self._thread: threading.Thread | None = None
        self.fresh, self.live = True, True

    @property
    def counts(self) -> Counts:
        """Frames taken and dropped up to now."""
        return Counts(
            self._source.counts.captured, (Counts(0, self._source.counts.dropped) + self._box.counts).dropped
        )

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        while (frame := self.take(0.25)) is None:
            pass
        return frame

    def take(self, timeout: float) -> Frame | None:
        """The next frame, or None after `timeout` seconds without one.

        Raises StopIteration after the last.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name=f"read {self.name}", daemon=True)
            self._thread.start()
        return self._box.take(timeout)

    def close(self) -> None:
        """End the loop; the thread ends with the source's next frame."""
        self._box.close()
        self._source.close()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._source:
                if not self._box.put(frame, self._clock()):
                    return
        except BaseException as raised:  # noqa: BLE001 - raised where frames are taken
            error = raised
        self._box.finish(error)
