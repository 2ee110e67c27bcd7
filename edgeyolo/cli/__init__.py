"""The command line.

Each command is a thin file here or a third party's entry point `edgeyolo.commands`.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from importlib.metadata import entry_points

import click

from edgeyolo.cli import interrupt
from edgeyolo.errors import INTERRUPTED, EdgeYoloError
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

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(entry.name for entry in entry_points(group=GROUP))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"edgeyolo.cli.{cmd_name}_command")
            return module.command  # type: ignore[no-any-return]
        for entry in entry_points(group=GROUP, name=cmd_name):
            return entry.load()  # type: ignore[no-any-return]
        return None


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeyolo")
def cli() -> None:
    """Carry a trained YOLOv7 network to the device where it runs.

    \b
    edgeyolo import yolov7.pt                                     any .pt, read without running it
    edgeyolo export yolov7.safetensors --target cpu-onnx-fp32 -o yolov7-onnx
    edgeyolo detect yolov7-onnx photo.jpg
    edgeyolo val yolov7-onnx --data data.yaml

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 runtime or toolchain missing, 4 parity or accuracy gate failed,
    5 network unsupported on the target, 6 untrusted or damaged file, 130 interrupted.
    """


def main() -> None:
    """Run the command line and turn errors into messages and exit codes.

    The entry point of the program.
    """
    interrupt.install()
    try:
        _warn_of_variables()
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except EdgeYoloError as error:
        _fail(error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _interrupted()
    except BrokenPipeError:  # the reader, `head` for one, has gone; that is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if interrupt.received():  # a library made an error of its own out of Ctrl-C
            _interrupted()
        if os.environ.get("EDGEYOLO_DEBUG"):
            raise
        hint = "This is a defect in edgeyolo. EDGEYOLO_DEBUG=1 shows where; please report it."
        _fail(f"{type(error).__name__}: {error}", hint, 1)


def _warn_of_variables() -> None:
    """Warn of slips of the keyboard in EDGEYOLO_ variables.

    They are named once, here instead of by every Detector.
    """
    from edgeyolo.backend import variables

    for text in variables.complaints():
        click.echo(f"warning: {text}", err=True)
    warnings.simplefilter("ignore", variables.UnknownVariableWarning)


def _interrupted() -> None:
    click.echo("interrupted", err=True)
    sys.exit(INTERRUPTED)


def _fail(message: str, hint: str, code: int) -> None:
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(message, err=True)
    if hint:
        click.echo(hint, err=True)
    sys.exit(code)
