"""Command `edgeyolo detect`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import count_text, json_option, note, print_json, print_table, progress, say
from edgeyolo.cli.idle_options import refuse_all_but, refuse_idle
from edgeyolo.cli.options import (
    classes_option,
    conf_option,
    device_option,
    hint_for,
    imgsz_option,
    iou_option,
    max_det_option,
    opened_model,
    spec_option,
    target_option,
)
from edgeyolo.cli.stream_options import (
    max_fps_option,
    max_staleness_option,
    policy_option,
    refuse_idle_staleness,
    show_option,
)

if TYPE_CHECKING:
    from edgeyolo.backend.interface import Hint
    from edgeyolo.cli.detect_films import Written
    from edgeyolo.detector.detector import Detector
    from edgeyolo.stream.frame import Policy

BETTER = "yolov7-tiny"
"""The published network that is recommended where the built-in one is not good enough."""


@click.command("detect")
@click.argument(
    "model_and_sources",
    nargs=-1,
    required=True,
    metavar="[MODEL] SOURCE...",
    shell_complete=complete_models,
)
@click.option(
    "--weights",
    "--model",
    "model",
    help="The model, if it is not the first argument; a published name is downloaded.",
)
@imgsz_option
@target_option
@device_option
@spec_option
@click.option(
    "--hint",
    type=click.Choice(["latency", "throughput"]),
    help="OpenVINO, ONNX Runtime: each image as soon as can be (default of one, and of cameras), or many at once.",
)
@click.option("--explain", is_flag=True, help="Say what runs the model and why, and end; needs no SOURCE.")
@conf_option
@iou_option
@classes_option
@max_det_option
@click.option("--agnostic", is_flag=True, help="Let boxes of different classes suppress each other.")
@click.option("--multi-label", is_flag=True, help="Let one box have several classes.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write (default: runs/detect/exp, exp2 ...).",
)
@click.option(
    "--save-txt", is_flag=True, help="Write labels that train reads: class, centre, size, a file an image."
)
@click.option("--save-conf", is_flag=True, help="Add the confidence to them; train does not read it.")
@click.option("--save-json", is_flag=True, help="Write detections.json.")
@click.option(
    "--save/--no-save",
    default=None,
    help="Write annotated pictures and films; by default those of files, and not with --json without -o.",
)
@policy_option
@max_fps_option
@max_staleness_option
@show_option
@json_option
def command(
    model_and_sources: tuple[str, ...], model: str | None, size: tuple[int, int] | None, target: str | None,
    device: str | None, spec: Path | None, hint: Hint | None, explain: bool,
    conf: float | None, iou: float | None, classes: tuple[str, ...], max_det: int | None, agnostic: bool,
    multi_label: bool,
    output: Path | None, save_txt: bool, save_conf: bool, save_json: bool, save: bool | None,
    policy: Policy, max_fps: float | None, max_staleness: float | None, show: bool, as_json: bool,
) -> None:  # fmt: skip
    """Find objects in images, films and cameras, and draw them.

    MODEL is an artifact directory, weights or a published name; SOURCE an image, a film, a folder, a glob, a camera (0)
    or an address (rtsp, http ...). Without a MODEL, where the first argument is one of these, the model that comes with
    the package looks for twenty kinds of everyday objects: people, cars, dogs, chairs, bottles ...
    With --json, pictures are written only where -o is given. An image or film that cannot be read is passed over,
    reported at the end and makes the exit code 1; --json says `error` of that image, or where none can be read, alone.

    \b
    edgeyolo detect photo.jpg
    edgeyolo detect street.mp4 --json
    edgeyolo detect rtsp://user:password@camera/path --show
    edgeyolo detect cells-onnx photo.jpg
    edgeyolo detect cells-onnx 'photos/*.jpg' --conf 0.4 --json
    edgeyolo detect --weights yolov7-tiny photo.jpg
    edgeyolo detect best.safetensors photo.jpg --device auto
    edgeyolo detect best.safetensors --device auto --explain
    edgeyolo detect cells-openvino photos --hint throughput
    """
    from edgeyolo.backend.interface import TunableBackend
    from edgeyolo.backend.registry import backend_of
    from edgeyolo.cli.detect_films import Asked, Written, detect_in_films, is_moving
    from edgeyolo.detector import builtin
    from edgeyolo.detector.detector import Detector, split_classes
    from edgeyolo.errors import UsageError
    from edgeyolo.stream.open_source import is_camera

    given, (model, sources) = model, model_and_images(model, model_and_sources)
    no_model = given is None and sources == model_and_sources
    if not sources and not explain:
        raise UsageError(
            f"detect needs at least one image, film or camera besides the model {model}",
            hint="edgeyolo detect MODEL photo.jpg, or edgeyolo detect photo.jpg to find everyday objects",
        )
    moving = any(is_moving(source) for source in sources)
    _refuse_idle_options(
        moving=moving, explain=explain, files=save is not False or save_txt or save_conf or save_json
    )
    refuse_idle_staleness(sources, policy)
    if output is not None and output.suffix.lower() == ".mp4" and not moving and not explain:
        raise UsageError(f"-o {output} names a film, and there is none to read", hint="-o names a folder.")
    images = [] if moving else _images(sources)
    written = Written(output, save, save_txt or save_conf, save_conf, save_json, as_json)
    if not explain:
        written.require_writable(camera=any(is_camera(source) for source in sources))
    opened = opened_model(model, size=size, target=target, device=device, spec=spec)
    if explain:
        print_json(opened.explanation.to_json()) if as_json else say(str(opened.explanation))
        return
    if no_model:
        note(builtin.introduce(BETTER))
    chosen = split_classes(classes, opened.artifact.manifest.class_names) if classes else None
    if hint == "throughput" and not isinstance(backend := backend_of(opened.artifact), TunableBackend):
        note(
            f"--hint throughput: {backend.name} has no such choice; larger batches help it (export --batch N)"
        )
    detector = Detector(
        opened.artifact.path,
        device=device,
        conf=conf,
        iou=iou,
        classes=chosen,
        max_det=max_det,
        agnostic=agnostic,
        multi_label=multi_label,
        hint=hint or hint_for(opened.artifact, many=_nobody_waits(images, sources)),
    )
    with detector:
        if moving:
            detect_in_films(detector, sources, written, Asked(policy, max_fps, max_staleness, show))
        else:
            _detect_in_images(detector, images, written)


def _nobody_waits(images: Sequence[Path], films: Sequence[str]) -> bool:
    """True of several images, and of films; a camera's pictures are wanted at once."""
    from edgeyolo.stream.open_source import is_camera

    return len(images) > 1 or (not images and not any(map(is_camera, films)))


def _refuse_idle_options(*, moving: bool, explain: bool, files: bool) -> None:
    streams = {"policy", "max_fps", "max_staleness", "show"}
    if explain:
        refuse_all_but(
            {"model", "size", "target", "device", "spec", "explain", "as_json"},
            "for detecting, and --explain ends before",
            hint="Leave out --explain.",
        )
    if not moving:
        refuse_idle(streams, "for films and cameras, and these are pictures", hint="Leave it out.")
    if not files:
        refuse_idle(
            {"output"}, "where to write, and --no-save writes nothing", hint="Leave out one or the other."
        )


def _images(sources: Sequence[str]) -> list[Path]:
    from edgeyolo.runtime.images import find_images

    walks = [find_images(source) for source in sources]
    for line in (line for walk in walks for line in walk.sentences()):
        note(f"left out: {line}")
    return [path for walk in walks for path in walk.files]


def _detect_in_images(detector: Detector, images: list[Path], written: Written) -> None:
    from edgeyolo.cli.result_files import ResultWriter, detect_all, json_entry
    from edgeyolo.errors import ImageError
    from edgeyolo.support.reading import path_text

    # Only now that nothing is wrong with the arguments is a folder made.
    folder = written.folder()
    try:
        writer = ResultWriter(
            folder, pictures=written.pictures(),
            text=written.text, confidence=written.confidence, json=written.json,
        )  # fmt: skip
        with writer, progress("detecting") as advance:
            results = detect_all(detector, images, writer, advance)
    finally:
        if folder is not None:
            with suppress(OSError):  # one that nothing could be written to is not left empty
                folder.rmdir()
    found = [(path, each) for path, each in results if not isinstance(each, ImageError)]
    unreadable = [each for _, each in results if isinstance(each, ImageError)]
    if written.as_json and (found or not unreadable):
        print_json([json_entry(path, each) for path, each in results])
    elif not written.as_json:
        print_table(("image", "objects"), [(path_text(path), count_text(each.names)) for path, each in found])
        if folder:
            note(f"written to {folder}")
    if unreadable:
        raise ImageError("\n".join(error.message for error in unreadable), hint=unreadable[0].hint)


def model_and_images(model: str | None, arguments: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Tell the model apart from the sources among the arguments.

    If `model` (--weights) is not given, the model is the first one; or `builtin`, if that is an image, a film, a
    camera or a lone folder that is no artifact.
    """
    from edgeyolo.cli.detect_films import is_film_or_camera
    from edgeyolo.detector import builtin

    if model:
        return model, arguments
    first, rest = arguments[0], arguments[1:]
    if _is_image(first) or is_film_or_camera(first) or (not rest and _is_folder_of_images(first)):
        return builtin.NAME, arguments
    return first, rest


def _is_image(argument: str) -> bool:
    """Return True if the suffix is that of an image.

    The file need not exist: a mistyped name is then reported as that of an image.
    """
    from edgeyolo.runtime.images import IMAGE_SUFFIXES

    return Path(argument).suffix.lower() in IMAGE_SUFFIXES and not Path(argument).is_dir()


def _is_folder_of_images(argument: str) -> bool:
    """Return True for a folder of images.

    A folder with a manifest is an artifact, and other tools' formats that are folders have suffixes.
    """
    from edgeyolo.artifact.artifact import MANIFEST
    from edgeyolo.detector.adopt import suffix_of

    path = Path(argument)
    return path.is_dir() and not (path / MANIFEST).exists() and not suffix_of(path)
