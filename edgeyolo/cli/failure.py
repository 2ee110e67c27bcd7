"""Errors as the command line ends with them.

A sentence, what to type next, and an exit code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import click

from edgeyolo.errors import INTERRUPTED, EdgeYoloError, RuntimeMissingError
from edgeyolo.support.files import user_cache
from edgeyolo.support.install import install_hint, package_of
from edgeyolo.support.opencv import explain_opencv
from edgeyolo.support.printable import printable
from edgeyolo.support.system_errors import SYSTEM_HINTS, explain_system_error

_CACHE = "Set EDGEYOLO_CACHE to a directory that has room and may be written."


@dataclass
class Output:
    """One run of the program.

    The `command` it was, and whether its JSON `document` is on standard output.
    """

    command: str = ""
    document: bool = False


@dataclass(frozen=True)
class Failure:
    """An error as users see it.

    `kind` is the name of its class in edgeyolo.errors, Interrupted or Defect.
    """

    code: int
    kind: str
    message: str
    hint: str = ""
    usage: str = ""

    @property
    def defect(self) -> bool:
        """True for an error that is edgeyolo's own fault."""
        return self.kind == "Defect"

    def say(self) -> None:
        """Write it to standard error."""
        if self.usage:
            click.echo(printable(self.usage), err=True)
        if self.kind == "Interrupted":
            click.echo(self.message, err=True)
            return
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(printable(self.message), err=True)
        if self.hint:
            click.echo(printable(self.hint), err=True)

    def print_json(self) -> None:
        """Print it as one JSON document on standard output."""
        facts = {"code": self.code, "kind": self.kind, "message": self.message, "hint": self.hint}
        click.echo(json.dumps({"error": facts}, indent=2))


def explain(error: BaseException, command: str = "", *, interrupted: bool = False) -> Failure:
    """The failure that an exception of `command` is to a user."""
    if isinstance(error, EdgeYoloError):
        return _known(error)
    if isinstance(error, click.ClickException):
        return _wrong_usage(error)
    if interrupted or isinstance(error, click.Abort | KeyboardInterrupt):
        # A library may have made an error of its own out of Ctrl-C.
        return Failure(INTERRUPTED, "Interrupted", "interrupted")
    missing = _missing(error, command) if isinstance(error, ModuleNotFoundError) else None
    if known := explain_opencv(error) or missing or explain_system_error(error):
        return _known(known)
    hint = "This is a defect in edgeyolo. EDGEYOLO_DEBUG=1 shows where; please report it."
    return Failure(1, "Defect", f"{type(error).__name__}: {error}", hint)


def _known(error: EdgeYoloError) -> Failure:
    hint = _CACHE if error.hint in SYSTEM_HINTS and _cache_in(error.message) else error.hint
    return Failure(error.exit_code, type(error).__name__, error.message, hint)


def _cache_in(message: str) -> bool:
    """Return True for a message about a file of the cache, whose place nobody gave."""
    try:
        cache = user_cache()
        return str(cache) in message or any(message.startswith(f"{parent}: ") for parent in cache.parents)
    except (EdgeYoloError, OSError):
        return False


def _wrong_usage(error: click.ClickException) -> Failure:
    """A click error in the form of ours.

    The usage line, what was wrong, and where the help is.
    """
    context = getattr(error, "ctx", None)
    usage, hint = "", ""
    if context is not None:
        usage = context.get_usage()
        hint = f"{context.command_path} --help lists what it takes."
    return Failure(error.exit_code, "UsageError", error.format_message(), hint, usage)


def _missing(error: ModuleNotFoundError, command: str) -> EdgeYoloError | None:
    """The error for a missing package, with what to install.

    None for a module of our own.
    """
    module = (error.name or "").partition(".")[0]
    if not module or module.startswith("edgeyolo"):
        return None
    extra = "train" if command in ("train", "ablate") else ""
    return RuntimeMissingError(
        f"{command or 'this'} needs the package {package_of(module)}, which is not installed",
        hint=install_hint(extra, for_module=module),
    )
