"""Shell completion of targets and models.

Commands, options and files are completed by click itself.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the last of several targets, separated by commas.

    Each is offered once, with its description for shells that show it.
    """
    from edgeyolo.backend.registry import profiles

    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{profile.target}", help=profile.note)
        for profile, _ in profiles()
        if str(profile.target).startswith(last) and str(profile.target) not in given
    ]


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a network's name, or a path.

    Where no network begins with `incomplete` the shell completes paths itself.
    """
    from edgeyolo.detector.builtin import NAME
    from edgeyolo.models.specs import names

    found = [name for name in (NAME, *names()) if incomplete and name.startswith(incomplete)]
    if not found:
        return [CompletionItem(incomplete, type="file")]
    paths = (path.name for path in Path().iterdir() if path.name.startswith(incomplete))
    return [CompletionItem(name) for name in dict.fromkeys([*found, *sorted(paths)])]
