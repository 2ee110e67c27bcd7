"""The torch backend for NVIDIA GPUs: the same file as on the CPU, run in float16."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.devices import Device
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Port, Session
from edgeyolo_torch import cuda
from edgeyolo_torch.backend import FP32, write, written_ports
from edgeyolo_torch.limits import CUDA

# Rounding weights and activations of a trained yolov7-tiny to float16 moves its raw maps by up to 8.5e-3 of their
# largest value (see HALF_ARITHMETIC of edgeyolo_openvino, measured on the same network); a factor of three is left.
HALF_ARITHMETIC = 3e-2


class TorchCudaBackend:
    """Target `cuda-torch-fp16`.

    No engine to build, any batch and image size, wherever torch has CUDA.
    """

    name = "torch-cuda"
    package = "torch"
    parity_runtime = "torch on the CPU, rounding to float16 after every operator"
    variables = cuda.VARIABLES
    unforkable = "CUDA cannot be used in a fork of a process that has used it"
    profiles = (
        replace(
            FP32,
            target=Target("cuda", "torch", "fp16"),
            note="torch on an NVIDIA GPU, float16, channels last; nothing to build",
            parity=HALF_ARITHMETIC,
            limits=CUDA,
        ),
    )

    def __init__(self, index: int = 0) -> None:
        self._index = index

    def at(self, device: Device) -> TorchCudaBackend:
        """Sessions on the GPU of that number."""
        return TorchCudaBackend(device.index or 0)

    def can_compile(self) -> Availability:
        """Needs torch, no GPU."""
        return cuda.packages()

    def can_run(self) -> Availability:
        """Availability of CUDA and a GPU in torch.

        torch is imported only where NVIDIA's driver is.
        """
        return cuda.reachable(self._index)

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write the plain convolutions as `model.safetensors`, in float32.

        The GPU rounds them as it loads them.
        """
        return write(source, into, cuda.facts(self._index))

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of the network that `model.safetensors` describes."""
        return written_ports(folder)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load the network onto the GPU; `threads` has no effect."""
        from edgeyolo_torch.cuda_session import CudaSession

        manifest = artifact.manifest
        return CudaSession(
            artifact.file(".safetensors"),
            manifest.input,
            manifest.output,
            index=self._index,
            graph=cuda.wants_graph(),
        )

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load the network on the CPU, with float16's roundings."""
        from edgeyolo_torch.rounding import RoundedSession

        return RoundedSession(
            artifact.file(".safetensors"), artifact.manifest.input, artifact.manifest.output
        )
