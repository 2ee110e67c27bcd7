"""A report such as `edgeyolo bench` makes, from fixed seeds: several networks, targets and scenarios on one device."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from edgeyolo.models import specs
from edgeyolo.models.layers import conv_layers
from edgeyolo_bench.limits.gemm import Peak
from edgeyolo_bench.limits.peaks import Peaks
from edgeyolo_bench.limits.roofline import LayerWork, Limits, Placement
from edgeyolo_bench.measure.statistics import block_medians, histogram, quantile, rate
from edgeyolo_bench.values.device import CpuFacts, DeviceFacts, Interference
from edgeyolo_bench.values.measurement import (
    AccuracyFacts,
    ArtifactFacts,
    Comparison,
    ImageFacts,
    Measurement,
    Overhead,
    ScenarioFacts,
    StageSummary,
    SteadyState,
)
from edgeyolo_bench.values.report import Report

DEVICE = DeviceFacts(
    name="bench-host",
    system="Linux 6.1, glibc 2.36",
    cpu=CpuFacts("Example CPU 9 <9004>", "x86_64", 8, 8, 4, "performance", 3400.0, 3380.0, 3700.0, True,
                 ("avx2", "avx512f", "avx512_vnni")),
    memory=16 << 30,
    memory_available=12 << 30,
    python="3.11.7",
    runtimes={"onnxruntime": "1.32.0", "openvino": "2026.4.1"},
    packages={"numpy": "2.4.6"},
    temperatures_before={"cpu": 41.0},
    temperatures_after={"cpu": 66.0},
    interference=Interference(load=0.12, others=0.01, steal=0.0),
)  # fmt: skip
PEAKS = Peaks(
    4,
    {"fp32": (Peak(400.0, "openvino"), Peak(350.0, "numpy")), "int8": (Peak(1600.0, "openvino"),)},
    {"copy": 20.0, "add": 22.0, "read": 35.0},
    1 << 27,
    1 << 25,
)
# Shares of the float peak that ours reach: none is faster than possible.
SPEED = {"cpu-openvino-fp32": 280.0, "cpu-onnx-fp32": 220.0, "cpu-openvino-int8": 800.0}


def summarize(name: str, samples: np.ndarray, percentile: float) -> StageSummary:
    """The summary of a stage's milliseconds."""
    quantiles = tuple(quantile(samples, q) for q in sorted({0.5, 0.9, 0.95, 0.99, percentile}))
    extremes = float(samples.min()), float(samples.max())
    timeline = tuple(float(value) for value in block_medians(samples, 100))
    return StageSummary(
        name, len(samples), float(samples.mean()), *extremes, quantiles, histogram(samples), timeline
    )


def measurement(
    network: str, target: str, *, scenario: str = "paper", size: int | None = None, ap: float | None = None,
    random: bool = False, count: int = 400, seed: int = 0, classes: int = 80,
) -> Measurement:  # fmt: skip
    """A measurement of a network at the paper's size, as fast as `SPEED` says, with a tail of outliers."""
    spec = specs.find(network)
    side = size or spec.imgsz
    layers = conv_layers(spec, classes, (side, side))
    gflops = sum(layer.flops for layer in layers) / 1e9
    rng = np.random.default_rng(seed)
    center = 1e3 * gflops / SPEED[target]
    inference = center * (1 + rng.gamma(2.0, 0.012, count))
    inference[rng.random(count) < 0.02] *= rng.uniform(1.2, 1.9)
    names = ("inference",)
    samples = {"inference": inference}
    if scenario != "paper":
        for name, ms in (("decode", 6.0), ("preprocess", 1.2), ("postprocess", 0.9)):
            samples[name] = ms * (1 + rng.gamma(2.0, 0.05, count))
        samples["end-to-end"] = sum(samples.values())  # type: ignore[assignment]
        names = ("decode", "preprocess", "inference", "postprocess", "end-to-end")
    judged = names[-1]
    percentile = 0.5 if scenario == "paper" else 0.9
    stages = tuple(summarize(name, samples[name], percentile) for name in names)
    reportable = count >= 64
    return Measurement(
        device=DEVICE.name,
        artifact=ArtifactFacts(
            name=network, sha256=hashlib.sha256(f"{network} {target} {side}".encode()).hexdigest(), model=network,
            target=target, backend=target.split("-")[1], precision=target.split("-")[2], size=(side, side), batch=1,
            classes=classes, bytes=4 * sum(layer.weights for layer in layers),
            parameters=sum(layer.weights for layer in layers), gflops=gflops, random_weights=random,
        ),
        scenario=ScenarioFacts(scenario, 1, 1, percentile, judged, 10.0, 64),
        threads=4,
        images=ImageFacts("generated", 32, "ab" * 32, (720.0, 1280.0), "jpeg"),
        stages=stages,
        latency=stages[-1].quantile(percentile),
        throughput=rate(samples[judged] / 1e3, 1),
        reportable=reportable,
        reasons=() if reportable else (f"{count} queries, at least 64 are needed",),
        steady=SteadyState(True, 20, 0.004, 0.4),
        overhead=Overhead(0.00005, 0.01, 0.0004),
        duration=float(samples[judged].sum() / 1e3),
        load_seconds=0.6,
        accuracy=None if ap is None else AccuracyFacts(ap, ap + 0.2, "val2017", 5000, {"AP75": ap + 0.03}),
    )  # fmt: skip


def place_sample(item: Measurement) -> Placement:
    """The measurement under `PEAKS`, with round numbers in place of the model's."""
    arithmetic = item.artifact.precision
    ms, gflops = item.stages[0].median if item.scenario.name == "paper" else 1.0, item.artifact.gflops or 0.0
    peak = PEAKS.gops(arithmetic) or 1.0
    layers = (LayerWork("stem.0", gflops / 2, 4e6, 500 * gflops / peak, "compute"),
              LayerWork("stem.1", gflops / 2, 8e6, 500 * gflops / peak, "memory"))  # fmt: skip
    return Placement(
        item.device, item.label, arithmetic, 1, ms, gflops, 12e6 + gflops * 2e6, 1e9 * gflops / (12e6 + gflops * 2e6),
        peak, 1e3 * gflops / ms, 1e3 * gflops / peak, 1e3 * gflops / peak / ms, "possible", layers,
    )  # fmt: skip


def sample_report() -> Report:
    """The whole of it."""
    paper = [
        measurement("yolov7-tiny", "cpu-openvino-fp32", ap=0.352, size=416, seed=1),
        measurement("yolov7-tiny", "cpu-openvino-int8", ap=0.344, size=416, seed=2),
        measurement("yolov7-tiny-silu", "cpu-openvino-fp32", random=True, seed=3),
        measurement("yolov7", "cpu-openvino-fp32", random=True, seed=4),
        measurement("yolov7", "cpu-onnx-fp32", random=True, seed=5),
        measurement("yolov7", "cpu-openvino-int8", random=True, seed=6),
        measurement("yolov7x", "cpu-openvino-fp32", random=True, seed=7),
        measurement("yolov7-w6", "cpu-openvino-fp32", random=True, seed=8),
        measurement("yolov7-e6e", "cpu-openvino-fp32", random=True, count=12, seed=9),
    ]
    streams = [
        measurement(
            "yolov7-tiny", "cpu-openvino-fp32", scenario="single-stream", ap=0.352, size=416, seed=11
        ),
        measurement("yolov7", "cpu-onnx-fp32", scenario="single-stream", random=True, seed=12),
    ]
    first, second = paper[3].label, paper[4].label
    return Report(
        created="2026-11-25T20:00:00Z",
        edgeyolo="0.1.0",
        devices=(DEVICE,),
        measurements=(*paper, *streams),
        comparisons=(Comparison(DEVICE.name, first, second, "inference", 1.27, 1.25, 1.29, 0.95, 400),),
        limits=(Limits(DEVICE.name, PEAKS, tuple(place_sample(item) for item in paper)),),
        command="edgeyolo bench --table 2 --device cpu",
    )


def busy(report: Report) -> Report:
    """The same from a machine that had other work."""
    device = replace(DEVICE, interference=Interference(busy=("other processes took 38 % of the cores",)))
    return replace(report, devices=(device,))
