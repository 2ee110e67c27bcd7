"""Command `edgeyolo recipe`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeyolo.cli.console import json_option, note, print_json

HOSTS = ("triton", "deepstream", "frigate", "ovms", "trtexec", "docker", "web")


@click.command("recipe")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--for", "host", required=True, type=click.Choice(HOSTS), help="The program that will run it.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A folder to make.")
@click.option("--overwrite", is_flag=True, help="Replace a recipe that is there.")
@json_option
def command(artifact: Path, host: str, output: Path, overwrite: bool, as_json: bool) -> None:
    """Write what another host needs to run an artifact.

    The folder has the host's configuration, made from the manifest, the files that it loads, a README.md and a check.sh
    that compares the files and asks the host for the golden picture, or runs it. It appears whole or not at all. An
    artifact that the host cannot run is refused with exit code 5 and the targets that it can.

    \b
    edgeyolo recipe cells-onnx --for triton -o cells-triton
    edgeyolo recipe cells-trt --for deepstream -o cells-deepstream
    """
    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.recipe import write_recipe

    folder = write_recipe(Artifact.open(artifact), host, output, overwrite=overwrite)
    if as_json:
        print_json({"output": str(folder), "for": host})
    note(f"written to {folder}: README.md says how to go on, check.sh checks it")
