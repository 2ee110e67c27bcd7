"""The contract between the core and a runtime: two nouns, `Backend` and `Session`.

A backend is a class reachable through the entry-point group `edgeyolo.backends`; it is created without arguments,
and creating it imports no runtime. `tests/backends/example_backend.py` is a worked example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from edgeyolo.artifact.contracts import GraphDetections, InputContract, OutputContract, Quantization, RawMaps
from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.artifact.target import Target
from edgeyolo.backend.profile import TargetProfile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.backend.devices import Device
    from edgeyolo.backend.quantizer_options import QuantizerOptions

Hint = Literal["latency", "throughput"]
"""What a session is made for: one batch as soon as can be, or as many as can be of those that are in flight."""


@dataclass(frozen=True)
class Availability:
    """Whether something can be used here; where not, why, and what to install."""

    ok: bool
    reason: str = ""
    hint: str = ""
    version: str = ""


@dataclass(frozen=True)
class Compiled:
    """What `Backend.compile` wrote: file names relative to `into`, and the contracts the files keep.

    A backend that changes the layout or the input type says so by returning other contracts than it was given.
    """

    files: tuple[str, ...]
    input: InputContract
    output: OutputContract
    tools: Mapping[str, str] = field(default_factory=dict)  # package -> version


class CalibrationSource(Protocol):
    """Images that INT8 ranges are taken from, prepared exactly as at run time.

    `sha256` identifies the images and their order, `count` is their number, `described` says in words what they are.
    `ranges` is a file of what was measured on them before, for quantizers of our own; None has them measured. `floats`
    are layers that stay in float, by the names of the tensors that they give; usually none.
    """

    @property
    def sha256(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def described(self) -> str: ...

    @property
    def ranges(self) -> Path | None: ...

    @property
    def floats(self) -> tuple[str, ...]: ...

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        """The images as input arrays of the contract, `contract.batch` at a time; every call starts again."""
        ...

    def pictures(self, count: int) -> list[NDArray[np.uint8]]:
        """The first `count` images as they are, BGR of any size, to compare on; none where there are only ranges."""
        ...


class Judge(Protocol):
    """AP of a session on labelled images, for a quantizer that keeps to what may be lost."""

    @property
    def allowed(self) -> float:
        """AP points that may be lost."""
        ...

    @property
    def output(self) -> RawMaps:
        """Raw maps that a session given to it returns."""
        ...

    def image(self, index: int) -> Path:
        """The file of one labelled image."""
        ...

    def __len__(self) -> int:
        """The number of labelled images."""
        ...

    def __call__(self, session: Session, contract: InputContract, images: Sequence[int]) -> float:
        """COCO's AP (a fraction of 1) on the images with these indices; 0 where they show nothing."""
        ...


class ExportSource(Protocol):
    """A re-parameterized network on its way to a backend."""

    network: Any  # a torch.nn.Module of plain convolutions: images -> tuple of raw maps
    input: InputContract  # of the network itself: float32 RGB in NCHW
    output: RawMaps  # likewise
    class_names: tuple[str, ...]
    detections: GraphDetections | None  # what the file shall give in place of maps; None: the maps
    pixels: bool  # the file shall take `input.of_pixels()`; False leaves it to the backend
    calibration: CalibrationSource | None  # given to targets whose profile says `calibrated`
    learned: LearnedRanges | None  # of training; given to targets whose profile says `take_ranges`
    quantizer: QuantizerOptions  # what the user asks of the runtime's own quantizer
    judge: Judge | None  # AP, for a quantizer that shall keep to what may be lost

    def onnx(self, *, opset: int) -> Path:
        """The network as a simplified ONNX file (made once per opset); the file must not be changed.

        `opset` is the backend's own; where the user asked for another that the target's limits allow, it is that.
        """
        ...


@runtime_checkable
class Session(Protocol):
    """A loaded artifact. `run` may be called from several threads."""

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map an input array (InputContract's shape and dtype) to the OutputContract's arrays by name."""
        ...

    def close(self) -> None:
        """Release the runtime's memory; calling it again does nothing, running afterwards is an error."""
        ...


@runtime_checkable
class AsynchronousSession(Session, Protocol):
    """A session that works on several batches at once."""

    def submit(self, batch: NDArray[Any]) -> Future[dict[str, NDArray[np.float32]]]:
        """Start on a batch and return; the future gives what `run` gives. The batch's buffer may be refilled at once.

        Waits while the device has all that it can work on."""
        ...


@runtime_checkable
class Backend(Protocol):
    """One hardware runtime.

    It may have attributes more: `package`, the distribution of its runtime as `Compiled.tools` calls it; `compiler`,
    that of what makes its files, where it is another; `variables`, the environment variables of its own and what each
    says; `unforkable`, why a fork cannot use a runtime that its parent has used; `forked_threads`, how many threads it
    can have there; `next_step(artifact)`, a sentence on what is to be done with a new artifact before it runs.
    """

    name: str
    profiles: tuple[TargetProfile, ...]

    def can_compile(self) -> Availability:
        """Whether this machine can make artifacts for the backend's targets."""
        ...

    def can_run(self) -> Availability:
        """Whether this machine can run them."""
        ...

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write the runtime's own files for `target` into the existing, empty directory `into`."""
        ...

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load a verified artifact. `threads`: CPU threads to use, None for the runtime's own default."""
        ...


@runtime_checkable
class ParityBackend(Backend, Protocol):
    """A backend that can check what it compiled on machines that cannot run it: an interpreter, or the same graph
    in another runtime. `parity_runtime` says which, for the manifest."""

    parity_runtime: str

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load the artifact, or its portable form, for comparison with torch only."""
        ...


@dataclass(frozen=True)
class Port:
    """An input or output of a file: its name, its shape (None where it is open), its element type and, of integers that
    stand for real values, their scale and zero point."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None


@runtime_checkable
class DescribingBackend(Backend, Protocol):
    """A backend whose files say themselves what they take and give. The export holds the manifest against it."""

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of the file that `compile` wrote into `folder`, by the names of the contracts."""
        ...


@runtime_checkable
class AdoptingBackend(Backend, Protocol):
    """A backend that also runs files which other tools made. `adopts` maps the suffixes that it knows to the target
    that such a file is for."""

    adopts: Mapping[str, Target]

    def ports(self, file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs, as the file names them. Raises DamagedFileError where it is not such a file."""
        ...

    def parts(self, file: Path) -> Mapping[str, Path]:
        """The file and what belongs to it, by the names (relative, POSIX) that `open` looks for in an artifact."""
        ...


@runtime_checkable
class PlaceableBackend(Backend, Protocol):
    """A backend whose machine may have several of its devices."""

    def at(self, device: Device) -> Backend:
        """The same backend for the one device `device`: `can_run` speaks of it, sessions run on it."""
        ...


@runtime_checkable
class TunableBackend(Backend, Protocol):
    """A backend that can make its sessions for latency or for throughput."""

    def tuned(self, hint: Hint) -> Backend:
        """The same backend, with sessions made for that."""
        ...


def edge_contracts(source: ExportSource) -> tuple[InputContract, OutputContract]:
    """What a file for `source` takes and gives, where the backend follows all that was asked for."""
    return source.input.of_pixels() if source.pixels else source.input, source.detections or source.output
