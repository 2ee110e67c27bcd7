"""Command `edgeyolo verify`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeyolo.cli.console import json_option, note, print_json, say


@click.command("verify")
@click.argument("artifact", type=click.Path(path_type=Path))
@json_option
def command(artifact: Path, as_json: bool) -> None:
    """Check that an artifact is whole.

    Schema, every file's SHA-256, and its golden vectors on this machine.
    """
    from edgeyolo.runtime.verify import verify

    checked = verify(artifact)
    if as_json:
        print_json(checked.to_json())
        return
    what = f"golden vectors and {checked.detections} detections"
    reproduced = f"{what} reproduced to {checked.deviation:.1e} by {checked.runtime}"
    for text in checked.notes:
        note(text)
    say(f"{artifact}: whole ({checked.files} files); {reproduced}")
