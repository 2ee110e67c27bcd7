"""Command `edgeyolo build`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table, progress

if TYPE_CHECKING:
    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo_tensorrt.engine.builder import Engine
    from edgeyolo_tensorrt.options import DeviceOptions


@click.command("build")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--device", type=click.IntRange(0), help="The GPU's number.  [default: 0]")
@click.option("--dla", type=click.IntRange(0), help="Put what it can onto this deep-learning accelerator.")
@click.option("--workspace", type=click.IntRange(1), metavar="MIB", help="Scratch memory for the builder.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Copy the engine to this file."
)
@click.option("--force", is_flag=True, help="Build again even where the engine is there.")
@click.option(
    "--verify/--no-verify",
    "check",
    default=True,
    help="Run the artifact's golden picture through the engine.",
)
@json_option
def build(  # noqa: PLR0917 - click passes every option by name
    artifact: Path, device: int | None, dla: int | None, workspace: int | None, output: Path | None, force: bool,
    check: bool, as_json: bool,
) -> None:  # fmt: skip
    """Build the TensorRT engine of an artifact on the machine that will run it.

    Takes minutes, once: the engine is kept for this network, GPU and TensorRT version, and Detector finds it there.
    The environment variables EDGEYOLO_TENSORRT_DEVICE, _DLA and _WORKSPACE stand for the options, here and in every
    other command.

    \b
    edgeyolo build yolov7-tiny-jetson
    edgeyolo build yolov7-tiny-jetson --dla 0 -o yolov7-tiny.engine
    """
    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.runtime.verify import verify
    from edgeyolo_tensorrt.engine.builder import build_engine

    opened = Artifact.open(artifact)
    _require_package(opened)
    options = _options(DEVICE=device, DLA=dla, WORKSPACE=workspace)
    with progress("building") as bar:
        engine = build_engine(opened, options, force=force, progress=lambda _, done, total: bar(done, total))
    deviation = verify(artifact).deviation if check else None
    if output:
        _copy(engine, output)
    _report(engine, output or engine.path, deviation, as_json)
    if dla is not None:
        note(f"To run this engine, set EDGEYOLO_TENSORRT_DLA={dla}.")


def _require_package(artifact: Artifact) -> None:
    from edgeyolo.errors import UsageError
    from edgeyolo_tensorrt.backend import TensorrtBackend

    if artifact.manifest.backend != TensorrtBackend.name:
        raise UsageError(
            f"{artifact.path} is for {artifact.manifest.target}, which needs no building",
            hint="Building is for the trt targets: edgeyolo export WEIGHTS --target jetson-trt-fp16 -o DIR",
        )


def _options(**given: int | None) -> DeviceOptions:
    """Device options from the command line and the environment.

    Arguments of the command line take the place of the environment, for all that follows in this process.
    """
    from edgeyolo_tensorrt.options import PREFIX, DeviceOptions

    os.environ.update({PREFIX + name: str(value) for name, value in given.items() if value is not None})
    return DeviceOptions.from_environment()


def _copy(engine: Engine, output: Path) -> None:
    from edgeyolo.support.files import atomic_file

    with atomic_file(output) as draft:
        shutil.copyfile(engine.path, draft)


def _report(engine: Engine, path: Path, deviation: float | None, as_json: bool) -> None:
    record = engine.record
    facts = {
        "engine": str(path),
        "bytes": path.stat().st_size,
        "reused": engine.reused,
        "seconds": record.seconds,
        "tensorrt": record.tensorrt,
        "gpu": record.gpu,
        "compute_capability": record.compute_capability,
        "deviation": deviation,
    }
    if as_json:
        print_json(facts)
        return
    built = "was there" if engine.reused else f"{record.seconds:.0f} s"
    golden = "not compared" if deviation is None else f"{deviation:.1e}"
    row = (str(path), f"{path.stat().st_size / 1e6:.1f} MB", built, record.tensorrt, record.gpu, golden)
    print_table(("engine", "size", "built in", "TensorRT", "GPU", "deviation from golden"), [row])
