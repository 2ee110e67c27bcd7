"""`edgeyolo track`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table

FILE = click.Path(path_type=Path)


@click.command("track")
@click.argument("arguments", nargs=-1, metavar="[FILE]")
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
@json_option
def command(
    arguments: tuple[str, ...], detections: Path | None, seqinfo: Path | None, mot: Path | None, lost: float,
    agnostic: bool, truth: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Follow objects from frame to frame, or measure how well that went.

    --detections tracks what a detector has found before, without a model. --eval gives HOTA, MOTA, IDF1, switches of
    identity and what they consist of, as TrackEval defines them, at an IoU of 0.5 where one is needed; of the ground
    truth the rows with 1 in column 7 count. Files are written whole or not at all.

    \b
    edgeyolo track --detections det/det.txt --seqinfo seqinfo.ini --mot tracks.txt
    edgeyolo track --eval gt/gt.txt tracks.txt
    edgeyolo track --eval gt/gt.txt tracks.txt --json
    """
    from edgeyolo.errors import UsageError

    if truth is not None:
        if len(arguments) != 1 or detections or seqinfo or mot:
            raise UsageError(
                "--eval compares one file with the ground truth and takes no other option but --json",
                hint="edgeyolo track --eval gt.txt tracks.txt",
            )
        evaluate(truth, Path(arguments[0]), as_json)
    elif detections is not None and seqinfo is not None and not arguments:
        track_file(detections, seqinfo, mot, lost, agnostic, as_json)
    else:
        raise UsageError(
            "track needs --detections and --seqinfo, or --eval and a file of tracks",
            hint="edgeyolo track --detections det.txt --seqinfo seqinfo.ini --mot tracks.txt",
        )


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
    from edgeyolo.support.files import atomic_file
    from edgeyolo.tracking.mot_files import read_mot, read_sequence_info
    from edgeyolo.tracking.replay import replay
    from edgeyolo.tracking.tracker import Tracker

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
