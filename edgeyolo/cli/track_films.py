"""`edgeyolo track` in films and cameras."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.cli import interrupt
from edgeyolo.cli.console import count_text, note
from edgeyolo.cli.detect_films import Asked, sentence
from edgeyolo.cli.result_files import next_run
from edgeyolo.cli.stream_results import AnnotatedFilms, JsonArray, Screen, following, kept_file, tell
from edgeyolo.errors import UsageError
from edgeyolo.stream.open_source import open_source
from edgeyolo.stream.several import Several
from edgeyolo.support.files import require_writable
from edgeyolo.support.reading import readable
from edgeyolo.tracking.draw import draw_tracks
from edgeyolo.tracking.lines import LineCounter
from edgeyolo.tracking.tracker import Tracker
from edgeyolo.tracking.tracks import Tracks
from edgeyolo.tracking.zones import Zone

if TYPE_CHECKING:
    from edgeyolo.detector.detector import Detector
    from edgeyolo.stream.frame import Frame

COLUMNS = ("source", "frame", "time", "track_id", "class_id", "name", "confidence", "x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class TrackFiles:
    """Choice of files that tracks are written to."""

    mot: Path | None = None
    csv: Path | None = None
    jsonl: Path | None = None
    save: bool = False
    output: Path | None = None
    as_json: bool = False

    def require_writable(self) -> None:
        """Raise EdgeYoloError where a file cannot be written, before the work is done."""
        folders = [path.parent for path in (self.mot, self.csv, self.jsonl) if path is not None]
        if self.output is not None:
            folders.append(self.film.parent if self.film is not None else self.output)
        elif self.save:
            folders.append(Path("runs", "track"))
        for folder in dict.fromkeys(folders):
            require_writable(folder)

    @property
    def film(self) -> Path | None:
        """The film that `-o film.mp4` asks for."""
        return self.output if self.output is not None and self.output.suffix.lower() == ".mp4" else None


def track_in(
    detector: Detector,
    what: str,
    tracker: Tracker,
    files: TrackFiles,
    asked: Asked,
    lines: list[LineCounter],
    zones: list[Zone],
) -> None:
    """Track through one film, camera or folder of frames.

    It writes and prints what was asked for.
    """
    source = open_source(
        what,
        policy=asked.policy,
        max_fps=asked.max_fps,
        max_staleness=asked.max_staleness,
        on_event=tell,
    )
    if isinstance(source, Several):
        raise UsageError(
            f"track follows one film, camera or folder of frames, got {len(source.sources)}: {source.name}",
            hint="Give one film; for several cameras, run the command once for each.",
        )
    stream = detector.stream(source)
    with ExitStack() as outputs:
        following_tracks = _Following(outputs, source.name, tracker, files, asked, lines, zones)
        outputs.callback(lambda: following_tracks.conclude(sentence(source.name, stream)))
        with following(stream, "tracking") as advance:
            for frame, found in stream:
                with interrupt.held():
                    goes_on = following_tracks.take(frame, found)
                advance()
                if not goes_on:
                    break


class _Following:
    """State of a run: tracker, lines, zones, and what is done with a frame."""

    def __init__(
        self,
        closing: ExitStack,
        name: str,
        tracker: Tracker,
        files: TrackFiles,
        asked: Asked,
        lines: list[LineCounter],
        zones: list[Zone],
    ) -> None:
        self._name, self._tracker, self._lines, self._zones = name, tracker, lines, zones
        self._kinds: dict[int, str] = {}
        self._files = files
        self._sinks: list[Callable[[Frame, Tracks], object]] = []
        self._written: list[Path] = []
        closing.callback(self._say_written)
        if files.as_json:
            array = closing.enter_context(JsonArray(sys.stdout, document=True))
            self._sinks.append(lambda frame, tracks: array.add(self._entry(frame, tracks)))
        for path, sink in ((files.mot, _write_mot), (files.csv, _write_csv)):
            if path is not None:
                self._sinks.append(sink(closing.enter_context(kept_file(path, self._written))))
        if files.jsonl is not None:
            handle = closing.enter_context(kept_file(files.jsonl, self._written))
            self._sinks.append(
                lambda frame, tracks: handle.write(
                    json.dumps(self._entry(frame, tracks), ensure_ascii=False) + "\n"
                )
            )
        self.folder = self._film_folder()
        self._films = None
        if self.folder is not None:
            self._films = closing.enter_context(AnnotatedFilms(self.folder, files.film))
        self._screen = closing.enter_context(Screen(asked.show, "edgeyolo track"))

    def take(self, frame: Frame, found: Any) -> bool:
        """Track, count, write, print and show a frame; False once it is enough."""
        tracks = self._tracker.update(found, frame.time)
        self._kinds.update(zip(tracks.track_id.tolist(), tracks.names, strict=True))
        self._lines = [line.update(tracks) for line in self._lines]
        self._zones = [zone.update(tracks) for zone in self._zones]
        for sink in self._sinks:
            sink(frame, tracks)
        if self._films is not None:
            picture = draw_tracks(frame.image, tracks, self._lines, self._zones)
            self._films.write(self._name, picture, frame.time)
        return self._screen.show(lambda: draw_tracks(frame.image, tracks, self._lines, self._zones))

    def conclude(self, pace: str) -> None:
        """Say what happened, also after Ctrl-C."""
        note(f"{pace}; {len(self._kinds)} objects: {count_text(Counter(self._kinds.values()).elements())}")
        for number, line in enumerate(self._lines, 1):
            note(f"line {number}: {line.count_in} in, {line.count_out} out")
        for number, zone in enumerate(self._zones, 1):
            dwell = f", {zone.mean_dwell:.1f} s on the average" if zone.exits else ""
            note(f"zone {number}: {zone.entries} came, {zone.exits} went{dwell}, {zone.occupancy} inside")

    def _say_written(self) -> None:
        """Say which files are there, once they are."""
        films = self._films.paths if self._films else []
        if written := [*self._written[::-1], *(film for film in films if film.exists())]:
            note(f"written to {', '.join(map(str, written))}")

    def _film_folder(self) -> Path | None:
        film, output = self._files.film, self._files.output
        if output is not None:
            return film.parent if film is not None else output
        return next_run("track") if self._files.save else None

    def _entry(self, frame: Frame, tracks: Tracks) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "image": readable(frame.source),
            "frame": frame.index,
            "time": round(frame.time, 6),
            "tracks": tracks.to_json(),
        }
        if self._lines:
            entry["lines"] = [{"in": line.count_in, "out": line.count_out} for line in self._lines]
        if self._zones:
            entry["zones"] = [
                {"occupancy": zone.occupancy, "entries": zone.entries, "exits": zone.exits}
                for zone in self._zones
            ]
        return entry


def _write_mot(handle: Any) -> Callable[[Frame, Tracks], object]:
    """A sink of MOT text: frames count from 1."""
    return lambda frame, tracks: handle.write(tracks.to_mot(frame.index + 1))


def _write_csv(handle: Any) -> Callable[[Frame, Tracks], object]:
    rows = csv.writer(handle, lineterminator="\n")
    rows.writerow(COLUMNS)

    def sink(frame: Frame, tracks: Tracks) -> None:
        for track in tracks:
            box = (f"{value:.2f}" for value in track.box)
            head = (
                readable(frame.source),
                frame.index,
                f"{frame.time:.6f}",
                track.track_id,
                track.class_id,
                track.name,
            )
            rows.writerow((*head, f"{track.confidence:.4f}", *box))

    return sink
