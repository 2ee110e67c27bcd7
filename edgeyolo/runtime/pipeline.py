"""Pixels -> Detections on any session, in three stages.

Each stage can also be called, and timed, by itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.backend.interface import AsynchronousSession, IntegerSession, Session
from edgeyolo.errors import UsageError
from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.input_array import InputArray
from edgeyolo.runtime.planes import PlanarImage
from edgeyolo.runtime.postprocess import DISPLAY, PostprocessConfig, postprocess
from edgeyolo.runtime.preprocess import Letterbox, Preprocessor

if TYPE_CHECKING:
    from concurrent.futures import Future

Pixels = NDArray[np.uint8]

_CHUNK_BYTES = 64 << 20  # two photographs of 12 megapixels, or 54 images of 640 x 640


@dataclass(frozen=True)
class StageTimes:
    """Wall-clock milliseconds of each stage, all images of a call together.

    Reading files is not included.
    """

    preprocess: float = 0.0
    inference: float = 0.0
    postprocess: float = 0.0

    @property
    def total(self) -> float:
        """Milliseconds from pixels to detections."""
        return self.preprocess + self.inference + self.postprocess

    def __add__(self, other: StageTimes) -> StageTimes:
        return StageTimes(
            self.preprocess + other.preprocess,
            self.inference + other.inference,
            self.postprocess + other.postprocess,
        )


@dataclass(frozen=True)
class Pipeline:
    """A session with what comes before and after it.

    It may be used from several threads at once.

    Attributes:
        session: maps an input array to raw head maps, or to detections.
        input: the array it takes.
        output: what it gives means.
        class_names: one name per class.
        config: which boxes become detections.
        process: the id of the process that opened the session. Threads of a runtime do not survive a fork.
    """

    session: Session
    input: InputContract
    output: OutputContract
    class_names: tuple[str, ...]
    config: PostprocessConfig = DISPLAY
    process: int = field(default_factory=os.getpid, repr=False, compare=False)
    _preprocessor: Preprocessor = field(init=False, repr=False, compare=False)
    _integers: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_preprocessor", Preprocessor(self.input))
        # Once: asking an object for a protocol takes as long as reading a few detections.
        object.__setattr__(self, "_integers", isinstance(self.session, IntegerSession))

    def with_config(self, config: PostprocessConfig) -> Pipeline:
        """The same session with other thresholds."""
        return replace(self, config=config)

    def preprocess(
        self,
        images: Sequence[Pixels | PlanarImage],
        *,
        size: tuple[int, int] | None = None,
        enlarge: bool = True,
        out: NDArray[Any] | InputArray | None = None,
    ) -> tuple[NDArray[Any], list[Letterbox]]:
        """Images (h, w, 3) uint8 BGR -> the input array, and where each image lies in it.

        A network of fixed batch gets a full batch, padded with empty images. The array is `out`, a part of it where it
        is an `InputArray`, or memory of this thread, valid until its next call: whoever changes it takes a copy.
        `size`, `enlarge`: see `edgeyolo.runtime.preprocess.Preprocessor`.
        """
        rows = None if self.input.dynamic_batch else self.input.batch
        return self._preprocessor(images, size=size, rows=rows, enlarge=enlarge, out=out)

    def input_array(self) -> InputArray:
        """Memory for `out` of `preprocess`: batches that are in use at once need one each."""
        return self._preprocessor.input_array()

    def infer(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """The input array -> the arrays of the output contract, by name.

        UsageError in a fork of the session's process.
        """
        self._require_process()
        return self.session.run(batch)

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The input array -> the outputs as `postprocess` takes them, by name.

        Those of `infer`, but raw maps of a quantized file stay integers where the session can leave them so: turning
        the few values that matter into float32 is quicker.
        """
        self._require_process()
        session = self.session
        return session.run_integers(batch) if self._integers else session.run(batch)  # type: ignore[attr-defined]

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], letterboxes: Sequence[Letterbox]
    ) -> list[Detections]:
        """Outputs of `run` or `infer` -> one Detections per letterbox.

        Boxes are in pixels of the original images.
        """
        found = postprocess(outputs, self.output, letterboxes, self.config)
        return [
            Detections(boxes.xyxy, boxes.confidence, boxes.class_id, self.class_names, letterbox.image_size)
            for boxes, letterbox in zip(found, letterboxes, strict=True)
        ]

    def __call__(self, images: Iterable[Pixels]) -> list[Detections]:
        """Detections of any number of images (h, w, 3) uint8 BGR, in their order."""
        return self.timed(images)[0]

    def submit(self, images: Sequence[Pixels]) -> Future[list[Detections]]:
        """Start on images, one batch at most, and return.

        The future gives what calling the pipeline gives.

        Sessions that work on several batches at once (`AsynchronousSession`) do so while the caller reads on; with
        others the future is ready when it is returned. What fails is raised by the future.
        """
        self._require_process()
        batch, letterboxes = self.preprocess(images)
        from concurrent.futures import Future  # only here: the import costs a Detector's start

        done: Future[list[Detections]] = Future()
        done.set_running_or_notify_cancel()

        def finish(outputs: Future[dict[str, NDArray[np.float32]]]) -> None:
            try:
                done.set_result(self.postprocess(outputs.result(), letterboxes))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's to see
                done.set_exception(error)

        if isinstance(self.session, AsynchronousSession):
            self.session.submit(batch).add_done_callback(finish)
        else:
            finish(_at_once(self.run, batch))
        return done

    def timed(self, images: Iterable[Pixels]) -> tuple[list[Detections], StageTimes]:
        """Call the pipeline and time its stages. One batch of images is held at a time."""
        found: list[Detections] = []
        times = StageTimes()
        for chunk in self._chunks(images):
            start = perf_counter()
            batch, letterboxes = self.preprocess(chunk)
            prepared = perf_counter()
            maps = self.run(batch)
            inferred = perf_counter()
            found += self.postprocess(maps, letterboxes)
            done = perf_counter()
            times += StageTimes(
                (prepared - start) * 1e3, (inferred - prepared) * 1e3, (done - inferred) * 1e3
            )
        return found, times

    def _require_process(self) -> None:
        if self.process != os.getpid():
            raise UsageError(
                f"the session was opened in process {self.process} and is used in {os.getpid()}, a fork of it",
                hint="Open a Detector in each process; a forked one's `pipeline` opens its session anew.",
            )

    def _chunks(self, images: Iterable[Pixels]) -> Iterator[list[Pixels]]:
        """Batches as large as the network takes, or as memory should hold.

        Where it takes any batch, large images go on their way sooner.
        """
        free = self.input.dynamic_batch
        size, most = (self.input.max_batch, _CHUNK_BYTES) if free else (self.input.batch, math.inf)
        chunk: list[Pixels] = []
        held = 0
        for image in images:
            chunk.append(image)
            held += image.nbytes
            if len(chunk) == size or held >= most:
                yield chunk
                chunk, held = [], 0
        if chunk:
            yield chunk


def _at_once(
    run: Callable[[NDArray[Any]], dict[str, NDArray[Any]]], batch: NDArray[Any]
) -> Future[dict[str, NDArray[Any]]]:
    """A network's result, or its failure, as a future that is ready."""
    from concurrent.futures import Future

    ready: Future[dict[str, NDArray[Any]]] = Future()
    try:
        ready.set_result(run(batch))
    except Exception as error:  # noqa: BLE001 - the future raises it
        ready.set_exception(error)
    return ready
