"""`edgeyolo detect` in films and cameras."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.cli import interrupt
from edgeyolo.cli.console import count_text, note, print_table
from edgeyolo.cli.result_files import label_lines, next_run
from edgeyolo.cli.stream_results import (
    AnnotatedFilms,
    JsonArray,
    Screen,
    Tally,
    entry_of,
    following,
    json_file,
    tell,
)
from edgeyolo.errors import EdgeYoloError, ImageError, RuntimeMissingError, SourceError
from edgeyolo.stream.open_source import films_in, is_camera, is_film, open_source
from edgeyolo.support.files import atomic_file, require_writable

if TYPE_CHECKING:
    from edgeyolo.detector.detector import Detector
    from edgeyolo.runtime.detections import Detections
    from edgeyolo.stream.frame import Frame, Policy
    from edgeyolo.stream.overlapped import DetectionStream


@dataclass(frozen=True)
class Asked:
    """Choice of frames, and whether they are shown."""

    policy: Policy = "auto"
    max_fps: float | None = None
    max_staleness: float | None = None
    show: bool = False


@dataclass(frozen=True)
class Written:
    """Choice of files; `save` is None where nothing was said of it."""

    output: Path | None = None
    save: bool | None = None
    text: bool = False
    confidence: bool = False
    json: bool = False
    as_json: bool = False

    def folder(self, *, camera: bool = False) -> Path | None:
        """The folder that files go to; None where none are written.

        One that is named for the user is made.
        """
        if not self._wanted(camera):
            return None
        if self.film is not None:
            return self.film.parent
        return self.output or next_run("detect")

    def require_writable(self, *, camera: bool = False) -> None:
        """Raise EdgeYoloError where that folder takes no files, before the work is done."""
        if self._wanted(camera):
            film = self.film
            require_writable(film.parent if film is not None else self.output or Path("runs", "detect"))

    def pictures(self, *, camera: bool = False) -> bool:
        """Tell whether annotated pictures or films are written."""
        given = self.save is not None or self.output is not None
        return self.save is not False and (given or not (self.as_json or camera))

    def _wanted(self, camera: bool) -> bool:
        return self.text or self.json or self.pictures(camera=camera)

    @property
    def film(self) -> Path | None:
        """The film that `-o film.mp4` asks for."""
        return self.output if self.output is not None and self.output.suffix.lower() == ".mp4" else None


def is_film_or_camera(name: str) -> bool:
    """Tell by a name whether it is that of a film or camera, there or not."""
    return is_film(name) or is_camera(name)


def is_moving(source: str) -> bool:
    """Tell whether a source is or holds a film or camera."""
    return is_film_or_camera(source) or bool(films_in(source))


def detect_in_films(detector: Detector, sources: Sequence[str], written: Written, asked: Asked) -> None:
    """Detect in every frame, and write and print what was asked for.

    One film is read after the other, cameras at once.

    A film that cannot be read is passed over; the errors are raised together at the end.
    """
    tally = Tally()
    failed: list[EdgeYoloError] = []
    folder = written.folder(camera=any(is_camera(source) for source in sources))
    said: list[str] = []
    with ExitStack() as outputs:
        outputs.callback(lambda: _conclude(tally, said, folder, written))
        camera = any(is_camera(source) for source in sources)
        sink = _Outputs(outputs, folder, written, asked, tally, films=written.pictures(camera=camera))
        for group in _groups(sources):
            try:
                _detect_in(detector, group, sink, asked, said)
            except (SourceError, ImageError) as error:
                failed.append(error)
            if sink.enough:
                break
        if failed:  # inside, as a JSON document that holds nothing gives way to the error's
            raise type(failed[0])("\n".join(error.message for error in failed), hint=failed[0].hint)


def _groups(sources: Sequence[str]) -> list[list[str]]:
    """Group the sources that are read at once.

    Cameras are all read at once, of files one film or all images of a folder.
    """
    if any(is_camera(source) for source in sources):
        return [list(sources)]
    groups: list[list[str]] = []
    for source in sources:
        films = [str(path) for path in films_in(source)]
        groups += [[film] for film in films]
        if not is_film(source) and films != [source]:
            groups.append([source])
    return groups


def _detect_in(detector: Detector, group: list[str], sink: _Outputs, asked: Asked, said: list[str]) -> None:
    from edgeyolo.runtime.images import list_images

    if not is_moving(group[0]) or (not is_film_or_camera(group[0]) and not Path(group[0]).is_file()):
        try:
            group = [str(path) for path in list_images(group[0])]
        except ImageError:
            if films_in(group[0]):
                return  # a folder of films only
            raise
    source = open_source(
        group[0] if len(group) == 1 else group,
        policy=asked.policy,
        max_fps=asked.max_fps,
        max_staleness=asked.max_staleness,
        on_event=tell,
    )
    stream = detector.stream(source)
    try:
        with following(stream, "detecting") as advance:
            for frame, found in stream:
                with interrupt.held():
                    sink.take(frame, found)
                advance()
                if sink.enough:
                    break
    finally:
        if stream.progress.frames:
            said.append(sentence(source.name, stream))


class _Outputs:
    """Everything that is done with a frame."""

    def __init__(
        self,
        closing: ExitStack,
        folder: Path | None,
        written: Written,
        asked: Asked,
        tally: Tally,
        *,
        films: bool,
    ) -> None:
        self._folder, self._written, self._tally = folder, written, tally
        self._films = (
            closing.enter_context(AnnotatedFilms(folder, written.film)) if folder and films else None
        )
        self._may_do_without = written.save is None and written.output is None
        self._arrays: list[JsonArray] = []
        if written.as_json:
            self._arrays.append(closing.enter_context(JsonArray(sys.stdout, document=True)))
        if written.json and folder:
            self._arrays.append(closing.enter_context(json_file(folder / "detections.json")))
        self._screen = closing.enter_context(Screen(asked.show, "edgeyolo detect"))
        self.enough = False

    def take(self, frame: Frame, found: Detections) -> None:
        """Count, write, print and show a frame."""
        self._tally.add(frame, found.names)
        for array in self._arrays:
            array.add(entry_of(frame, found))
        if self._folder and self._written.text:
            with atomic_file(
                self._folder / "labels" / f"{Path(frame.source).stem}_{frame.index}.txt"
            ) as draft:
                draft.write_text("".join(label_lines(found, confidence=self._written.confidence)))
        if self._films is not None:
            try:
                self._films.write(frame.source, found.plot(frame.image), frame.time)
            except RuntimeMissingError as error:
                if not self._may_do_without:
                    raise
                note(f"no annotated film is written: {error.message}; {error.hint}")
                self._films = None
        if not self._screen.show(lambda: found.plot(frame.image)):
            self.enough = True


def sentence(name: str, stream: DetectionStream) -> str:
    """Frames, pace, latency and dropped frames of a stream that has ended."""
    progress = stream.progress
    text = f"{name}: {progress.frames} frames in {progress.seconds:.1f} s, {progress.fps:.1f} a second"
    if (latency := progress.latency()) is not None:
        text += f", latency {latency * 1e3:.0f} ms ({(progress.latency(0.99) or 0) * 1e3:.0f} ms at most for 99 %)"
    if progress.counts.lost:
        text += ", dropped " + ", ".join(f"{n} {why}" for why, n in sorted(progress.counts.dropped.items()))
    return text


def _conclude(tally: Tally, said: list[str], folder: Path | None, written: Written) -> None:
    """Say what happened, also after Ctrl-C."""
    if not written.as_json and tally.frames:
        rows = [
            (source, frames, count_text(tally.objects[source])) for source, frames in tally.frames.items()
        ]
        print_table(("source", "frames", "objects"), rows)
    for sentence in said:
        note(sentence)
    if folder and tally.frames and not written.as_json:
        note(f"written to {written.film or folder}")
