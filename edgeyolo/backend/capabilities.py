"""Tables of what targets take.

The form in which every backend states its table, beside its own code and with its sources.

`edgeyolo.export.check` holds a network against it before anything is built. A backend that states nothing is taken to
run whatever its compiler accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeyolo.backend.op_graph import Graph, Operation

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Finding:
    """A sentence about what does not fit, and what to do about it."""

    sentence: str
    hint: str = ""


@dataclass(frozen=True)
class Place:
    """Place where operations of one kind run.

    `where` is "" for none: the target cannot take them. `reason` says why they do not run on the accelerator,
    "" where they do. `operator` is the runtime's own name.
    """

    operator: str
    count: int
    where: str
    reason: str = ""


@dataclass(frozen=True)
class Memory:
    """Memory on the chip.

    A network whose activations, `value_bytes` each, exceed `size` bytes does not fit where it `refuses`;
    weights that find no room beside them cost time, as `otherwise` says.
    """

    size: int
    value_bytes: int
    refuses: bool
    otherwise: str
    hint: str = ""
    source: str = ""


@dataclass(frozen=True)
class Versions:
    """The runtime's versions that serve.

    `oldest` <= version < `below` (None: no end), with the reason for either.
    """

    runtime: str
    oldest: tuple[int, ...]
    below: tuple[int, ...] | None = None
    reason: str = ""

    def __str__(self) -> str:
        end = f", below {_text(self.below)}" if self.below else ""
        return f"{self.runtime} {_text(self.oldest)} or newer{end}"

    def misfit(self, version: tuple[int, ...]) -> str:
        """Reason why a version does not serve; "" where it does."""
        if version < self.oldest or (self.below and version >= self.below):
            return f"{self.runtime} {_text(version)}: it takes {self}{f' ({self.reason})' if self.reason else ''}"
        return ""


@dataclass(frozen=True)
class Suppression:
    """A target's way to decoding and suppression in its file (`--nms graph`).

    It counts where the target's profile does not refuse them.

    `where` they run, "" for the accelerator, with the `reason` where it is elsewhere or in another precision than the
    target's. `plugin`: by TensorRT's operator instead of ONNX's. `own`: by the runtime's own, which are these.
    """

    where: str = ""
    reason: str = ""
    plugin: bool = False
    own: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Limits of a target.

    Attributes:
        accelerator: where operations should run, such as "edge TPU".
        operators: ONNX operator -> the runtime's own name for it, for all that the accelerator runs; None: no table.
        refuse: why one operation is not taken though its kind is; None where it is.
        elsewhere: (place, reason) of an operation that runs elsewhere than on the accelerator, or in another precision
            than the target's; None where it runs there.
        around: operations that the runtime adds to every network.
        reasons: ONNX operator -> why the accelerator does not run it, and what to do.
        fallback: where operators outside the table run. strict: whether they make the network unfit all the same.
        cut: why all that follows such an operator runs there too; "" where it does not.
        max_batch, max_rank: the most images at a time, the most axes of a tensor.
        largest: the largest number the target's weights can hold.
        largest_activation: the largest that a tensor can take where the device computes in float16; None where it
            computes in a type of float32's range.
        opsets: ONNX opsets that the target's runtime reads, oldest and newest, and the source.
        no_precisions: precision -> why no target of this device has it.
        memory, versions: see there.
        weight_bytes: what the files of an artifact take for each weight, about.
        suppression: see there.
        remarks: what else there is to say of one network.
        notes: what else is known of the target.
        sources: name in brackets -> the document.
    """

    accelerator: str
    operators: Mapping[str, str] | None = None
    refuse: Callable[[Operation, Graph], Finding | None] = field(default=lambda operation, graph: None)
    elsewhere: Callable[[Operation, Graph], tuple[str, str] | None] = field(
        default=lambda operation, graph: None
    )
    around: Callable[[Graph], tuple[Place, ...]] = field(default=lambda graph: ())
    reasons: Mapping[str, Finding] = field(default_factory=lambda: MappingProxyType({}))
    fallback: str = "CPU"
    strict: bool = True
    cut: str = ""
    max_batch: int | None = None
    max_rank: int | None = None
    largest: float | None = None
    largest_activation: float | None = None
    opsets: tuple[int, int] | None = None
    no_precisions: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    memory: Memory | None = None
    versions: Versions | None = None
    weight_bytes: float = 4.0
    suppression: Suppression = Suppression()
    remarks: Callable[[Graph], tuple[str, ...]] = field(default=lambda graph: ())
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=lambda: _EMPTY)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
