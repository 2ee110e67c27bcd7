"""Completions that the shell offers for targets and models; click's own do commands, options and files."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Targets that begin with what stands after the last comma of `incomplete`, each once, with its description."""
    from edgeyolo.backend.registry import profiles

    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{profile.target}", help=profile.note)
        for profile, _ in profiles()
        if str(profile.target).startswith(last) and str(profile.target) not in given
    ]


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Networks and paths that begin with `incomplete`; where no network does, the shell completes paths itself."""
    from edgeyolo.detector.builtin import NAME
    from edgeyolo.models.specs import names

    found = [name for name in (NAME, *names()) if incomplete and name.startswith(incomplete)]
    if not found:
        return [CompletionItem(incomplete, type="file")]
    paths = (path.name for path in Path().iterdir() if path.name.startswith(incomplete))
    return [CompletionItem(name) for name in dict.fromkeys([*found, *sorted(paths)])]
