"""Command `python -m edgeyolo_openvino.ncs`.

It makes the legacy environment and asks it about a network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError, UnsupportedTargetError
from edgeyolo_openvino.ncs import environment
from edgeyolo_openvino.ncs.session import query


@click.group()
def main() -> None:
    """The Neural Compute Stick's toolchain.

    OpenVINO 2021.4 in a Python 3.9 of its own.
    """


@main.command()
@click.option("--python", type=click.Path(exists=True, dir_okay=False), help="A Python 3.9 (default: found).")
def setup(python: str | None) -> None:
    """Make the environment in edgeyolo's cache.

    Exporting to ncs-openvino-fp16 then uses it.
    """
    click.echo(f"{environment.create(python)} has {', '.join(environment.REQUIREMENTS)}")


@main.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
def check(model: Path) -> None:
    """Ask the MYRIAD plugin about MODEL.

    An artifact, an .onnx (opset 13 at most) or an .xml of format 10.
    """
    python = environment.find()
    if python is None:
        raise RuntimeMissingError("there is no environment with OpenVINO 2021.4", hint=environment.SETUP)
    file = model
    if model.is_dir():
        file = model / "model.xml" if (model / "model.xml").is_file() else model / "model.onnx"
    answer = query(python, file)
    taken = answer.layers - len(answer.refused)
    click.echo(f"{file}: MYRIAD of OpenVINO {answer.version} takes {taken} of {answer.layers} layers")
    if answer.refused:
        raise UnsupportedTargetError("refused: " + ", ".join(answer.refused))


if __name__ == "__main__":
    try:
        main()
    except EdgeYoloError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
