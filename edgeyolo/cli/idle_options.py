"""Options that would do nothing beside others.

A command that takes an option and does nothing with it lets its user believe a result that is not what was asked for.
"""

from __future__ import annotations

from collections.abc import Collection

import click
from click.core import ParameterSource


def given_options(names: Collection[str]) -> list[str]:
    """Options among these parameters that the command line gives.

    They are called as `--help` of the running command shows them.
    """
    context = click.get_current_context()
    return [
        next(name for name in parameter.opts if name.startswith("--"))
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and parameter.name in names
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]


def refuse_idle(names: Collection[str], reason: str, *, hint: str) -> None:
    """Raise UsageError if the command line gives one of these parameters.

    `reason` completes the sentence that begins with the options.
    """
    from edgeyolo.errors import UsageError

    if given := given_options(names):
        raise UsageError(f"{', '.join(given)}: {reason}", hint=hint)


def refuse_all_but(names: Collection[str], reason: str, *, hint: str) -> None:
    """Raise UsageError if the command line gives any other option."""
    others = {str(parameter.name) for parameter in click.get_current_context().command.params} - {*names}
    refuse_idle(others, reason, hint=hint)


def refuse_lone_split(data: object) -> None:
    """Raise UsageError for --split without --data."""
    if not data:
        refuse_idle(
            {"split"}, "a part of --data, which is not given", hint="Add --data DATA, or leave it out."
        )
