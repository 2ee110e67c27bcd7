"""`edgeyolo track`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table
from edgeyolo.cli.idle_options import refuse_all_but
from edgeyolo.cli.options import (
    classes_option,
    device_option,
    imgsz_option,
    iou_option,
    spec_option,
    target_option,
)
from edgeyolo.cli.points import Points
from edgeyolo.cli.stream_options import (
    max_fps_option,
    max_staleness_option,
    policy_option,
    refuse_idle_staleness,
    show_option,
)

if TYPE_CHECKING:
    from edgeyolo.cli.detect_films import Asked
    from edgeyolo.cli.track_films import TrackFiles
    from edgeyolo.stream.frame import Policy
    from edgeyolo.tracking.tracker import Tracker

FILE = click.Path(path_type=Path)


@click.command("track")
@click.argument("arguments", nargs=-1, metavar="[MODEL] SOURCE")
@click.option(
    "--weights",
    "--model",
    "model",
    help="The model, if it is not the first argument; a published name is downloaded.",
)
@click.option("--detections", type=FILE, help="Track the detections of this MOT file; needs --seqinfo.")
@click.option("--seqinfo", type=FILE, help="The sequence's seqinfo.ini: frames/s, number of frames, size.")
@click.option(
    "--mot", type=FILE, help="Write tracks here: frame,id,left,top,width,height,confidence,-1,-1,-1."
)
@click.option(
    "--lost", type=float, default=2.0, show_default=True, help="Seconds in which a lost track is kept."
)
@click.option("--agnostic", is_flag=True, help="Let a track be continued by detections of another class.")
@click.option("--eval", "truth", type=FILE, help="Compare the tracks in FILE with this MOT ground truth.")
@click.option("--csv", "csv_file", type=FILE, help="Write a row for each box of a track here.")
@click.option("--jsonl", type=FILE, help="Write a line of JSON for each frame here.")
@click.option("--save", is_flag=True, help="Write the annotated film (runs/track/exp, exp2 ..., or -o).")
@click.option(
    "-o", "--output", type=FILE, help="Folder of the annotated film, or its name if that ends in .mp4."
)
@click.option(
    "--line", "lines", type=Points(2, 2), multiple=True, help="Count across x1,y1,x2,y2; may be repeated."
)
@click.option(
    "--zone", "zones", type=Points(3), multiple=True, help="Count in x1,y1,x2,y2,x3,y3 ...; likewise."
)
@click.option(
    "--conf",
    "--conf-thres",
    type=float,
    help="Least confidence; by default low, as faint boxes prolong tracks.",
)
@iou_option
@classes_option
@imgsz_option
@target_option
@device_option
@spec_option
@policy_option
@max_fps_option
@max_staleness_option
@show_option
@json_option
def command(
    arguments: tuple[str, ...], model: str | None, detections: Path | None, seqinfo: Path | None, mot: Path | None,
    lost: float, agnostic: bool, truth: Path | None, csv_file: Path | None, jsonl: Path | None, save: bool,
    output: Path | None, lines: tuple[Any, ...], zones: tuple[Any, ...], conf: float | None, iou: float | None,
    classes: tuple[str, ...], size: tuple[int, int] | None, target: str | None, device: str | None, spec: Path | None,
    policy: Policy, max_fps: float | None, max_staleness: float | None, show: bool, as_json: bool,
) -> None:  # fmt: skip
    """Follow objects from frame to frame, or measure how well that went.

    SOURCE is a film, a camera (0), an address (rtsp, http ...) or a folder of frames; MODEL may be left out for the one
    that comes with the package. Lines and zones are in pixels; standing at a line's first point and looking at the
    second, "out" is to the right.

    --detections tracks what a detector has found before, without a model. --eval gives HOTA, MOTA, IDF1, switches of
    identity and what they consist of, as TrackEval defines them, at an IoU of 0.5 where one is needed; of the ground
    truth the rows with 1 in column 7 count. Files are written whole or not at all.

    \b
    edgeyolo track street.mp4 --line 0,300,768,300 --save
    edgeyolo track yolov7-openvino rtsp://user:password@camera/path --policy freshest --csv tracks.csv
    edgeyolo track --detections det/det.txt --seqinfo seqinfo.ini --mot tracks.txt
    edgeyolo track --eval gt/gt.txt tracks.txt
    edgeyolo track --eval gt/gt.txt tracks.txt --json
    """
    from edgeyolo.cli.detect_films import Asked
    from edgeyolo.cli.track_films import TrackFiles
    from edgeyolo.errors import UsageError
    from edgeyolo.tracking.tracker import Tracker

    if truth is not None:
        example = "edgeyolo track --eval gt.txt tracks.txt"
        refuse_all_but(
            {"truth", "as_json"},
            "--eval compares a file with the ground truth and takes --json only",
            hint=example,
        )
        if len(arguments) != 1:
            raise UsageError("--eval compares one file with the ground truth", hint=example)
        evaluate(truth, Path(arguments[0]), as_json)
    elif detections is not None and seqinfo is not None and not arguments:
        refuse_all_but(
            {"detections", "seqinfo", "mot", "lost", "agnostic", "as_json"},
            "for films and cameras; --detections are tracked as the file has them",
            hint="edgeyolo track --detections det.txt --seqinfo seqinfo.ini --mot tracks.txt",
        )
        track_file(detections, seqinfo, mot, lost, agnostic, as_json)
    elif detections is None and seqinfo is None and arguments:
        refuse_idle_staleness(arguments, policy)
        files = TrackFiles(mot, csv_file, jsonl, save, output, as_json)
        asked = Asked(policy, max_fps, max_staleness, show)
        chosen = Chosen(model, conf, iou, classes, size, target, device, spec)
        track_source(
            arguments, Tracker(lost_seconds=lost, class_wise=not agnostic), files, asked, chosen, lines, zones
        )
    else:
        raise UsageError(
            "track needs a film or camera, or --detections and --seqinfo, or --eval and a file of tracks",
            hint="edgeyolo track street.mp4 --mot tracks.txt",
        )


@dataclass(frozen=True)
class Chosen:
    """Choice of the network, its thresholds and place."""

    model: str | None
    conf: float | None
    iou: float | None
    classes: tuple[str, ...]
    size: tuple[int, int] | None
    target: str | None
    device: str | None
    spec: Path | None


def track_source(
    arguments: tuple[str, ...],
    tracker: Tracker,
    files: TrackFiles,
    asked: Asked,
    chosen: Chosen,
    lines: tuple[Any, ...],
    zones: tuple[Any, ...],
) -> None:
    """Open the model and track through the source."""
    from edgeyolo.artifact.contracts import GraphDetections
    from edgeyolo.cli.detect_command import model_and_images
    from edgeyolo.cli.options import hint_for, opened_model
    from edgeyolo.cli.track_films import track_in
    from edgeyolo.detector.detector import Detector, split_classes
    from edgeyolo.errors import UsageError
    from edgeyolo.stream.open_source import is_camera
    from edgeyolo.tracking.lines import LineCounter
    from edgeyolo.tracking.zones import Zone

    model, sources = model_and_images(chosen.model, arguments)
    if len(sources) != 1:
        raise UsageError(
            f"track needs one film, camera or folder of frames, got {len(sources)}",
            hint="edgeyolo track MODEL street.mp4, or edgeyolo track street.mp4 for everyday objects",
        )
    files.require_writable()
    counters = [LineCounter(*line) for line in lines]
    areas = [Zone(corners) for corners in zones]
    opened = opened_model(
        model, size=chosen.size, target=chosen.target, device=chosen.device, spec=chosen.spec
    )
    manifest = opened.artifact.manifest
    conf = chosen.conf
    if conf is None and not isinstance(manifest.output, GraphDetections):
        conf = tracker.rules.low
    classes = split_classes(chosen.classes, manifest.class_names) if chosen.classes else None
    with Detector(
        opened.artifact.path,
        device=chosen.device,
        conf=conf,
        iou=chosen.iou,
        classes=classes,
        hint=hint_for(opened.artifact, many=not is_camera(sources[0])),
    ) as detector:
        track_in(detector, sources[0], tracker, files, asked, counters, areas)


def evaluate(truth: Path, result: Path, as_json: bool) -> None:
    """Print the measures of a file of tracks."""
    from edgeyolo.tracking.evaluate import evaluate_files

    measures = evaluate_files(truth, result)
    if as_json:
        print_json(measures)
        return
    rows = [(name, f"{v:.4f}" if isinstance(v, float) else v) for name, v in measures.items()]
    print_table(("measure", "value"), rows)


def track_file(
    detections: Path, seqinfo: Path, mot: Path | None, lost: float, agnostic: bool, as_json: bool
) -> None:
    """Track the detections of a MOT file and print or write what came of it."""
    from edgeyolo.support.files import atomic_file, require_writable
    from edgeyolo.tracking.mot_files import read_mot, read_sequence_info
    from edgeyolo.tracking.replay import replay
    from edgeyolo.tracking.tracker import Tracker

    if mot is not None:
        require_writable(mot.parent)
    info = read_sequence_info(seqinfo)
    tracker = Tracker(lost_seconds=lost, class_wise=not agnostic)
    frames = list(replay(read_mot(detections), info, tracker))
    objects = {number for _, tracks in frames for number in tracks.track_id.tolist()}
    boxes = sum(len(tracks) for _, tracks in frames)
    if mot is not None:
        with atomic_file(mot) as draft:
            draft.write_text("".join(tracks.to_mot(frame) for frame, tracks in frames), encoding="utf-8")
    if as_json:
        print_json([_entry(frame, tracks) for frame, tracks in frames])
    note(
        f"{len(objects)} objects in {boxes} boxes of {len(frames)} frames"
        + (f", written to {mot}" if mot is not None else "")
    )


def _entry(frame: int, tracks: Any) -> dict[str, Any]:
    return {"frame": frame, "time": tracks.time, "tracks": tracks.to_json()}
