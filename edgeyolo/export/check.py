"""Check of a network against a target's limits.

It is done before anything is built and without the target's toolchain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.capabilities import Finding, Limits, Place
from edgeyolo.backend.op_graph import Graph, Operation
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.export.graph_ends.nms_placement import Tail, merged, tail_misfits, tail_places

if TYPE_CHECKING:
    from edgeyolo.export.source import NetworkSource


@dataclass(frozen=True)
class Check:
    """Findings on a network for a target.

    Attributes:
        target: the target.
        accelerator: where operations should run.
        input: what the network would be built for.
        places: where its operations run, by kind: the accelerator first, then what falls back.
        misfits: why the target cannot take it; empty where it can.
        notes: what costs time only, or must be seen to on the device.
        parameters: weights and biases. peak: values of the activations that are alive at the busiest operation.
        remark: on the size, where it is a guess or not that of the training.
        sources: name in brackets -> the document behind a sentence.
    """

    target: Target
    accelerator: str
    input: InputContract
    places: tuple[Place, ...]
    misfits: tuple[Finding, ...]
    notes: tuple[str, ...]
    parameters: int
    peak: int
    remark: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Return True if the target can take the network."""
        return not self.misfits

    @property
    def share(self) -> float:
        """The part of the operations that runs on the accelerator, 0..1."""
        taken = sum(place.count for place in self.places if place.where == self.accelerator)
        return taken / max(sum(place.count for place in self.places), 1)

    def to_json(self) -> dict[str, Any]:
        """The check as plain values."""
        return asdict(self) | {"target": str(self.target), "fits": self.fits, "share": self.share}


def check_graph(
    graph: Graph,
    profile: TargetProfile,
    contract: InputContract,
    *,
    opset: int | None = None,
    runtime: str | None = None,
    tail: Tail | None = None,
) -> Check:
    """Hold a network, and the suppression behind it, against a target's table.

    `runtime` is the version of the runtime on the device, if known.
    """
    limits = limits_of(profile)
    misfits = list(dict.fromkeys(_misfits(graph, profile, contract, opset, runtime)))
    misfits += tail_misfits(profile, tail)
    notes = [*limits.notes, *limits.remarks(graph)]
    if limits.versions and runtime is None:
        reason = f" ({limits.versions.reason})" if limits.versions.reason else ""
        notes.insert(0, f"needs {limits.versions} on the device{reason}")
    if limits.memory and (told := _memory_note(graph, limits)):
        notes.append(told)
    places = _places(graph, limits)
    # Where a compiler cuts a graph once, all that follows the first operator elsewhere runs there too.
    is_cut = limits.cut and any(place.where == limits.fallback for place in places)
    places += tuple(
        replace(each, where=limits.fallback, reason=limits.cut) if is_cut else each
        for each in limits.around(graph)
    )
    places = merged([*places, *tail_places(profile, limits, tail, contract, opset)])
    said = " ".join([*(each.sentence for each in misfits), *notes, *(each.reason for each in places)])
    return Check(
        target=profile.target,
        accelerator=limits.accelerator,
        input=contract,
        places=places,
        misfits=tuple(misfits),
        notes=tuple(notes),
        parameters=graph.parameters,
        peak=graph.peak_elements(),
        sources={name: source for name, source in limits.sources.items() if f"[{name}]" in said},
    )


def limits_of(profile: TargetProfile) -> Limits:
    """Limits of a target; unlimited where its backend states none."""
    return profile.limits or Limits(accelerator=profile.target.runtime)


def check_source(source: NetworkSource, profile: TargetProfile) -> Check:
    """Hold a network on its way to a backend against the target's table."""
    tail = Tail(source.output, source.detections) if source.detections else None
    return check_graph(source.graph, profile, source.input, opset=source.opset, tail=tail)


def require_fit(check: Check) -> None:
    """Raise UnsupportedTargetError unless the target can take the network.

    It lists every misfit; exit code 5.
    """
    if check.fits:
        return
    lines = "\n".join(f"  {finding.sentence}" for finding in check.misfits)
    hints = dict.fromkeys(finding.hint for finding in check.misfits if finding.hint)
    raise UnsupportedTargetError(
        f"{check.target} cannot take this network at {check.input.height}x{check.input.width}:\n{lines}",
        hint=" ".join(hints) or "`edgeyolo check WEIGHTS --target T` says what other targets say.",
    )


def _misfits(
    graph: Graph, profile: TargetProfile, contract: InputContract, opset: int | None, runtime: str | None
) -> Iterator[Finding]:
    limits = limits_of(profile)
    yield from _batch_misfits(profile, limits, contract)
    if opset is not None and limits.opsets and not limits.opsets[0] <= opset <= limits.opsets[1]:
        yield Finding(
            f"opset {opset}: it reads {limits.opsets[0]} to {limits.opsets[1]}", "Leave out --opset."
        )
    if limits.largest and graph.largest_weight > limits.largest:
        yield Finding(
            f"a weight of {graph.largest_weight:.3g}: {limits.largest:g} is the largest that float16 holds",
            "Export for an fp32 target, or train with weight decay.",
        )
    if runtime is not None and (reason := _version_misfit(limits, profile.target, runtime)):
        yield Finding(reason)
    for kind, group in _by_kind(graph).items():
        if limits.strict and limits.operators is not None and kind not in limits.operators:
            known = limits.reasons.get(kind, Finding("no operator of its table"))
            yield Finding(f"{kind} ({len(group)} times): {known.sentence}", known.hint)
            continue
        for operation in group:
            yield from _operation_misfits(operation, graph, limits)
    yield from _memory_misfits(graph, limits, contract)


def _batch_misfits(profile: TargetProfile, limits: Limits, contract: InputContract) -> Iterator[Finding]:
    if limits.max_batch and max(contract.batch, 2 if contract.dynamic_batch else 1) > limits.max_batch:
        asked = "a dynamic batch" if contract.dynamic_batch else f"batch {contract.batch}"
        yield Finding(
            f"it takes one image at a time, {asked} was asked for"
            if limits.max_batch == 1
            else f"it takes {limits.max_batch} images at most, {asked} was asked for",
            "Leave out --batch.",
        )
    elif contract.dynamic_batch and not profile.dynamic_batch:
        yield Finding("every size must be fixed, a dynamic batch was asked for", "Give --batch a number.")


def _memory_misfits(graph: Graph, limits: Limits, contract: InputContract) -> Iterator[Finding]:
    if limits.memory and limits.memory.refuses:
        need = graph.peak_elements() * limits.memory.value_bytes
        if need > limits.memory.size:
            yield Finding(
                f"activations need {_mib(need)} at once at {contract.height}x{contract.width}, the chip has "
                f"{_mib(limits.memory.size)} {limits.memory.source}".rstrip(),
                limits.memory.hint,
            )


def _operation_misfits(operation: Operation, graph: Graph, limits: Limits) -> Iterator[Finding]:
    if limits.max_rank and len(operation.shape) > limits.max_rank:
        yield Finding(
            f"{operation.kind} {operation.name}: rank {len(operation.shape)}, at most {limits.max_rank}"
        )
    if finding := limits.refuse(operation, graph):
        yield Finding(f"{operation.kind} {operation.name}: {finding.sentence}", finding.hint)


def _version_misfit(limits: Limits, target: Target, runtime: str) -> str:
    if not limits.versions:
        raise UsageError(f"{target}: no versions of its runtime are told apart", hint="Leave out --runtime.")
    numbers = re.match(r"\d+(\.\d+)*", runtime)
    if not numbers:
        raise UsageError(f"--runtime {runtime!r}: expected a version, such as 10.3")
    return limits.versions.misfit(tuple(int(part) for part in numbers.group().split(".")))


def _places(graph: Graph, limits: Limits) -> tuple[Place, ...]:
    """A row for each kind and place.

    The accelerator's, then the others, in the order of their first appearance.
    """
    rows: list[Place] = []
    is_cut = False
    for operation in graph.operations:
        place = _place(operation, graph, limits)
        if is_cut and place.where == limits.accelerator:
            place = replace(place, where=limits.fallback, reason=limits.cut)
        is_cut |= bool(limits.cut) and place.where == limits.fallback
        rows.append(place)
    return tuple(sorted(merged(rows), key=lambda place: place.where != limits.accelerator))


def _place(operation: Operation, graph: Graph, limits: Limits) -> Place:
    if limits.operators is None:
        return Place(operation.kind, 1, limits.accelerator)
    if operation.kind not in limits.operators:
        reason = limits.reasons.get(operation.kind, Finding("no operator of its table")).sentence
        return Place(operation.kind, 1, limits.fallback, reason)
    name = limits.operators[operation.kind]
    if refused := limits.refuse(operation, graph):
        return Place(name, 1, limits.fallback, refused.sentence)
    where, reason = limits.elsewhere(operation, graph) or (limits.accelerator, "")
    return Place(name, 1, where, reason)


def _memory_note(graph: Graph, limits: Limits) -> str:
    memory = limits.memory
    assert memory is not None
    activations = graph.peak_elements() * memory.value_bytes
    need = activations + graph.parameters * memory.value_bytes
    if need <= memory.size:
        return ""
    return (
        f"weights of {_mib(graph.parameters * memory.value_bytes)} beside {_mib(activations)} of activations, the chip "
        f"has {_mib(memory.size)}: {memory.otherwise}"
    )


def _by_kind(graph: Graph) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for operation in graph.operations:
        found.setdefault(operation.kind, []).append(operation)
    return found


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
