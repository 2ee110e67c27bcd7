"""The contract between the core and a runtime: two nouns, `Backend` and `Session`.

A backend is a class reachable through the entry-point group `edgeyolo.backends`; it is created without arguments,
and creating it imports no runtime. `examples/edgeyolo-opencv` is a worked example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:  # a Detector loads this, and none of what exports take
    from concurrent.futures import Future
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.artifact.contracts import (
        GraphDetections,
        InputContract,
        OutputContract,
        Quantization,
        RawMaps,
    )
    from edgeyolo.artifact.learned_ranges import LearnedRanges
    from edgeyolo.artifact.target import Target
    from edgeyolo.backend.devices import Device
    from edgeyolo.backend.profile import TargetProfile
    from edgeyolo.backend.quantizer_options import QuantizerOptions

Hint = Literal["latency", "throughput", "shared"]
"""Aim of a session: one batch as soon as can be, as many as can be of those in flight, or the first of it beside
other work on the same processor."""


@dataclass(frozen=True)
class Availability:
    """Availability of a runtime or a toolchain on this machine.

    Attributes:
        ok: it can be used.
        reason: why not, as a sentence; "" where it can.
        hint: what to install or to type next.
        version: of the runtime, where it is known.
    """

    ok: bool
    reason: str = ""
    hint: str = ""
    version: str = ""


@dataclass(frozen=True)
class Compiled:
    """Files and contracts that `Backend.compile` wrote.

    A backend that changes the layout or the input type says so by returning other contracts than it was given.

    Attributes:
        files: names relative to `into`.
        input: contract of the array that the files take.
        output: contract of the arrays that they give.
        tools: package -> version that they were made with.
        chip: facts of the one chip that they were compiled for; empty where they are for any.
    """

    files: tuple[str, ...]
    input: InputContract
    output: OutputContract
    tools: Mapping[str, str] = field(default_factory=dict)  # package -> version
    chip: Mapping[str, str] = field(default_factory=dict)


class CalibrationSource(Protocol):
    """Images that INT8 ranges are taken from, prepared exactly as at run time."""

    @property
    def sha256(self) -> str:
        """Hash of the images and their order, in hexadecimal digits."""
        ...

    @property
    def count(self) -> int:
        """Number of images."""
        ...

    @property
    def described(self) -> str:
        """Description of the images in words."""
        ...

    @property
    def ranges(self) -> Path | None:
        """File of ranges measured on the images before, for quantizers of our own.

        None has them measured.
        """
        ...

    @property
    def floats(self) -> tuple[str, ...]:
        """Layers that stay in float, by the names of their output tensors; usually none."""
        ...

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        """Yield the images as input arrays of the contract; every call starts again.

        Args:
            contract: shape, layout, dtype and colour order of the arrays; `contract.batch` images each.

        Returns:
            Arrays of `contract.shape()` and `contract.dtype`; float ones are in 0..1.

        Raises:
            UsageError: there are only ranges, no images.
        """
        ...

    def pictures(self, count: int) -> list[NDArray[np.uint8]]:
        """First `count` images as they are, to compare on.

        Returns:
            (h, w, 3) uint8 BGR arrays of any sizes; an empty list where there are only ranges.
        """
        ...


class Judge(Protocol):
    """AP of a session on labelled images.

    It is for a quantizer that keeps to what may be lost.
    """

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
        """COCO's AP (a fraction of 1) on the images with these indices.

        0 where they show nothing.
        """
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
    soc: str  # one of the profile's `socs`, "" where it has none
    judge: Judge | None  # AP, for a quantizer that shall keep to what may be lost

    def onnx(self, *, opset: int) -> Path:
        """The network as a simplified ONNX file, made once per opset.

        Args:
            opset: the backend's own. Where the user asked for another that the target's limits allow, it is that.

        Returns:
            The file, which must not be changed. It takes `input` and gives `output`: float32, raw maps.
        """
        ...


@runtime_checkable
class Session(Protocol):
    """A loaded artifact; `run` may be called from several threads."""

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Run the network on one input array.

        Args:
            batch: an array of the InputContract's shape, layout and dtype, such as (n, 3, height, width) float32 RGB
                in 0..1 or (n, height, width, 3) uint8 BGR.

        Returns:
            The OutputContract's arrays by name, all float32, in memory that later calls leave alone.

        Raises:
            UsageError: `batch` is not what the contract describes (`InputContract.check`).
            EdgeYoloError: the runtime failed; its message is in the error's.
        """
        ...

    def close(self) -> None:
        """Release the runtime's memory.

        Calling it again does nothing, running afterwards is an error.
        """
        ...


@runtime_checkable
class AsynchronousSession(Session, Protocol):
    """A session that works on several batches at once."""

    def submit(self, batch: NDArray[Any]) -> Future[dict[str, NDArray[np.float32]]]:
        """Start on a batch and return before it is done.

        It waits while the device has all that it can work on.

        Args:
            batch: as for `run`. Its buffer may be refilled as soon as this returns.

        Returns:
            A future of what `run` returns; what fails is raised by its `result()`.
        """
        ...


@runtime_checkable
class IntegerSession(Session, Protocol):
    """A session that can leave the raw maps of a quantized file in integers."""

    def run_integers(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the network on one input array, as `run` does.

        Returns:
            The arrays of `run`; raw maps that are integers in the file as they are there. What they stand for is in
            `RawMaps.quantization`, to the last bit: `Quantization.real` makes of them what `run` returns.
        """
        ...


@runtime_checkable
class Backend(Protocol):
    """One hardware runtime.

    It may have attributes more: `package`, the distribution of its runtime as `Compiled.tools` calls it; `compiler`,
    that of what makes its files, where it is another; `variables`, the environment variables of its own and what each
    says; `unforkable`, why a fork cannot use a runtime that its parent has used; `forked_threads`, how many threads it
    can have there; `next_step(artifact)`, a sentence on what is to be done with a new artifact before it runs.

    Attributes:
        name: of the backend, as manifests record it.
        profiles: of its targets: precision, budgets, preferences.
    """

    name: str
    profiles: tuple[TargetProfile, ...]

    def can_compile(self) -> Availability:
        """Availability of compilation for the backend's targets on this machine.

        Packages are looked up, not imported.
        """
        ...

    def can_run(self) -> Availability:
        """Availability of the runtime on this machine."""
        ...

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write the runtime's own files for `target` into `into`.

        Args:
            source: a re-parameterized network: float32, as a torch module and as ONNX.
            target: one of the backend's profiles.
            into: an existing, empty directory.

        Returns:
            Names of the files and the contracts that they keep.

        Raises:
            UnsupportedTargetError: the target cannot take the network.
            UsageError: something that the target needs, such as calibration images, is missing.
            RuntimeMissingError: a package of the toolchain is not installed.
        """
        ...

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load a verified artifact.

        Args:
            artifact: one of the backend's own targets, its files checked against their SHA-256.
            threads: CPU threads to use, None for the runtime's own default.

        Raises:
            RuntimeMissingError: the runtime, or its device, is not there.
            DamagedFileError: the runtime cannot load the files.
        """
        ...


@runtime_checkable
class ParityBackend(Backend, Protocol):
    """A backend that can check what it compiled on machines that cannot run it.

    An interpreter, or the same graph in another runtime. `parity_runtime` says which, for the manifest.
    """

    parity_runtime: str

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load the artifact, or its portable form, for comparison with torch only."""
        ...


@dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Its name, its shape (None where it is open), its element type and, of integers that stand for real values, their
    scale and zero point.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None


@runtime_checkable
class DescribingBackend(Backend, Protocol):
    """A backend whose files say themselves what they take and give.

    The export holds the manifest against it.
    """

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of the file in `folder`, by the contracts' names.

        `compile` wrote it.
        """
        ...


@runtime_checkable
class AdoptingBackend(Backend, Protocol):
    """A backend that also runs files which other tools made.

    `adopts` maps the suffixes that it knows to the target that such a file is for.
    """

    adopts: Mapping[str, Target]

    def ports(self, file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs, as the file names them.

        Raises DamagedFileError where it is not such a file.
        """
        ...

    def parts(self, file: Path) -> Mapping[str, Path]:
        """A model file and what belongs to it, by name.

        The names (relative, POSIX) are those that `open` looks for in an artifact.
        """
        ...


@runtime_checkable
class PlaceableBackend(Backend, Protocol):
    """A backend whose machine may have several of its devices."""

    def at(self, device: Device) -> Backend:
        """The same backend for the one device `device`.

        `can_run` speaks of it, sessions run on it.
        """
        ...


@runtime_checkable
class TunableBackend(Backend, Protocol):
    """A backend with sessions for latency, for throughput, or to be shared."""

    def tuned(self, hint: Hint) -> Backend:
        """The same backend, with sessions made for that."""
        ...
