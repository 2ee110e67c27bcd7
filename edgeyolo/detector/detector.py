"""The Detector: an image goes in, Detections come out, on any runtime."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeyolo.artifact.class_confidence import class_confidence
from edgeyolo.artifact.target import Target
from edgeyolo.artifact.trained_size import SizeWarning
from edgeyolo.backend import variables
from edgeyolo.backend.devices import Device
from edgeyolo.backend.interface import Hint
from edgeyolo.backend.registry import open_forked, open_session
from edgeyolo.detector import builtin
from edgeyolo.detector.open_model import Wanted, open_model
from edgeyolo.detector.selection.explanation import Explanation
from edgeyolo.errors import UsageError
from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.images import ImageSource, read_image
from edgeyolo.runtime.pipeline import Pipeline, StageTimes
from edgeyolo.runtime.postprocess_config import PostprocessConfig, settle
from edgeyolo.support import environment
from edgeyolo.support.names import find_alike

if TYPE_CHECKING:
    from concurrent.futures import Future

    from edgeyolo.detector.adopt import SpecSource
    from edgeyolo.stream.frame import Listener, Policy
    from edgeyolo.stream.open_source import SourceLike
    from edgeyolo.stream.overlapped import DetectionStream


class Detector:
    """A network that is loaded and ready.

        with Detector("artifact-directory", conf=0.4, classes=["person"]) as detector:
            for detection in detector("photo.jpg"):
                print(detection.name, detection.confidence, detection.box)

    An image is a path, a file's bytes, a PIL image or a numpy array (BGR); see `edgeyolo.runtime.images.read_image`.
    Boxes are in pixels of the original, upright image. A detector may be used from several threads at once.
    The stages one by one, for measuring or for raw head maps: `detector.pipeline`.

    A fork of the process (multiprocessing's "fork", gunicorn --preload) may use it too: it opens the runtime anew at
    its first call there, or says that this runtime cannot live in a fork, as those of GPUs. Pickled, for processes
    that are spawned, it is opened again from its artifact.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = builtin.NAME,
        *,
        conf: float | None = None,
        iou: float | None = None,
        classes: Iterable[int | str] | None = None,
        max_det: int | None = None,
        agnostic: bool = False,
        multi_label: bool = False,
        threads: int | None = None,
        hint: Hint | None = None,
        target: str | Target | None = None,
        device: str | int | Device | None = None,
        size: int | tuple[int, int] | None = None,
        spec: SpecSource | None = None,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Load a model.

        Args:
            model: the directory of an exported artifact, or a weights file (.safetensors, .pt), which is
                exported once into a cache; that takes `pip install 'edgeyolo[export]'`. Or a file of another tool,
                with `spec`. By default the model that comes with the package, which finds twenty kinds of everyday
                objects.
            conf: report detections of a confidence above this, 0..1; by default 0.25, or the network's own for each
                class, as the model that comes with the package has them (its MODEL_CARD.md).
            iou: of two boxes of a class that overlap by more than this, report the better one, 0..1; by default 0.45.
            classes: report these classes only, by id or by name.
            max_det: report at most this many detections per image; by default 300. An artifact that suppresses in
                its graph (export --nms graph) has conf, iou and max_det of its own; conf may be raised and max_det
                lowered.
            agnostic: let boxes suppress each other across classes.
            multi_label: report every class of a box above `conf`, not its best one only.
            threads: CPU threads of the runtime; None leaves it to the runtime.
            hint: "throughput" for many images in flight at once (`submit`, or several threads), "latency", the default,
                for each as soon as can be, "shared" for that on a processor that has other work too, as a server's:
                threads of the runtime that wait do not spin. OpenVINO and ONNX Runtime can be told; others make no
                difference.
            target: what to export weights for (default cpu-onnx-fp32); an artifact has its target already.
            device: "auto" takes the fastest runtime that is usable here, "cpu", "cuda", 0, "intel:gpu", "tpu" ... the
                fastest of that device (edgeyolo.backend.devices); `explain` says what decided. Several that
                are usable are exported and measured the first time, which `step` is told of.
            size: what to export weights at, pixels or (height, width); by default what they were trained at. Where they
                do not say, it is the paper's, and a SizeWarning says so. An artifact has its size already.
            spec: for a file of another tool (.onnx, .xml, .tflite, .mlpackage, .engine), what it takes and gives: a
                JSON file or a mapping (edgeyolo.detector.adopt); the error without one shows what to fill in.
            step: called with a few words before everything that takes a while.

        EDGEYOLO_TARGET, EDGEYOLO_DEVICE and EDGEYOLO_THREADS stand for arguments that are not given; see
        edgeyolo.support.environment.

        Raises:
            UsageError: a value out of range, an unknown class, or no model at `model`.
            DamagedFileError, UntrustedFileError: the model's files are not what they should be.
            RuntimeMissingError: the runtime of the artifact, or the export extra, is not installed.
        """
        # Thresholds first: a mistake in them should not cost the loading of a network.
        asked = {"conf": conf, "iou": iou, "max_det": max_det}
        PostprocessConfig(**{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]
        if threads is not None and threads < 1:
            raise UsageError(f"threads={threads!r}: expected a whole number from 1, or None")
        variables.warn()
        threads = threads if threads is not None else environment.threads()
        sides = (size, size) if isinstance(size, int) else size
        opened = open_model(model, Wanted(target, device, sides, threads, spec), step=step)
        self.artifact, self._explanation = opened.artifact, opened.explanation
        if opened.remark:
            warnings.warn(opened.remark, SizeWarning, stacklevel=2)
        manifest = self.artifact.manifest
        config = settle(
            manifest.output, conf=conf, iou=iou, max_det=max_det, multi_label=multi_label, agnostic=agnostic,
            class_conf=class_confidence(manifest.provenance, manifest.class_names, str(self.artifact.path)),
        )  # fmt: skip
        if classes is not None:
            config = replace(config, classes=resolve_classes(classes, manifest.class_names))
        self._how = threads, opened.device, hint
        session = open_session(self.artifact, threads=threads, device=opened.device, hint=hint)
        self._pipeline = Pipeline(session, manifest.input, manifest.output, manifest.class_names, config)
        self._closed = False

    @property
    def pipeline(self) -> Pipeline:
        """The stages one by one.

        In a fork of the process that opened the detector, the session is opened anew.
        """
        if self._pipeline.process != os.getpid() and not self._closed:
            self._left = (
                self._pipeline
            )  # closing the parent's session here would wait for threads that are not here
            threads, device, hint = self._how
            session = open_forked(self.artifact, threads=threads, device=device, hint=hint)
            self._pipeline = replace(self._pipeline, session=session, process=os.getpid())
        return self._pipeline

    @property
    def class_names(self) -> tuple[str, ...]:
        """The network's class names; a detection's `class_id` is an index into them."""
        return self._pipeline.class_names

    def explain(self) -> Explanation:
        """Explain the choice of target, device and artifact.

        Returns:
            An Explanation: printed, it is sentences, and `to_json()` gives them as data.
        """
        return self._explanation

    def __call__(self, image: ImageSource) -> Detections:
        """Detect objects in one image.

        Args:
            image: a path, a file's bytes, a PIL image, or an array: (h, w, 3) BGR, (h, w, 4) BGRA or (h, w) grey,
                uint8 or uint16. Files, bytes and PIL images are turned upright by their EXIF orientation.

        Returns:
            Its Detections, highest confidence first, boxes in pixels of the upright image. None found: empty arrays.

        Raises:
            ImageError: the image is missing, damaged or of an unusable kind; the message names it.
            UsageError: `image` is none of the above, or the detector is closed.
        """
        return self.batch([image])[0]

    def submit(self, image: ImageSource) -> Future[Detections]:
        """Start on one image and return before its detections are there.

        Many are in flight where the runtime can (`hint="throughput"`).

        Args:
            image: as for calling the detector. It is read and prepared before this returns.

        Returns:
            A future of the image's Detections; what fails in the runtime is raised by its `result()`.

        Raises:
            ImageError, UsageError: as for calling the detector; raised here, not by the future.
        """
        self._require_open()
        from concurrent.futures import Future  # only here: the import costs a Detector's start

        found: Future[Detections] = Future()
        found.set_running_or_notify_cancel()

        def finish(batch: Future[list[Detections]]) -> None:
            error = batch.exception()
            found.set_exception(error) if error else found.set_result(batch.result()[0])

        self.pipeline.submit([read_image(image)]).add_done_callback(finish)
        return found

    def stream(
        self,
        source: SourceLike,
        *,
        policy: Policy = "auto",
        max_staleness: float | None = None,
        max_fps: float | None = None,
        on_event: Listener = lambda _: None,
    ) -> DetectionStream:
        """Detect in the frames of films, cameras, streams or a generator.

        Image files are frames too, and several sources are read at once.

            for frame, detections in detector.stream("rtsp://user:password@camera/path", max_staleness=0.2):
                show(detections.plot(frame.image), frame.time)

        `async for` works too. Reading, preparation, the network and what follows overlap, in the order of the frames.

        Args:
            source: what `edgeyolo.stream.open_source` takes, or a source that it gave (with more choices: decoder,
                reconnection, frame rate of images).
            policy: "every" frame, or the "freshest" only while the network is busy; "auto": files every, cameras
                freshest.
            max_staleness: drop frames captured longer ago, in seconds.
            max_fps: detect in at most so many frames a second.
            on_event: called with every `edgeyolo.stream.Event`: connected, disconnected, silent, damaged ...

        Raises:
            SourceError, ImageError: there is no such file; a film's or camera's own is raised by the loop.
            FrameError: in the loop, where one frame fails; it has the frame.
        """
        from edgeyolo.stream.open_source import open_source
        from edgeyolo.stream.overlapped import DetectionStream

        self._require_open()
        opened = open_source(
            source, policy=policy, max_staleness=max_staleness, max_fps=max_fps, on_event=on_event
        )
        return DetectionStream(self.pipeline, opened)

    def batch(self, images: Iterable[ImageSource]) -> list[Detections]:
        """Detect objects in any number of images.

        They are run in batches as large as the artifact takes, and read when their batch begins: a thousand
        photographs need no more memory than one batch.

        Args:
            images: images, each as for calling the detector, of any sizes.

        Returns:
            One Detections per image, in their order.

        Raises:
            ImageError: one of the images cannot be read; the message names it.
            UsageError: a single image instead of several, or the detector is closed.
        """
        return self.timed(images)[0]

    def timed(self, images: Iterable[ImageSource]) -> tuple[list[Detections], StageTimes]:
        """Detect as `batch` does, and time the stages.

        Returns:
            One Detections per image, and the milliseconds of preprocessing, inference and postprocessing, all
            images together; reading the images is not included.

        Raises:
            ImageError, UsageError: as `batch` does.
        """
        self._require_open()
        single = isinstance(images, np.ndarray) and images.ndim != 4
        if single or isinstance(images, (str, bytes, os.PathLike)):
            raise UsageError(
                "batch: expected a list of images, got a single one", hint="For one image: detector(image)."
            )
        return self.pipeline.timed(read_image(image) for image in images)

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("the detector is closed", hint="Make a new Detector, or close it later.")

    def close(self) -> None:
        """Release the runtime's memory; calling it again does nothing."""
        self._closed = True
        if self._pipeline.process == os.getpid():
            self._pipeline.session.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle how to open it: the artifact's place, what it runs on, the thresholds."""
        self._require_open()
        place = str(self.artifact.path.resolve())
        return _reopened, (place, *self._how, self._pipeline.config)

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        manifest = self.artifact.manifest
        height, width = manifest.input.size
        state = "closed" if self._closed else f"{len(self.class_names)} classes"
        return f"<Detector: {manifest.model} for {manifest.target}, {width} x {height}, {state}>"


def _reopened(
    place: str, threads: int | None, device: Device | None, hint: Hint | None, config: PostprocessConfig
) -> Detector:
    """The detector that was pickled, opened in this process."""
    detector = Detector(place, threads=threads, device=device, hint=hint)
    detector._pipeline = detector._pipeline.with_config(config)
    return detector


def resolve_classes(classes: Iterable[int | str], class_names: Sequence[str]) -> tuple[int, ...]:
    """Class ids and names -> sorted ids.

    Text is a name that is written the same; else an id, if it is a number; else the only name that reads the same
    without regard to case, "_", "-" and blanks.

    Raises:
        UsageError: an id out of range, or a name that no class has, or several; the hint gives the nearest names.
    """
    if isinstance(classes, (str, int)):
        classes = [classes]
    return tuple(sorted({_class_id(item, class_names) for item in classes}))


def split_classes(texts: Iterable[str], class_names: Sequence[str]) -> list[str]:
    """Texts such as "cat,dog" -> their names and numbers; a name may hold commas."""
    found: list[str] = []
    for text in texts:
        parts = text.split(",")
        while parts:
            joined = (",".join(parts[:count]) for count in range(len(parts), 0, -1))
            name = next((word for each in joined for word in (each, each.strip()) if word in class_names), "")
            found.append(name or parts[0].strip())
            parts = parts[name.count(",") + 1 :]
    return found


def _class_id(item: int | str, class_names: Sequence[str]) -> int:
    if isinstance(item, str) and item not in class_names and item.isdecimal() and item.isascii():
        item = int(item) if len(item) < 10 else len(class_names)
    if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
        if not 0 <= item < len(class_names):
            raise UsageError(f"classes: there is no class {item}, ids go from 0 to {len(class_names) - 1}")
        return int(item)
    if not isinstance(item, str):
        raise UsageError(f"classes: expected ids or names, got {item!r}")
    alike = find_alike(item, class_names)
    if len(alike) > 1:
        words = ", ".join(repr(class_names[index]) for index in alike)
        raise UsageError(
            f"classes: {item!r} may be each of {words}", hint="Write the name as it is, or its id."
        )
    if alike:
        return alike[0]
    folded = [name.casefold() for name in class_names]
    import difflib

    near = difflib.get_close_matches(item.casefold(), folded, n=3, cutoff=0.5)
    known = [class_names[folded.index(name)] for name in near] or list(class_names[:10])
    raise UsageError(
        f"classes: no class is called {item!r}",
        hint=("Did you mean " if near else "Classes: ") + ", ".join(known) + ("?" if near else " ..."),
    )
