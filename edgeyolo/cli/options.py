"""Values that several commands read from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.completion import complete_targets

if TYPE_CHECKING:
    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.backend.interface import Hint
    from edgeyolo.detector.open_model import Opened


def _is_count(text: str) -> bool:
    """Tell whether text is a whole number from 1.

    Superscripts are none, and no size has a thousand digits.
    """
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0


class ImageSize(click.ParamType):  # type: ignore[type-arg]  # generic only in newer clicks
    """`640` or `384x640` (height x width) -> (height, width)."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(_is_count(part) for part in parts):
            self.fail(
                f"{value!r}: expected a number of pixels such as 640, or HEIGHTxWIDTH such as 384x640",
                param,
                ctx,
            )
        return int(parts[0]), int(parts[-1])


class Batch(click.ParamType):  # type: ignore[type-arg]
    """A number of images, or `dynamic` (-> None)."""

    name = "batch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        if str(value).lower() == "dynamic":
            return None
        if not _is_count(str(value)):
            self.fail(f"{value!r}: expected a number of images from 1, or `dynamic`", param, ctx)
        return int(value)


class AutoBatch(click.ParamType):  # type: ignore[type-arg]
    """A number of images, or `auto` (-> 0, as in TrainConfig)."""

    name = "batch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if str(value).lower() == "auto":
            return 0
        if not _is_count(str(value)):
            self.fail(f"{value!r}: expected a number of images from 1, or `auto`", param, ctx)
        return int(value)


conf_option = click.option(
    "--conf", "--conf-thres", type=float, help="Least confidence (default 0.25, or the artifact's own)."
)
iou_option = click.option(
    "--iou",
    "--iou-thres",
    type=float,
    help="IoU above which the weaker box goes (default 0.45, or the artifact's own).",
)
classes_option = click.option(
    "--classes", multiple=True, help="Only these classes: names or numbers, comma-separated."
)
max_det_option = click.option(
    "--max-det", type=int, help="Most detections an image (default 300, or the artifact's own)."
)
imgsz_option = click.option(
    "--imgsz",
    "--img-size",
    "size",
    type=ImageSize(),
    help="Input size: 640, or 384x640 (height x width); default: the size of the training.",
)
targets_option = click.option(
    "--target",
    "targets",
    required=True,
    multiple=True,
    shell_complete=complete_targets,
    help="Where it will run (`edgeyolo targets`); several with commas, or given again; `all`.",
)
target_option = click.option(
    "--target",
    shell_complete=complete_targets,
    help="Target to run weights on (an artifact knows its own).",
)

device_option = click.option(
    "--device",
    help="auto (the fastest usable here), cpu, cuda, cuda:1, gpu, intel:gpu, intel:npu, tpu, ane, dla:0, ncs, hexagon.",
)
spec_option = click.option(
    "--spec", type=click.Path(path_type=Path), help="What a file of another tool takes and gives (JSON)."
)


def split_targets(targets: tuple[str, ...], *, half: bool = False) -> list[str]:
    """Every target once, in order.

    One that does not exist is an error before any work is done.

    `all` is every target there is; `half` takes the float16 sibling of each.
    """
    from edgeyolo.backend.registry import find_target, half_sibling, profiles

    parts = [part.strip() for text in targets for part in text.split(",") if part.strip()]
    if "all" in parts:
        parts = [str(profile.target) for profile, _ in profiles()]
    found = [half_sibling(part) if half else find_target(part)[0].target for part in parts]
    return list(dict.fromkeys(map(str, found)))


def locate_weights(model: str) -> Path:
    """Resolve a model to a file or an artifact directory.

    Paths stay as they are, `builtin` is the file of that model, a published name such as yolov7-tiny is
    downloaded once.
    """
    from edgeyolo.cli.console import note, progress
    from edgeyolo.detector import builtin
    from edgeyolo.models.download import fetch_weights, is_published

    if builtin.is_builtin(model):
        return builtin.weights_path()
    if Path(model).exists() or not is_published(model):
        return Path(model)
    with progress(f"downloading {model}", unit="B") as advance:
        fetched = fetch_weights(model, progress=advance, tell=note)
    if fetched.notice:
        note(fetched.notice)
    return fetched.path


def hint_for(artifact: Artifact, *, many: bool) -> Hint | None:
    """Aim of a session where the command line names none.

    It is throughput for `many` pictures that nobody waits for one by one, unless a variable of the artifact's runtime
    says what to aim for.
    """
    from edgeyolo.backend.registry import backend_of
    from edgeyolo.backend.variables import is_hinted

    return "throughput" if many and not is_hinted(backend_of(artifact)) else None


def opened_model(
    model: str,
    *,
    size: tuple[int, int] | None,
    target: str | None,
    device: str | None = None,
    spec: Path | None = None,
) -> Opened:
    """Artifact that `model` is, or that its weights give.

    It is made once, then taken from the cache.

    With a device, or weights for which the environment names one, a line says what was chosen and why.
    """
    from edgeyolo.cli.console import note, steps
    from edgeyolo.detector import builtin
    from edgeyolo.detector.open_model import Wanted, open_model
    from edgeyolo.support import environment

    path = Path(model) if builtin.is_builtin(model) else locate_weights(model)
    with steps() as step:
        opened = open_model(path, Wanted(target, device, size, environment.threads(), spec), step=step)
    if (device or environment.device() or environment.target()) and not path.is_dir():
        explanation = opened.explanation
        note(f"{explanation.target}: {explanation.decided}")
    if opened.remark:
        note(opened.remark)
    return opened
