"""The torch backend.

The re-parameterized network in safetensors, run eagerly on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Port
from edgeyolo.backend.profile import TargetProfile
from edgeyolo_torch.cuda import packages
from edgeyolo_torch.limits import CPU
from edgeyolo_torch.session import TorchSession

MODEL = "model.safetensors"
FP32 = TargetProfile(
    target=Target("cpu", "torch", "fp32"),
    note="torch on the CPU: the reference, any image size",
    parity=1e-5,  # the same operators on the same weights: measured 0; threads may sum in another order
    dynamic_batch=True,
    dynamic_size=True,
    files=(MODEL,),
    limits=CPU,
)


class TorchBackend:
    """Targets `cpu-torch-*`."""

    name = "torch"
    package = "torch"
    profiles = (FP32,)
    forked_threads = 1  # a fork has lost OpenMP's threads, and more than one would be waited for

    def can_compile(self) -> Availability:
        """Needs what running needs."""
        return self.can_run()

    def can_run(self) -> Availability:
        """Availability of torch and safetensors, without importing them."""
        return packages()

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write the plain convolutions as `model.safetensors`.

        torch takes any batch and any image size.
        """
        return write(source, into, {"torch": packages().version})

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of the network that `model.safetensors` describes."""
        return written_ports(folder)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> TorchSession:
        """Load the network."""
        manifest = artifact.manifest
        return TorchSession(artifact.file(".safetensors"), manifest.input, manifest.output, threads)


def written_ports(folder: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the network that `model.safetensors` describes."""
    from edgeyolo.models.weights import read_info

    info = read_info(folder / MODEL)
    given = Port("images", (None, 3, None, None), "float32")
    channels = [len(level) * (5 + info.classes) for level in info.spec.anchors]
    names = [f"p{stride.bit_length() - 1}" for stride in info.spec.strides]
    maps = zip(names, channels, strict=True)
    return (given,), tuple(Port(name, (None, count, None, None), "float32") for name, count in maps)


def write(source: ExportSource, into: Path, tools: Mapping[str, str]) -> Compiled:
    """Write `model.safetensors` with numbers for class names.

    The manifest holds the real ones.
    """
    from edgeyolo.models.weights import save

    names = tuple(str(index) for index in range(source.output.classes))
    save(into / MODEL, source.network, names, {})
    free = replace(source.input, dynamic_batch=True, dynamic_size=True)
    return Compiled((MODEL,), free, source.output, tools)
