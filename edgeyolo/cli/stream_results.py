"""Results of `detect` and `track` in films: files, JSON, a window, progress."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from edgeyolo.cli import interrupt
from edgeyolo.cli.console import begin_document, note
from edgeyolo.support.files import atomic_file
from edgeyolo.support.reading import readable

if TYPE_CHECKING:
    from edgeyolo.runtime.detections import Detections
    from edgeyolo.stream.film_writer import FilmWriter
    from edgeyolo.stream.frame import Event, Frame, Pixels
    from edgeyolo.stream.overlapped import DetectionStream
    from edgeyolo.stream.progress import Progress


class JsonArray:
    """A JSON array that is written entry by entry.

    It is whole also where the loop that fills it is interrupted. `document` says that the array is the one that
    --json prints: in ASCII, and not begun where an error comes before the first entry.
    """

    def __init__(self, file: IO[str], *, document: bool = False) -> None:
        self._file, self._document, self._empty = file, document, True

    def add(self, entry: object) -> None:
        """Write another entry."""
        if self._document:
            begin_document()
        text = json.dumps(entry, indent=2, ensure_ascii=self._document).replace("\n", "\n  ")
        self._file.write(("[\n  " if self._empty else ",\n  ") + text)
        self._file.flush()
        self._empty = False

    def __enter__(self) -> JsonArray:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._document and self._empty:
            if kind is not None:
                return
            begin_document()
        self._file.write("[]\n" if self._empty else "\n]\n")
        self._file.flush()


@contextmanager
def kept_file(path: Path, kept_paths: list[Path] | None = None) -> Iterator[IO[str]]:
    """A text file to write that appears at the end of the block, whatever ends it.

    Once it is there, its path is added to `kept_paths`.
    """
    with ExitStack() as file:
        draft = file.enter_context(atomic_file(path))
        handle = draft.open("w", encoding="utf-8")
        kept = file.pop_all()  # an error of the block shall not undo the file
    try:
        yield handle
    finally:
        with kept:  # which says where a full disk ended it
            handle.close()
        if kept_paths is not None:
            kept_paths.append(path)


@contextmanager
def json_file(path: Path) -> Iterator[JsonArray]:
    """A JsonArray in a file that appears at the end of the block, whatever ends it."""
    with kept_file(path) as handle, JsonArray(handle) as array:
        yield array


def entry_of(frame: Frame, detections: Detections) -> dict[str, Any]:
    """A frame as `--json` prints it."""
    return {
        "image": readable(frame.source),
        "frame": frame.index,
        "time": round(frame.time, 6),
        "detections": detections.to_json(),
    }


class AnnotatedFilms:
    """One annotated film for each source of frames.

    They are named after their sources, in a folder, or the only one lies at a path.
    """

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self._folder, self._file = folder, file
        self._films: dict[str, FilmWriter] = {}

    def write(self, source: str, image: Pixels, time: float) -> None:
        """Add a picture to the film of `source`."""
        if source not in self._films:
            from edgeyolo.stream.film_writer import FilmWriter

            self._films[source] = FilmWriter(self._path(source))
        self._films[source].write(image, time)

    @property
    def paths(self) -> list[Path]:
        """Paths of the films, finished or not."""
        return [film.path for film in self._films.values()]

    def __enter__(self) -> AnnotatedFilms:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as all_of_them:
            for film in self._films.values():
                all_of_them.callback(film.close)

    def _path(self, source: str) -> Path:
        if self._file is not None and not self._films:
            return self._file
        stem = source.rpartition("://")[2] if "://" in source else Path(source).stem
        stem = re.sub(r"[^\w.-]+", "_", stem).strip("_") or "film"
        taken = {film.path for film in self._films.values()}
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        return next(path for name in names if (path := self._folder / f"{name}.mp4") not in taken)


class Tally:
    """Frames and objects of each source."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()
        self.objects: dict[str, Counter[str]] = {}

    def add(self, frame: Frame, names: list[str]) -> None:
        """Count a frame and what is in it."""
        self.frames[frame.source] += 1
        self.objects.setdefault(frame.source, Counter()).update(names)


def tell(event: Event) -> None:
    """Say what happened to a source.

    That a camera is connected goes without saying.
    """
    if event.kind != "connected":
        note(f"{event.source}: {event.kind}" + (f", {event.detail}" if event.detail else ""))


@contextmanager
def following(stream: DetectionStream, description: str) -> Iterator[Callable[[], None]]:
    """Show the progress of a stream on standard error.

    Call what it yields after every frame.

    SIGTERM ends the block as Ctrl-C does, and the stream is closed either way.
    """
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(), bars.TextColumn("{task.fields[says]}"),
    )  # fmt: skip
    with interrupt.on_sigterm_too(), stream:
        shown = bars.Progress(*columns, console=console, transient=True) if console.is_terminal else None
        with shown or nullcontext():
            task = shown.add_task(description, total=None, says="") if shown else None

            def advance() -> None:
                interrupt.check()
                if shown is not None and task is not None:
                    progress = stream.progress
                    shown.update(task, completed=progress.frames, total=progress.total, says=_pace(progress))

            yield advance


def _pace(progress: Progress) -> str:
    parts = [f"{progress.fps:.1f} frames/s"]
    if (latency := progress.latency()) is not None:
        parts.append(f"latency {latency * 1e3:.0f} ms")
    if progress.counts.lost:
        parts.append(f"{progress.counts.lost} dropped")
    return ", ".join(parts)


class Screen:
    """The window of `--show`; without it, nothing."""

    def __init__(self, shown: bool, title: str) -> None:
        self._window = None
        if shown:
            from edgeyolo.stream.window import Window

            self._window = Window(title)

    def show(self, image: Callable[[], Pixels]) -> bool:
        """Show a picture; False once the person at the screen has had enough."""
        return self._window is None or self._window.show(image())

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._window is not None:
            self._window.close()
