"""The program: its commands in groups, and how a run of it ends."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path

import click

from edgeyolo.cli import interrupt
from edgeyolo.cli.console import LogFormatter, note
from edgeyolo.cli.failure import Failure, Output, explain
from edgeyolo.cli.help_text import Context, write_commands
from edgeyolo.errors import UsageError
from edgeyolo.support.nearest import nearest
from edgeyolo.support.printable import tolerate
from edgeyolo.version import __version__

COMMANDS = (
    "models",
    "train",
    "import",
    "check",
    "export",
    "adopt",
    "detect",
    "track",
    "serve",
    "predict",
    "recipe",
    "val",
    "verify",
    "ablate",
    "targets",
    "doctor",
)
GROUP = "edgeyolo.commands"


class Commands(click.Group):
    """Commands that are loaded only when they are asked for.

    `edgeyolo detect` does not wait for the others.
    """

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted({entry.name for entry in entry_points(group=GROUP)} - set(COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if isinstance(ctx.obj, Output):
            ctx.obj.command = cmd_name
        command: click.Command | None = None
        if cmd_name in COMMANDS:
            command = importlib.import_module(f"edgeyolo.cli.{cmd_name}_command").command
        for entry in entry_points(group=GROUP, name=cmd_name):
            command = command or entry.load()
        if command is not None:
            command.context_class = Context
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            near = nearest(name, self.list_commands(ctx), count=1)
            hint = f"Did you mean edgeyolo {near[0]}?" if near else "edgeyolo --help lists the commands."
            raise UsageError(f"there is no command {name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_commands(self, ctx, formatter)


@click.command(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="edgeyolo")
@click.pass_context
def cli(context: click.Context) -> None:
    """Carry a trained YOLOv7 network to the device where it runs.

    \b
    edgeyolo import yolov7.pt
    edgeyolo export yolov7.safetensors --target cpu-onnx-fp32 -o yolov7-onnx
    edgeyolo detect yolov7-onnx photo.jpg
    edgeyolo val yolov7-onnx --data data.yaml

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 runtime or toolchain missing, 4 parity or accuracy gate failed,
    5 network unsupported on the target, 6 untrusted or damaged file, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def run() -> None:
    """Run the command line to its end, which is always SystemExit."""
    interrupt.install()
    output = Output()
    for stream in (sys.stdout, sys.stderr):
        tolerate(stream)
    try:
        Path.cwd()  # libraries end the process without a word where there is none
        if logging.lastResort is not None:  # what is logged where nobody set up logging goes to the terminal
            logging.lastResort.setFormatter(LogFormatter())
        _warn_of_variables()
        code = cli.main(args=[_expanded(word) for word in sys.argv[1:]], standalone_mode=False, obj=output)
        sys.stdout.flush()  # a full disk shows here, while it can still be said
        sys.exit(code if isinstance(code, int) else 0)
    except BrokenPipeError:  # the reader, `head` for one, has gone; that is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:
        failure = explain(error, output.command, interrupted=interrupt.received())
        if failure.defect and os.environ.get("EDGEYOLO_DEBUG"):
            raise
        _end(failure, output)


def _end(failure: Failure, output: Output) -> None:
    """Say on standard error why it ends, and end.

    With --json also as the one document on standard output, if none is there.
    """
    failure.say()
    if "--json" in sys.argv and not output.document:
        try:
            failure.print_json()
            sys.stdout.flush()
        except OSError:  # standard output takes nothing more; standard error has said it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(failure.code)


def _expanded(word: str) -> str:
    """A word with the home directory in place of `~`.

    In `~/x` and `--output=~/x`: shells expand only the first.
    """
    option, equals, value = word.partition("=")
    if equals and option.startswith("--") and value.startswith("~"):
        return f"{option}={os.path.expanduser(value)}"  # noqa: PTH111 - Path drops a trailing slash
    return os.path.expanduser(word)  # noqa: PTH111


def _warn_of_variables() -> None:
    """Warn of slips of the keyboard in EDGEYOLO_ variables.

    They are named once, here instead of by every Detector.
    """
    from edgeyolo.backend import variables

    for text in variables.complaints():
        note(f"warning: {text}")
    warnings.simplefilter("ignore", variables.UnknownVariableWarning)
