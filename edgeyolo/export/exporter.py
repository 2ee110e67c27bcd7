"""The chain from weights to artifact.

`export` is the whole product; each step is a function beside it or a module.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.contracts import InputContract
from edgeyolo.artifact.manifest import Accuracy, Manifest, Parity
from edgeyolo.artifact.trained_size import TRAINED
from edgeyolo.backend import registry
from edgeyolo.backend.interface import Backend, Compiled, DescribingBackend
from edgeyolo.backend.op_graph import Graph
from edgeyolo.backend.ports import port_faults
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import GateError, RuntimeMissingError
from edgeyolo.export.ap_judge import judge_for
from edgeyolo.export.check import check_source, limits_of, require_fit
from edgeyolo.export.graph_ends import graph_detections, require_edges, takes_pixels
from edgeyolo.export.judged import LEAST_DETECTIONS, missing_judge, require_judged
from edgeyolo.export.layer_report import explain
from edgeyolo.export.options import (
    COMPARED,
    COMPARED_AT_MOST,
    COMPARED_EMULATED,
    ExportOptions,
    chosen_soc,
    comparison_pictures,
    input_contract,
    learned_for,
    network_maps,
    record,
    require_calibration,
)
from edgeyolo.export.parity_gate import batches, measure_parity, raw_maps, reference_maps, require_parity
from edgeyolo.export.refined import refined
from edgeyolo.export.remembering_session import RememberingSession
from edgeyolo.export.shared import Shared
from edgeyolo.runtime.golden import write_golden
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.support.files import atomic_directory
from edgeyolo.support.install import install_hint
from edgeyolo.support.memory import release_memory

if TYPE_CHECKING:
    from edgeyolo.export.source import NetworkSource
    from edgeyolo.models.importer import Imported

REPARAMETERIZED_TOLERANCE = 1e-4  # relative; folding is exact up to float32 rounding


def export(
    weights: str | Path, target: str, into: str | Path, options: ExportOptions = ExportOptions(),
    *, step: Callable[[str], None] = lambda _: None, shared: Shared | None = None,
) -> Artifact:  # fmt: skip
    """Turn a weights file into a verified artifact.

    Args:
        weights: a YOLOv7 checkpoint (.pt) or a weights file of ours (.safetensors); nothing in it is executed.
        target: `device-runtime-precision`, such as "cpu-onnx-fp32".
        into: the artifact's directory. It appears in one step when everything has passed; one that is there already
            is replaced only if `options.overwrite`.
        options: sizes in pixels, batch, calibration, thresholds; see ExportOptions.
        step: called with a few words before everything that takes a while.
        shared: given to several exports of one file, it spares them each other's work.

    Returns:
        The artifact, read back from disk and checked.

    Raises:
        UsageError, UntrustedFileError, DamagedFileError: the weights or the options do not fit.
        RuntimeMissingError: a package that the target's toolchain needs is not installed.
        UnsupportedTargetError: the target cannot take the network, as far as is known before it is built or after.
        GateError: re-parameterization or the artifact deviates from the trained network; nothing is written.
    """
    profile, backend = _toolchain(target)
    require_edges(profile, options.nms, options.input)
    chosen_soc(profile, options.soc)
    shared = shared or Shared()
    loaded = shared.network(weights, lambda: _folded(weights, step))
    place = atomic_directory(Path(into), overwrite=options.overwrite, marker=MANIFEST)
    with place as folder, _workspace() as scratch:
        source = _prepare(loaded, profile, options, scratch, shared.traces)
        require_fit(check_source(source, profile))  # no images help a network that the target cannot take
        require_calibration(profile, options, source.learned)
        _require_range(source, profile, options)
        given, changes = refined(source, profile.target, step=step) if options.refine else (source, None)
        if options.ap_budget is not None:
            source.calibration = given.calibration = registry.keep_within_budget(
                given, profile.target, options.data, options.ap_budget, step=step
            )
        step(f"compiling for {target}")
        compiled = backend.compile(given, profile.target, folder)
        _require_ports(backend, compiled, folder, target)
        release_memory()
        draft = Artifact.seal(folder, _manifest(loaded, profile, backend, compiled, source))
        step("comparing with torch")
        parity = _verify(draft, source, profile, options, step=step, shared=shared)
        step("measuring AP" if options.data else "sealing")
        accuracy = _judge(draft, source, options)
        reason = missing_judge(draft.manifest, parity, accuracy, profile)
        require_judged(reason, target, unjudged=options.unjudged)
        made = replace(draft.manifest, files={}, parity=parity, accuracy=accuracy, unjudged=bool(reason))
        if changes and made.calibration:
            made = replace(made, calibration={**made.calibration, "refined": changes})
        Artifact.seal(folder, made)
    return Artifact.open(into)


@contextmanager
def prepared(
    weights: str | Path, target: str, options: ExportOptions, *, step: Callable[[str], None] = lambda _: None
) -> Iterator[NetworkSource]:
    """Yield a backend's input for a target.

    It is for tools that look at a network before it is compiled.
    """
    profile, _ = _toolchain(target)
    loaded = _folded(weights, step)
    with _workspace() as scratch:
        yield _prepare(loaded, profile, options, scratch, {})


def _toolchain(target: str) -> tuple[TargetProfile, Backend]:
    """Find the backend and say what is missing before any work is done."""
    profile, backend = registry.find_target(target)
    registry.require(backend.can_compile(), f"cannot make {target} artifacts here")
    try:
        import edgeyolo.export.source
        import edgeyolo.models.importer  # noqa: F401
    except ImportError as error:
        raise RuntimeMissingError(
            f"exporting needs the package {error.name}, which is not installed",
            hint=install_hint("export"),
        ) from error
    return profile, backend


def _require_range(source: NetworkSource, profile: TargetProfile, options: ExportOptions) -> None:
    if limits_of(profile).largest_activation is None:
        return  # no picture has to be drawn or read
    from edgeyolo.export.half_range import require_range

    require_range(source, profile, *comparison_pictures(options))


def _require_ports(backend: Backend, compiled: Compiled, folder: Path, target: str) -> None:
    """Raise GateError where contracts and the ports of the file differ."""
    if not isinstance(backend, DescribingBackend):
        return
    ports = backend.written_ports(folder, compiled.output)
    if faults := port_faults(compiled.input, compiled.output, *ports):
        raise GateError(
            f"{target}: the file is not what its manifest would say: {'; '.join(faults)}",
            hint="Nothing was written. The toolchain made something else; `edgeyolo doctor` shows the versions in use.",
        )


def _folded(weights: str | Path, step: Callable[[str], None]) -> Imported:
    """Read, re-parameterize, and prove that nothing changed.

    The training form is not kept in memory.
    """
    from edgeyolo.models.importer import import_checkpoint
    from edgeyolo.models.reparameterize import reparameterize

    step("reading the weights")
    loaded = import_checkpoint(weights)
    step("re-parameterizing")
    deploy = reparameterize(loaded.network)
    if not deploy.report.largest.relative <= REPARAMETERIZED_TOLERANCE:
        raise GateError(
            f"re-parameterization changes the outputs by {deploy.report.largest.relative:.3g} (relative); "
            f"{REPARAMETERIZED_TOLERANCE:g} is allowed",
            hint="The weights hold extreme or non-finite values; train on, or import them again.",
        )
    loaded = replace(loaded, network=deploy.network)
    release_memory()
    return loaded


def _prepare(
    loaded: Imported,
    profile: TargetProfile,
    options: ExportOptions,
    scratch: Path,
    traces: dict[InputContract, Graph],
) -> NetworkSource:
    """Settle the contracts of a re-parameterized network."""
    from edgeyolo.export.source import NetworkSource

    spec = loaded.network.spec
    given = input_contract(spec, profile, options, loaded.size)
    output = network_maps(spec, len(loaded.class_names))
    return NetworkSource(
        loaded.network,
        given,
        output,
        loaded.class_names,
        scratch,
        calibration=options.calibration if profile.calibrated else None,
        detections=graph_detections(options.nms, output.classes),
        pixels=takes_pixels(profile, options.input),
        opset=options.opset,
        learned=learned_for(loaded.ranges, profile, options),
        quantizer=options.quantizer,
        soc=chosen_soc(profile, options.soc),
        judge=judge_for(options.quantizer, output, loaded.class_names, options.data, options.max_ap_drop),
        model=spec.name,
        trained=loaded.size,
        traces=traces,
    )


@contextmanager
def _workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        yield Path(folder)


def _manifest(
    loaded: Imported,
    profile: TargetProfile,
    backend: Backend,
    compiled: Compiled,
    source: NetworkSource,
) -> Manifest:
    from edgeyolo.models.complexity import count

    tools = {"edgeyolo": version("edgeyolo"), "python": platform.python_version(), "torch": version("torch")}
    parameters, gflops = count(loaded.network.spec, len(loaded.class_names), compiled.input.size)
    return Manifest(
        target=profile.target,
        backend=backend.name,
        model=loaded.network.spec.name,
        spec=loaded.network.spec.to_json(),
        class_names=loaded.class_names,
        input=compiled.input,
        output=compiled.output,
        files={},
        tools=tools | dict(compiled.tools),
        provenance={
            **loaded.provenance,
            "weights_sha256": loaded.origin.sha256,
            TRAINED: list(loaded.size) if loaded.size else None,
        },
        parameters=parameters,
        gflops=gflops,
        calibration=record(source.calibration, source.learned),
        chip=compiled.chip or None,
    )


def _tell_picture(step: Callable[[str], None], count: int, number: int) -> None:
    step(f"comparing with torch, picture {number} of {count}")


def _judge(draft: Artifact, source: NetworkSource, options: ExportOptions) -> Accuracy | None:
    """The accuracy gate, where there are labelled images to judge by."""
    if options.data is None:
        return None
    from edgeyolo.evaluation.validate import open_to_judge
    from edgeyolo.export.accuracy_gate import TorchSession, measure_accuracy, require_accuracy

    manifest = draft.manifest
    raw = raw_maps(manifest, source.output)
    exact = TorchSession(source.network, manifest.input, raw)
    reference = Pipeline(exact, manifest.input, raw, manifest.class_names)
    with open_to_judge(draft) as (made, _):
        accuracy = measure_accuracy(reference, made, options.data, options.max_ap_drop)
    require_accuracy(accuracy, str(manifest.target))
    return accuracy


def _verify(
    draft: Artifact, source: NetworkSource, profile: TargetProfile, options: ExportOptions,
    *, step: Callable[[str], None], shared: Shared,
) -> Parity:  # fmt: skip
    """Run the draft through its own runtime: the parity gate, then the golden vectors."""
    manifest = draft.manifest
    most = COMPARED_EMULATED if profile.emulated else COMPARED_AT_MOST
    _run_torch_first(source, manifest, options, shared)
    opened, runtime = registry.open_for_parity(draft)
    with closing(opened):
        session = RememberingSession(opened)
        release_memory()
        for count in (COMPARED, most):
            images, what = comparison_pictures(options, count)
            if len(images) > most:
                images, what = images[:most], f"the first {most} of {what}"
            parity = measure_parity(
                shared.remembering(source.network),
                raw_maps(manifest, source.output),
                session,
                manifest,
                images,
                profile=profile,
                described=f"{what}, run by {runtime}",
                begin=partial(_tell_picture, step, len(images)) if profile.emulated else None,
            )
            if parity.detections >= LEAST_DETECTIONS or len(images) < count:
                break
        require_parity(
            parity, str(profile.target), partial(explain, opened, source, manifest, images[0], profile)
        )
        write_golden(draft.path / "golden.npz", session, manifest.input, manifest.output, make_scene(0).image)
    return parity


def _run_torch_first(
    source: NetworkSource, manifest: Manifest, options: ExportOptions, shared: Shared
) -> None:
    """Let torch make the maps of the comparison.

    No runtime takes memory beside it yet.
    """
    images, _ = comparison_pictures(options)
    network, raw = shared.remembering(source.network), raw_maps(manifest, source.output)
    for batch, _ in batches(images[:COMPARED], manifest.input):
        reference_maps(network, batch, manifest.input, raw)
    release_memory()
