"""`--nms graph` and its thresholds, as one value."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgeyolo.runtime.postprocess_config import PostprocessConfig


def nms_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--nms`, `--conf`, `--iou` and `--max-det`.

    They become the argument `nms`: thresholds, or None for the host.
    """

    @click.option(
        "--nms",
        type=click.Choice(["host", "graph"]),
        default="host",
        show_default=True,
        help="Where boxes are decoded and suppressed: `graph` puts it into the file.",
    )
    @click.option("--conf", type=float, help="With --nms graph: least confidence, for good (default 0.25).")
    @click.option(
        "--iou", type=float, help="With --nms graph: IoU above which the weaker box goes (default 0.45)."
    )
    @click.option("--max-det", type=int, help="With --nms graph: most detections an image (default 300).")
    @wraps(command)
    def wrapped(
        *args: Any, nms: str, conf: float | None, iou: float | None, max_det: int | None, **rest: Any
    ) -> Any:
        return command(*args, nms=_thresholds(nms, conf, iou, max_det), **rest)

    return wrapped


def _thresholds(
    where: str, conf: float | None, iou: float | None, max_det: int | None
) -> PostprocessConfig | None:
    from edgeyolo.errors import UsageError
    from edgeyolo.runtime.postprocess_config import PostprocessConfig

    given: dict[str, Any] = {"conf": conf, "iou": iou, "max_det": max_det}
    given = {name: value for name, value in given.items() if value is not None}
    if where == "graph":
        return PostprocessConfig(**given)
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise UsageError(
            f"{options}: thresholds of an export are those of its graph",
            hint="Add --nms graph; on the host they are chosen with each detection.",
        )
    return None
