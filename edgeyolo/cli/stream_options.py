"""Options of commands that read films and cameras."""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgeyolo.cli.idle_options import refuse_idle

policy_option = click.option(
    "--policy",
    type=click.Choice(["auto", "every", "freshest"]),
    default="auto",
    show_default=True,
    help="Frames that are taken: every one, or the freshest only while the network is busy; auto: films every, "
    "cameras freshest.",
)
max_fps_option = click.option("--max-fps", type=float, help="Take at most so many frames a second.")
max_staleness_option = click.option(
    "--max-staleness", type=float, help="Pass over frames of a camera that are older, in seconds."
)
show_option = click.option("--show", is_flag=True, help="Show the frames in a window; q ends it.")


def refuse_idle_staleness(sources: Sequence[str], policy: str) -> None:
    """Raise UsageError for --max-staleness where no frame can grow old."""
    from edgeyolo.stream.open_source import is_camera

    if policy != "freshest" and not any(is_camera(source) for source in sources):
        refuse_idle(
            {"max_staleness"},
            "for cameras; a film waits for the network, and none of its frames grows old",
            hint="Leave it out, or play the film at its own pace: --policy freshest.",
        )
