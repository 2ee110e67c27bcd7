"""The TensorRT backend.

Packages are made anywhere, engines are built and run where the GPU is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.devices import Device
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Port, Session
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.registry import require
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError
from edgeyolo.support.install import install_hint
from edgeyolo_tensorrt.engine.engine_cache import ENGINE
from edgeyolo_tensorrt.facts import OPSET, VOLTA, version_text
from edgeyolo_tensorrt.options import VARIABLES, DeviceOptions
from edgeyolo_tensorrt.package.guide import GUIDES, SCRIPT
from edgeyolo_tensorrt.package.int8 import CACHE
from edgeyolo_tensorrt.package.limits import limits
from edgeyolo_tensorrt.package.recipe import (
    FILE,
    GRAPH,
    TYPED,
    Recipe,
    batch_range,
    graph_plugins,
    graph_types,
)

if TYPE_CHECKING:
    import onnx

    from edgeyolo.artifact.contracts import InputContract
    from edgeyolo_tensorrt.run.session import TensorrtSession

_LOG = logging.getLogger("edgeyolo_tensorrt")

# Measured (benchmarks/results) on the graph that engines are built from, by the stand-in, which rounds where its types
# say. fp32: 9.3e-7. fp16: 3.1e-3 (trained yolov7-tiny, 0.02 AP points lost), 4.8e-3 (yolov7-tiny-silu, random weights);
# twice that is left, as engines may sum in float16. int8: 0.12 (scenes) to 0.43 (blood cells at 320 pixels), AP lost
# -0.04 to 0.53 points; a mistake in a scale or an order of channels gives above 1. Agreement: see INT8_AGREEMENT of
# edgeyolo_onnxruntime.
PARITY = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.5}
INT8_AGREEMENT = 0.85


def _profile(device: str, precision: str, note: str) -> TargetProfile:
    profile = TargetProfile(
        target=Target(device, "trt", precision),
        note=note,
        parity=PARITY[precision],
        dynamic_batch=True,
        inputs=("float", "uint8"),
        refuses_nms="",
        files=(GRAPH, FILE, *GUIDES),
        opset=OPSET,
        limits=limits(device, precision),
    )
    if precision != "int8":
        return profile
    return replace(
        profile,
        calibrated=True,
        mixed=True,
        take_ranges=True,
        agreement=INT8_AGREEMENT,
        files=(GRAPH, TYPED, FILE, *GUIDES, "calibration.json", CACHE),
    )


class TensorrtBackend:
    """Targets `jetson-trt-*`, `v100-trt-*`, `gpu-trt-*`.

    An artifact holds an ONNX file whose own types say the precision, and the recipe to build the engine from it:
    `edgeyolo build DIR` on the device, or the first Detector that opens it.
    """

    name = "tensorrt"
    parity_runtime = "ONNX Runtime on the CPU, rounding as the graph's types say"
    profiles = (
        _profile(
            "jetson",
            "fp32",
            "NVIDIA Jetson; the engine is built on the device: JetPack 6 on, on 5 by trtexec",
        ),
        _profile(
            "jetson",
            "fp16",
            "NVIDIA Jetson; the engine is built on the device: JetPack 6 on, on 5 by trtexec",
        ),
        _profile(
            "jetson", "int8", "NVIDIA Jetson in integers, Q/DQ placed for TensorRT; needs calibration images"
        ),
        _profile("v100", "fp16", "NVIDIA V100 with TensorRT below 10.5; the engine is built on the device"),
        _profile("v100", "int8", "NVIDIA V100 in integers (DP4A, no tensor cores); needs calibration images"),
        _profile("gpu", "fp16", "other NVIDIA GPUs; the engine is built on the device"),
        _profile("gpu", "int8", "other NVIDIA GPUs in integers, Turing and newer; needs calibration images"),
    )

    compiler = "onnx"
    variables = VARIABLES
    unforkable = "CUDA cannot be used in a fork of a process that has used it"
    adopts: Mapping[str, Target] = {
        ".engine": Target("gpu", "trt", "fp16"),
        ".plan": Target("gpu", "trt", "fp16"),
    }

    def __init__(self, place: Device | None = None) -> None:
        self._place = place

    def at(self, device: Device) -> TensorrtBackend:
        """Sessions on the GPU or DLA of that number.

        A DLA is the deep-learning accelerator of a Jetson.
        """
        return TensorrtBackend(device)

    def _options(self) -> DeviceOptions:
        options, place = DeviceOptions.from_environment(), self._place
        if place is None or place.index is None:
            return options
        if place.kind == "dla":
            return replace(options, dla_core=place.index)
        return replace(options, device=place.index)

    def can_compile(self) -> Availability:
        """Availability of what makes a package.

        That is onnx (and torch, as every export needs), neither TensorRT nor a GPU.
        """
        for package in ("onnx", "torch"):
            if find_spec(package) is None:
                hint = install_hint("export")
                return Availability(False, f"the package {package} is not installed", hint)
        return Availability(True, version=version("onnx"))

    def can_run(self) -> Availability:
        """Availability of TensorRT, a package for CUDA memory and a fitting GPU."""
        from edgeyolo_tensorrt.library import load_library, refuse_unsupported_gpu

        if (
            find_spec("tensorrt") is None
        ):  # the usual case on a workstation, answered without importing anything
            from edgeyolo_tensorrt.library import install_hint

            return Availability(False, "the package tensorrt is not installed", install_hint())
        try:
            library = load_library()
            from edgeyolo_tensorrt.cuda.open_cuda import open_cuda

            cuda = open_cuda(self._options().device)
            try:
                refuse_unsupported_gpu(library, cuda.gpu.name, cuda.gpu.compute_capability)
            finally:
                cuda.close()
        except EdgeYoloError as error:
            return Availability(False, error.message, error.hint)
        return Availability(True, version=library.text)

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.onnx`, typed float16 for fp16 targets, and `build.json`.

        int8 targets get Q/DQ operators in the graph, the same as `typed.onnx` with float16 between them, and their
        ranges as `calibration.json` and as a calibration cache.

        Raises UnsupportedTargetError where the network cannot be typed float16.
        """
        import onnx

        from edgeyolo.export.for_backends import edge_contracts, with_graph_ends
        from edgeyolo_calib.onnx_graph import constants_as_weights
        from edgeyolo_tensorrt.package.guide import write_guides
        from edgeyolo_tensorrt.package.half import to_half
        from edgeyolo_tensorrt.package.int8 import write_quantized
        from edgeyolo_tensorrt.package.typed import to_typed

        profile = next(item for item in self.profiles if item.target == target)
        model = constants_as_weights(onnx.load(source.onnx(opset=OPSET)))
        if target.precision == "fp16":
            model = to_half(model)
        elif target.precision == "int8":
            model = constants_as_weights(write_quantized(model, source, into))
        graphs = {GRAPH: model} | ({TYPED: to_typed(model)} if target.precision == "int8" else {})
        for name, graph in graphs.items():
            graphs[name] = with_graph_ends(graph, source, tensorrt=True)
            onnx.checker.check_model(
                graphs[name], full_check=source.detections is None
            )  # it knows no plugins
            (into / name).write_bytes(graphs[name].SerializeToString(deterministic=True))
        given, gives = edge_contracts(source)
        recipe = _recipe(given, target, graphs)
        (into / FILE).write_text(recipe.to_json(), encoding="utf-8")
        write_guides(recipe, into)
        return Compiled(profile.files, given, gives, {"onnx": version("onnx")})

    def open(self, artifact: Artifact, *, threads: int | None = None) -> TensorrtSession:
        """Load the engine of this machine, building it first where there is none.

        Minutes, once.

        `threads`: how many TensorRT may use on the CPU. The environment variables of `DeviceOptions` apply.
        """
        from edgeyolo_tensorrt.engine.builder import build_engine, find_engine
        from edgeyolo_tensorrt.run.session import open_engine

        options, manifest = self._options(), artifact.manifest
        if ENGINE in manifest.files:  # one that others built
            return open_engine(
                artifact.path / ENGINE, manifest.input, manifest.output, options, threads=threads
            )
        engine = find_engine(artifact, options)
        if engine is None:
            if not options.build:
                raise RuntimeMissingError(
                    f"{artifact.path}: no engine is built for this machine, and EDGEYOLO_TENSORRT_BUILD=0 forbids it",
                    hint=f"edgeyolo build {artifact.path}",
                )
            _LOG.warning("%s: building the TensorRT engine for this machine; minutes, once", artifact.path)
            engine = build_engine(artifact, options)
        return open_engine(engine.path, manifest.input, manifest.output, options, threads=threads)

    def ports(self, file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of an engine, on the machine that built it."""
        from edgeyolo_tensorrt.run import foreign

        require(self.can_run(), f"looking into {file}")
        return foreign.ports(file, self._options())

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of `model.onnx`."""
        from edgeyolo_tensorrt.package.graph_ports import graph_ports

        return graph_ports(folder / GRAPH)

    def parts(self, file: Path) -> Mapping[str, Path]:
        """The engine."""
        return {ENGINE: file}

    def next_step(self, artifact: Artifact) -> str:
        """Sentence on building the engine."""
        place = artifact.path
        return (
            f"Next, on the device that will run it: copy {place} there, then `edgeyolo build {place.name}`, or without "
            f"Python `sh {place.name}/{SCRIPT}`; {place / GUIDES[0]} says more."
        )

    def open_for_parity(self, artifact: Artifact) -> Session:
        """The strongly typed graph in ONNX Runtime on the CPU, for the parity gate.

        See `stand_in`.
        """
        from edgeyolo_tensorrt.run.stand_in import StandIn

        recipe = Recipe.read(artifact.file(FILE))
        return StandIn(artifact.path / recipe.typed, artifact.manifest.input, artifact.manifest.output)


def _recipe(contract: InputContract, target: Target, graphs: Mapping[str, onnx.ModelProto]) -> Recipe:
    from edgeyolo_tensorrt.package.fusions import broken_fusions

    below, reason = "", ""
    model = graphs[GRAPH]
    types, broken = set(graph_types(model)), broken_fusions(model)
    for sentence in broken:
        _LOG.warning("%s; this costs speed", sentence)
    # Flags hold for the whole graph, and decoding is not for float16: with it, old versions keep the rest float32.
    if target.precision == "int8" and not graph_plugins(model):
        types.add("float16")
    if target.device == "v100":
        below, reason = version_text(VOLTA.removed), VOLTA.source
    return Recipe(
        target=str(target),
        precision=target.precision,
        types=tuple(sorted(types)),
        typed=TYPED if TYPED in graphs else GRAPH,
        broken_fusions=len(broken),
        plugins=graph_plugins(model),
        input=contract.name,
        image=contract.shape()[1:],
        batch=batch_range(contract),
        tensorrt_below=below,
        reason=reason,
    )
