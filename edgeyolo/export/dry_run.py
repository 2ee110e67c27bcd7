"""Plan of an export, as far as it can be known without doing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.artifact import MANIFEST
from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.artifact.trained_size import Size, size_remark
from edgeyolo.backend import registry
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.export.check import Check, check_graph, check_source, limits_of, require_fit
from edgeyolo.export.exporter import prepared
from edgeyolo.export.graph_ends import graph_detections, require_edges
from edgeyolo.export.graph_ends.nms_placement import Tail
from edgeyolo.export.options import (
    ExportOptions,
    chosen_soc,
    input_contract,
    network_maps,
    require_calibration,
)
from edgeyolo.export.source import edge_contracts
from edgeyolo.support.files import refuse_occupied
from edgeyolo.support.install import install_hint

if TYPE_CHECKING:
    from edgeyolo.models.network_spec import Spec


@dataclass(frozen=True)
class Plan:
    """One export that was not done.

    `files` are what the artifact would hold beside golden vectors and the manifest, `megabytes` their size, about.
    `tools` are the versions that would make it. `calibrated` says whether images decide its numbers. `remark` is on the
    size, where it is not the one that the network was trained at.
    """

    target: str
    path: Path
    check: Check
    input: InputContract
    output: OutputContract
    files: tuple[str, ...]
    megabytes: float
    calibrated: bool
    opset: int | None
    tools: dict[str, str]
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "target": self.target,
            "path": str(self.path),
            "check": self.check.to_json(),
            "files": list(self.files),
            "megabytes": self.megabytes,
            "calibrated": self.calibrated,
            "opset": self.opset,
            "tools": self.tools,
            "remark": self.remark,
            "input": asdict(self.input),
            "outputs": {
                name: list(shape)
                for name, shape in zip(
                    self.output.names, self.output.shapes(self.input.batch, self.input.size), strict=True
                )
            },
        }


def plan_export(
    weights: str | Path, target: str, into: Path, options: ExportOptions,
    *, step: Callable[[str], None] = lambda _: None,
) -> Plan:  # fmt: skip
    """Refuse what `export` would refuse before it builds; plan the rest.

    It raises the same errors; nothing is written.

    What only building shows, a gate that is missed for one, is not known.
    """
    profile, backend = registry.find_target(target)
    require_edges(profile, options.nms, options.input)
    chosen_soc(profile, options.soc)
    refuse_occupied(into.resolve(), options.overwrite, MANIFEST)
    with prepared(weights, target, options, step=step) as source:
        step("checking")
        check = check_source(source, profile)
        require_fit(check)
        require_calibration(profile, options, source.learned)
        given, output = edge_contracts(source)
        # What makes a file need not be what runs it: TensorRT's packages are made with onnx.
        maker = str(getattr(backend, "compiler", getattr(backend, "package", backend.name)))
        tools = {
            "edgeyolo": version("edgeyolo"),
            "torch": version("torch"),
            maker: backend.can_compile().version,
        }
        return Plan(
            target=target,
            path=into,
            check=check,
            input=given,
            output=output,
            files=profile.files,
            megabytes=check.parameters * limits_of(profile).weight_bytes / 1e6,
            calibrated=profile.calibrated,
            opset=options.opset or profile.opset,
            tools={name: found for name, found in tools.items() if found},
            remark=size_remark(
                Path(weights).name,
                given.size,
                source.trained,
                asked=options.size is not None,
                model=source.model,
            ),
        )


def check_weights(
    weights: str | Path,
    targets: Sequence[str],
    options: ExportOptions,
    *,
    runtime: str | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> list[Check]:
    """Check weights against each target.

    `weights` is a file, or a network's name: then its weights are not needed.

    Needs torch, and none of the targets' toolchains.
    """
    profiles = [registry.find_target(target)[0] for target in targets]
    step("reading the network")
    network, spec, trained = _network(weights)
    contracts = [
        input_contract(spec, profile, options, trained) for profile in profiles
    ]  # equal, but for what they refuse
    step("checking")
    from edgeyolo.export.trace import trace

    graph, given = trace(network, contracts[0]), graph_detections(options.nms, network.classes)
    tail = Tail(network_maps(spec, network.classes), given) if given else None
    asked = options.size is not None
    remark = size_remark(Path(weights).name, contracts[0].size, trained, asked=asked, model=spec.name)
    checks = [
        check_graph(graph, profile, contract, opset=options.opset, runtime=runtime, tail=tail)
        for profile, contract in zip(profiles, contracts, strict=True)
    ]
    return [replace(check, remark=remark) for check in checks]


def _network(weights: str | Path) -> tuple[Any, Spec, Size | None]:
    """Re-parameterized network, its spec, and the size of its training.

    Of a network that is called by its name, the size is the paper's.
    """
    try:
        from edgeyolo.models import specs
        from edgeyolo.models.build import build
        from edgeyolo.models.importer import import_checkpoint
        from edgeyolo.models.reparameterize import reparameterize
    except ImportError as error:
        raise RuntimeMissingError(
            f"checking a network needs the package {error.name}, which is not installed",
            hint=install_hint("export"),
        ) from error
    if not Path(weights).exists() and str(weights) in specs.known():
        spec = specs.find(str(weights))
        return build(spec, form="plain", device="meta").eval(), spec, (spec.imgsz, spec.imgsz)
    loaded = import_checkpoint(weights)
    network = reparameterize(loaded.network).network
    return network, network.spec, loaded.size
