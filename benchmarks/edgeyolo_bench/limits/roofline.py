"""The roofline of a measured artifact.

It places the artifact between its work and the machine's limits, and checks that nothing was faster than is
possible.

The model: every convolution reads its weights and its map from memory and writes its map there; pools, sums and
activations are free. A runtime that keeps maps in caches may do better than the memory's share of it, never better
than the arithmetic's: that alone is a bug in the measurement, and called one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.models.layers import ConvLayer, conv_layers
from edgeyolo.models.network_spec import spec_from_json
from edgeyolo_bench.limits.peaks import Peaks

_VALUE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True)
class LayerWork:
    """One convolution for one image.

    Billions of operations, bytes as the model counts them, and the milliseconds below which the limits leave
    it no room; `bound` is the limit that decides, "compute" or "memory".
    """

    name: str
    gflops: float
    bytes: float
    limit_ms: float
    bound: str


@dataclass(frozen=True)
class Placement:
    """One measurement on the roofline of its device.

    Everything for one image of a batch of `batch`.

    `arithmetic` is what the runtime computes in. `gflops` are counted as direct convolutions; `bytes`, `intensity`
    (operations per byte) and `layers` follow the model. `attainable` and `reached` are billions of operations a
    second; `limit_ms` is the sum over layers of what each needs at least, `share` how much of the measured
    `latency_ms` that explains. `verdict`: "possible"; "above-peak": faster than the measured peak of `arithmetic`
    allows with direct convolutions; "impossible": even with the fewest multiplications known (Winograd), which is a
    bug in the measurement.
    """

    device: str
    label: str
    arithmetic: str
    batch: int
    latency_ms: float
    gflops: float
    bytes: float
    intensity: float
    attainable: float
    reached: float
    limit_ms: float
    share: float
    verdict: str
    layers: tuple[LayerWork, ...] = ()


@dataclass(frozen=True)
class Limits:
    """The roofline of one device and what was measured under it.

    It is the roofline of its CPU with a number of threads, or (`kind` "cuda") of its NVIDIA GPU.
    """

    device: str
    peaks: Peaks
    placements: tuple[Placement, ...] = ()
    kind: str = "cpu"


def arithmetic_of(target: Target) -> str:
    """Arithmetic of a target's runtime.

    CPUs compute float16 files in float32.
    """
    if target.precision == "fp16" and target.device == "cpu":
        return "fp32"
    return target.precision


def layers_of(manifest: Manifest) -> tuple[ConvLayer, ...]:
    """The convolutions of an artifact, from the spec in its manifest."""
    spec = spec_from_json(manifest.spec, "manifest.json: spec")
    return conv_layers(spec, manifest.output.classes, manifest.input.size)


def place(
    manifest: Manifest, peaks: Peaks, *, device: str, label: str, latency_ms: float, batch: int = 1
) -> Placement | None:
    """Place a latency under the limits of the machine.

    `latency_ms` is the inference of one query of `batch` images.

    None where no library of this machine computes in the artifact's arithmetic, so that there is no limit to name.
    """
    arithmetic = arithmetic_of(manifest.target)
    peak = peaks.gops(arithmetic)
    if peak is None:
        return None
    convolutions = layers_of(manifest)
    works = tuple(_layer(item, arithmetic, batch, peak, peaks.gbps) for item in convolutions)
    gflops, moved = sum(work.gflops for work in works), sum(work.bytes for work in works)
    image_ms, intensity = latency_ms / batch, 1e9 * gflops / moved
    limit_ms = sum(work.limit_ms for work in works)
    least = sum(item.least_flops for item in convolutions) / 1e9
    return Placement(
        device, label, arithmetic, batch, image_ms, gflops, moved, intensity,
        attainable=min(peak, intensity * peaks.gbps), reached=1e3 * gflops / image_ms,
        limit_ms=limit_ms, share=limit_ms / image_ms,
        verdict=_verdict(image_ms, 1e3 * gflops / peak, 1e3 * least / peak), layers=works,
    )  # fmt: skip


def _layer(layer: ConvLayer, arithmetic: str, batch: int, gops: float, gbps: float) -> LayerWork:
    values = layer.weights / batch + layer.values_in + layer.values_out
    moved = values * _VALUE_BYTES[arithmetic]
    compute, memory = 1e3 * layer.flops / 1e9 / gops, 1e3 * moved / 1e9 / gbps
    bound = "compute" if compute >= memory else "memory"
    return LayerWork(layer.name, layer.flops / 1e9, moved, max(compute, memory), bound)


def _verdict(measured_ms: float, direct_ms: float, least_ms: float) -> str:
    if measured_ms < least_ms:
        return "impossible"
    return "above-peak" if measured_ms < direct_ms else "possible"


def bugs(limits: Iterable[Limits]) -> tuple[str, ...]:
    """A sentence for every placement that cannot be true as it stands."""
    sentences = []
    for limit in limits:
        for item in limit.placements:
            said = f"{item.label}: {item.reached:.0f} billion operations a second"
            peak = f"this machine's {item.arithmetic} peak, {limit.peaks.gops(item.arithmetic) or 0:.0f}"
            if item.verdict == "impossible":
                sentences.append(
                    f"{said} is impossible: {peak}, rules it out even with the fewest multiplications known. "
                    "The measurement is wrong: please report this as a bug of the benchmark"
                )
            elif item.verdict == "above-peak":
                sentences.append(
                    f"{said} is above {peak}: either the runtime saves multiplications (Winograd) or the peak was "
                    "measured while the machine was busy; measure again on a quiet machine"
                )
    return tuple(sentences)
