"""The backend of the Neural Compute Stick.

Support ended with OpenVINO 2022.3 LTS. Its hosts read ONNX up to opset 13 and format 10 of OpenVINO's own; what
today's OpenVINO writes (format 11) they do not, and graphs that decode boxes they misread. So an artifact holds
`model.onnx` (raw maps, one image, static, opset 13) and, where OpenVINO 2021.4 is at hand (`environment`),
`model.xml` + `model.bin` in format 10 with float16 weights, every layer checked against the MYRIAD plugin.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Port, Session
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_openvino import backend, ir, limits, runtime, settings
from edgeyolo_openvino.ncs import environment, half
from edgeyolo_openvino.ncs.session import LegacySession, convert

OPSET = 13
ONNX = "model.onnx"


class OpenvinoNcsBackend:
    """Target `ncs-openvino-fp16`."""

    name = "openvino-ncs"
    compiler = "openvino"
    unforkable = "the stick belongs to the process that opened it"
    profiles = (
        TargetProfile(
            target=Target("ncs", "openvino", "fp16"),
            note="Neural Compute Stick (MYRIAD), float16; runs on hosts with OpenVINO 2022.3 LTS",
            parity=backend.HALF_WEIGHTS,  # format 10 has the same weights, float16; the ONNX file is float32: 1.7e-6
            refuses_nms="graphs that decode boxes are misread there, and nothing tells",
            files=(ONNX,),
            opset=OPSET,
            limits=limits.MYRIAD,
        ),
    )

    @property
    def parity_runtime(self) -> str:
        """Runtime of the parity gate.

        OpenVINO 2021.4 on the CPU with the stick's own file, or today's with the same ONNX.
        """
        if environment.find() is None:
            return "OpenVINO's CPU plugin with model.onnx"
        return "the CPU plugin of OpenVINO 2021.4 with model.xml"

    def can_compile(self) -> Availability:
        """Availability of an OpenVINO to compare with torch; writing needs none."""
        return runtime.installed()

    def can_run(self) -> Availability:
        """Availability of the stick: a host for it, with the stick plugged in."""
        return runtime.reachable(settings.chosen_device("MYRIAD"))

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.onnx`, and OpenVINO's files where 2021.4 is at hand.

        They are `model.xml` and `model.bin`.

        Raises UnsupportedTargetError for more than one image at a time and for layers that MYRIAD refuses.
        """
        if source.input.batch != 1:
            raise UnsupportedTargetError(
                f"{target}: a batch of {source.input.batch}; the stick takes one image at a time",
                hint="Leave --batch at 1.",
            )
        shutil.copyfile(source.onnx(opset=OPSET), into / ONNX)
        tools = {"openvino": runtime.installed().version}
        python = environment.find()
        if python is None:
            tools["openvino (legacy)"] = "absent: model.onnx only, not checked against MYRIAD"
            return Compiled((ONNX,), source.input, source.output, tools)
        with tempfile.TemporaryDirectory(prefix="edgeyolo-ncs-") as scratch:
            typed = Path(scratch) / "half.onnx"
            typed.write_bytes(half.half_precision(into / ONNX))
            converted = convert(python, typed, into / ir.FILES[0])
        if converted.refused:
            raise UnsupportedTargetError(
                f"{target}: the MYRIAD plugin refuses {len(converted.refused)} of {converted.layers} layers: "
                + ", ".join(converted.refused[:10]),
                hint="Choose a network of plain convolutions; `edgeyolo models` lists them.",
            )
        tools["openvino (legacy)"] = f"{converted.version}; MYRIAD takes all {converted.layers} layers"
        return Compiled((ONNX, *ir.FILES), source.input, source.output, tools)

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of `model.onnx`."""
        from edgeyolo_openvino import foreign

        return foreign.ports(folder / ONNX, output.names)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load the artifact on the stick: format 10 where it has it, else the ONNX file."""
        wanted = settings.from_environment(artifact.manifest.target, "MYRIAD", threads)
        suffix = ".xml" if ir.FILES[0] in artifact.manifest.files else ".onnx"
        return backend.open_file(artifact, artifact.file(suffix), wanted)

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load the artifact as `parity_runtime` says."""
        manifest = artifact.manifest
        python = environment.find()
        if python is not None and ir.FILES[0] in manifest.files:
            return LegacySession(python, artifact.file(".xml"), manifest.input, manifest.output)
        stand_in = settings.Settings("CPU", manifest.target, precision="f32")
        return backend.open_file(artifact, artifact.file(".onnx"), stand_in)
