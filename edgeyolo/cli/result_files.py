"""Result files of `detect` and `val`."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2

from edgeyolo.detector.detector import Detector
from edgeyolo.errors import EdgeYoloError, ImageError
from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.images import read_image
from edgeyolo.support.files import atomic_file, require_writable
from edgeyolo.support.reading import path_text


def next_run(mode: str, root: Path = Path("runs")) -> Path:
    """Make and return the next free folder.

    runs/<mode>/exp, exp2, exp3 ... Raises EdgeYoloError where none can be made.
    """
    require_writable(root / mode)
    for number in itertools.count(1):
        folder = root / mode / f"exp{number if number > 1 else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable: itertools.count does not end")


@contextmanager
def result_folder(output: Path | None, mode: str, root: Path = Path("runs")) -> Iterator[Path]:
    """The folder for results, `output` or the next free one.

    It is asked to take files before any work is done. Folders that were made for it and are still empty at the end are
    removed.
    """
    place = output or root / mode
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        require_writable(place)
        folder = output or next_run(mode, root)
        made = made if output else [folder, *made]
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    finally:
        with suppress(OSError):  # the first that holds something ends it
            for each in made:
                each.rmdir()


class ResultWriter:
    """Writer of annotated pictures, labels and one JSON file.

    Pictures are written unless `pictures` is False, the others on request. They go into `folder` (None: it writes
    nothing).
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        pictures: bool = True,
        text: bool = False,
        confidence: bool = False,
        json: bool = False,
    ) -> None:
        self._pictures = pictures
        self._folder, self._text, self._confidence, self._json = folder, text, confidence, json
        self._taken: set[str] = set()
        self._found: list[dict[str, Any]] = []
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, source: Path, detections: Detections) -> None:
        """Save what was asked for; two sources of one name get two names."""
        if self._folder is None:
            return
        name = self._name(source)
        if self._pictures:
            self._draw(name, source, detections)
        if self._text:
            with atomic_file(self._folder / "labels" / f"{name}.txt") as draft:
                draft.write_text("".join(label_lines(detections, confidence=self._confidence)))
        self._found.append(json_entry(source, detections))

    def pass_over(self, source: Path, error: ImageError) -> None:
        """Note an image that could not be read."""
        self._found.append(json_entry(source, error))

    def _draw(self, name: str, source: Path, detections: Detections) -> None:
        assert self._folder is not None
        # Formats that OpenCV cannot write (gif, heic ...) become PNG.
        suffix = (
            source.suffix.lower()
            if source.suffix.lower() in {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
            else ".png"
        )
        done, encoded = cv2.imencode(suffix, detections.plot(read_image(source)))
        if not done:
            raise EdgeYoloError(f"{source}: OpenCV could not encode the annotated picture as {suffix}")
        with atomic_file(self._folder / f"{name}{suffix}") as draft:
            draft.write_bytes(encoded.tobytes())

    def _name(self, source: Path) -> str:
        candidates = itertools.chain([source.stem], (f"{source.stem}-{n}" for n in itertools.count(2)))
        name = next(name for name in candidates if name not in self._taken)
        self._taken.add(name)
        return name

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Also after Ctrl-C: what was found so far is not lost.
        if self._folder and self._json:
            with atomic_file(self._folder / "detections.json") as draft:
                draft.write_text(json.dumps(self._found, indent=2, ensure_ascii=False), encoding="utf-8")


IN_FLIGHT = 16
"""Images that may be on their way at once; fewer where the runtime takes fewer."""


def detect_all(
    detector: Detector, images: list[Path], writer: ResultWriter, progress: Callable[[int, int | None], None]
) -> list[tuple[Path, Detections | ImageError]]:
    """Detect in every image and write what `writer` writes.

    Results are in the order of the images; those of images that cannot be read are their errors.
    """
    found: list[tuple[Path, Detections | ImageError]] = []
    flying: deque[tuple[Path, Future[Detections] | ImageError]] = deque()

    def is_there(each: Future[Detections] | ImageError) -> bool:
        return isinstance(each, ImageError) or each.done()

    def land(least: int) -> None:
        """Write finished results, in the order of the images.

        It goes on until no more than `least` are on their way.
        """
        while flying and (len(flying) > least or is_there(flying[0][1])):
            path, waited = flying.popleft()
            result = waited if isinstance(waited, ImageError) else waited.result()
            if isinstance(result, ImageError):
                writer.pass_over(path, result)
            else:
                writer.write(path, result)
            found.append((path, result))
            progress(len(found), len(images))

    for path in images:
        try:
            flying.append((path, detector.submit(path)))
        except ImageError as error:
            flying.append((path, error))
        land(IN_FLIGHT)
    land(0)
    return found


def json_entry(path: Path, result: Detections | ImageError) -> dict[str, Any]:
    """One image in JSON; that of one which cannot be read says why."""
    if isinstance(result, ImageError):
        return {"image": path_text(path), "detections": [], "error": result.message}
    return {"image": path_text(path), "detections": result.to_json()}


def label_lines(detections: Detections, *, confidence: bool = False) -> list[str]:
    """YOLO's lines `class x y width height`, centres first.

    Coordinates are relative to the image. They are labels that data sets read; with `confidence` it is added, which
    labels have none of.
    """
    height, width = detections.image_size
    lines = []
    for item in detections:
        x1, y1, x2, y2 = item.box
        values = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        values += [item.confidence] if confidence else []
        lines.append(f"{item.class_id} {' '.join(f'{value:.6f}' for value in values)}\n")
    return lines
