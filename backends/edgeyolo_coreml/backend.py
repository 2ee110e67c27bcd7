"""The Core ML backend: packages are made on Linux and macOS, and run on macOS."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Port, Session
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.registry import require
from edgeyolo.errors import DamagedFileError
from edgeyolo_coreml import limits
from edgeyolo_coreml.toolkit import INSTALL, macos

PACKAGE = "model.mlpackage"
FILES = tuple(
    f"{PACKAGE}/{name}"
    for name in (
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
    )
)

# Measured (benchmarks/results) with the MIL interpreter, which rounds after every operation. fp16: 1.7e-3 and 0.06 AP
# points lost (trained yolov7-tiny; all of 1312 cells agree), at most 6.3e-3 (yolov7-e6, random weights: the same
# rounding takes TensorRT's graph 7.6e-3 away, which has the same budget). int8 weights: 1.1e-2 and 0.14 points, 8.3e-2
# where most filters have one channel (the built-in network). w6: 3.5e-2 and 0.16 points, there 0.18. Some two times the
# largest are left of these two.
PARITY = {"fp16": 1e-2, "int8": 0.15, "w6": 0.35}
LIMITS = {"fp16": limits.FP16, "int8": limits.INT8, "w6": limits.W6}


def _profile(precision: str, note: str) -> TargetProfile:
    target = Target("ane", "coreml", precision)
    return TargetProfile(
        target,
        note,
        PARITY[precision],
        dynamic_batch=True,
        inputs=("uint8",),
        refuses_nms="",
        files=FILES,
        limits=LIMITS[precision],
    )


class CoremlBackend:
    """Targets `ane-coreml-*`: float16 on the Apple Neural Engine.

    Images in, raw maps out.
    """

    name = "coreml"
    unforkable = "Core ML cannot be used in a fork of a process that has used it"
    package = "coremltools"
    parity_runtime = "the MIL interpreter"
    profiles = (
        _profile("fp16", "Apple Neural Engine, float16; iOS 15, macOS 12"),
        _profile("int8", "Apple Neural Engine, int8 weights; iOS 16, macOS 13"),
        _profile("w6", "Apple Neural Engine, 6-bit palettes; iOS 16, macOS 13"),
    )

    adopts: Mapping[str, Target] = {".mlpackage": Target("ane", "coreml", "fp16")}

    def can_compile(self) -> Availability:
        """Availability of coremltools with the native part that writes packages.

        It is looked up, not imported.
        """
        found = _installed()
        if found.ok and find_spec("torch") is None:
            return Availability(False, "the package torch is not installed", INSTALL)
        return found

    def can_run(self) -> Availability:
        """Availability of ML programs: a Mac that knows them, and coremltools."""
        if not macos():
            return Availability(
                False,
                f"Core ML is part of Apple's systems; this is {platform.system()}",
                "Copy the artifact to a Mac, or its .mlpackage into an Xcode project.",
            )
        if macos() < 12:
            return Availability(False, f"ML programs need macOS 12; this is macOS {macos()}", "Update macOS.")
        return _installed()

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.mlpackage`.

        Raises UnsupportedTargetError where the program holds what the neural engine does not run.
        """
        from edgeyolo_coreml.convert import convert
        from edgeyolo_coreml.detector import write_detector
        from edgeyolo_coreml.neural_engine import require_neural_engine
        from edgeyolo_coreml.package import read, write

        if source.detections:
            # Decoding and suppression are made for the CPU, in float32; the engine takes what lies before them.
            write_detector(source, source.detections, target.precision, into / PACKAGE)
        else:
            model = convert(source, target.precision)
            write(model.get_spec(), Path(model.weights_dir), into / PACKAGE)
            require_neural_engine(read(into / PACKAGE)[1], str(target))
        tools = {"coremltools": version("coremltools")}
        taken = replace(source.input, layout="NHWC", dtype="uint8")
        return Compiled(FILES, taken, source.detections or source.output, tools)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load the package with Core ML, which chooses its threads itself."""
        from edgeyolo_coreml.session import CoremlSession

        return CoremlSession(_package(artifact), artifact.manifest.input, artifact.manifest.output)

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load the package with the MIL interpreter, on any machine that can compile."""
        from edgeyolo_coreml.interpreter import InterpretedSession

        return InterpretedSession(_package(artifact), artifact.manifest.input, artifact.manifest.output)

    def ports(self, file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of a package, on any machine with coremltools."""
        from edgeyolo_coreml import foreign

        require(_installed(), f"looking into {file}")
        return foreign.ports(file)

    def parts(self, file: Path) -> Mapping[str, Path]:
        """Every file of the package."""
        from edgeyolo_coreml import foreign

        return foreign.parts(file)

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of `model.mlpackage`."""
        from edgeyolo_coreml import foreign

        return foreign.contract_ports(folder / PACKAGE, output)


def _installed() -> Availability:
    spec = find_spec("coremltools")
    if spec is None or spec.origin is None:
        return Availability(False, "the package coremltools is not installed", INSTALL)
    # Where there is no wheel for this Python or system, pip builds coremltools without what writes packages.
    if not any(Path(spec.origin).parent.glob("libmodelpackage.*")):
        return Availability(
            False,
            f"coremltools {version('coremltools')} has no native part on this Python ({platform.python_version()})",
            "Install it on Linux or macOS with a Python that it has wheels for.",
        )
    return Availability(True, version=version("coremltools"))


def _package(artifact: Artifact) -> Path:
    if PACKAGE + "/Manifest.json" not in artifact.manifest.files:
        raise DamagedFileError(f"{artifact.path}: the manifest lists no {PACKAGE}")
    return artifact.path / PACKAGE
