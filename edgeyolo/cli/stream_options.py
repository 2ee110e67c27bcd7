"""Options of commands that read films and cameras."""

from __future__ import annotations

import click

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
