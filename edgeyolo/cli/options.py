"""Values that several commands read from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgeyolo.manifest import Manifest


class ImageSize(click.ParamType):  # type: ignore[type-arg]  # generic only in newer clicks
    """`640` or `384x640` (height x width) -> (height, width)."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
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
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"{value!r}: expected a number of images from 1, or `dynamic`", param, ctx)
        return int(value)


imgsz_option = click.option(
    "--imgsz", "--img-size", "size", type=ImageSize(), help="Input size: 640, or 384x640 (height x width)."
)
target_option = click.option("--target", help="Target to run weights on (an artifact knows its own).")


def locate_weights(model: str) -> Path:
    """A file or artifact directory as it is; a published name such as yolov7-tiny is downloaded once."""
    from edgeyolo.cli.console import note, progress
    from edgeyolo.download import fetch_weights, is_published

    if Path(model).exists() or not is_published(model):
        return Path(model)
    with progress(f"downloading {model}", unit="B") as advance:
        fetched = fetch_weights(model, progress=advance, tell=note)
    if fetched.notice:
        note(fetched.notice)
    return fetched.path


def artifact_of(model: str, *, size: tuple[int, int] | None, target: str | None) -> Path:
    """The artifact that `model` is, or the one that its weights give: made once, then taken from the cache."""
    from edgeyolo.artifact import MANIFEST, Artifact
    from edgeyolo.cli.console import steps

    path = locate_weights(model)
    if path.name == MANIFEST:
        path = path.parent
    if path.is_dir():
        _require_same(Artifact.open(path).manifest, size, target)
        return path
    from edgeyolo.export.cache import cached_artifact

    with steps() as step:
        return cached_artifact(path, target or "cpu-onnx-fp32", size=size, step=step)


def _require_same(manifest: Manifest, size: tuple[int, int] | None, target: str | None) -> None:
    """An artifact's size and target were settled when it was exported; asking for them again is fine."""
    from edgeyolo.errors import UsageError

    height, width = manifest.input.size
    if size is not None and size != manifest.input.size:
        raise UsageError(
            f"--imgsz {size[0]}x{size[1]}: the artifact was exported at {height}x{width}",
            hint="Leave out --imgsz, or export the weights again with it.",
        )
    if target not in (None, str(manifest.target)):
        raise UsageError(
            f"--target {target}: the artifact was exported for {manifest.target}",
            hint="Leave out --target, or export the weights again with it.",
        )
