"""Speed and AP of ONNX Runtime's choices of integers on a CPU.

    python benchmarks/scripts/integers_onnx.py [--images 100] [--rounds 30] [--imgsz 320]

Unsigned and signed activations (U8S8, S8S8), weights in 8 and 7 bits, a scale for each channel or layer, and the
setting that keeps 16-bit sums from overflowing. The forms take turns in one process. Where the processor has AVX512
and VNNI, the same is measured again without VNNI and without AVX512: ONNX Runtime has no setting for that, so a copy
of it is loaded whose test for the instructions says no. Speeds are times that of float32 by the same library in the
same turns. Writes benchmarks/results/integers-onnx.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import result_files
from integers_speed import in_turns

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.ort_options import EXACT_INTEGERS, cpu_options
from edgeyolo.cli.console import note
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.evaluation.bootstrap import ap_difference
from edgeyolo.evaluation.validate import open_to_judge, validate
from edgeyolo.export import ExportOptions, export
from edgeyolo_bench.facts import Machine, read_device
from edgeyolo_bench.render.markdown import table_lines
from edgeyolo_calib.images.source import ImageSource, open_images
from edgeyolo_calib.onnx_graph import Graph
from edgeyolo_calib.quantize.qdq import quantize
from edgeyolo_calib.quantize.rules import ONNXRUNTIME, Rules
from edgeyolo_calib.quantize.schemes import settle_scheme
from edgeyolo_calib.quantize.variants import Maps
from edgeyolo_calib.ranges.observe import observe
from edgeyolo_calib.ranges.ranges import INT8

if TYPE_CHECKING:
    import onnx

NAME = "integers-onnx"
WEIGHTS = Path(__file__).parents[1] / "weights/scenes.safetensors"
CALIBRATION_SEEDS = range(2_000_000, 2_000_300)
COLUMNS = ("instructions", "form", "times float32", "95 % interval", "AP lost", "95 % interval")
RESAMPLES = 2000

WITHOUT: Mapping[str, tuple[bytes, bytes]] = {
    "AVX512 without VNNI": (
        bytes.fromhex("81e700080000f30f7e05"),  # and edi, 1 << 11: VNNI in what cpuid says
        bytes.fromhex("81e700000000f30f7e05"),
    ),
    "AVX2": (
        bytes.fromhex(
            "41f7c200000100740e4c89c048f7d0a8e0"
        ),  # test r10d, 1 << 16; je: AVX512F, and the system's mask
        bytes.fromhex("41f7c200000100eb0e4c89c048f7d0a8e0"),
    ),
}
"""Machine code of MLAS's choice of kernels in the wheel of ONNX Runtime for Linux, and the same that says no."""


@dataclass(frozen=True)
class Form:
    """A way to write and to run integers.

    `bits` are those of weights; `guarded`: the session keeps 16-bit sums from overflowing.
    """

    name: str
    rules: Rules
    bits: int = 8
    guarded: bool = True


SIGNED = replace(ONNXRUNTIME, grid=INT8)
FORMS = (
    Form("U8S8, sums guarded", ONNXRUNTIME),
    Form("U8S8, sums may overflow", ONNXRUNTIME, guarded=False),
    Form("U8S8, weights in 7 bits", ONNXRUNTIME, 7, guarded=False),
    Form("U8S8, a scale for each layer", replace(ONNXRUNTIME, per_channel=False)),
    Form("S8S8", SIGNED),
    Form("S8S8, weights in 7 bits", SIGNED, 7, guarded=False),
)


def fewer_bits(quantized: onnx.ModelProto, exact: Graph) -> onnx.ModelProto:
    """The model with convolution weights in 7 bits.

    They are -63 to 63, their scales twice as large. Two products of such a weight and 255 fit into 16 bits. `exact`
    is the float network.
    """
    import onnx

    values = {item.name: item for item in quantized.graph.initializer}
    maker = {name: node for node in quantized.graph.node for name in node.output}
    floats = {node.name: node for node in exact.nodes if node.op_type == "Conv"}

    def put(name: str, array: Any) -> None:
        values[name].CopyFrom(onnx.numpy_helper.from_array(np.asarray(array), name))

    for node in quantized.graph.node:
        if node.op_type != "Conv" or node.input[1] not in maker:
            continue
        weight, bias = maker[node.input[1]], maker.get(node.input[2])
        scale = 2 * onnx.numpy_helper.to_array(values[weight.input[1]])
        real = exact.array(floats[node.name].input[1])
        rounded = np.rint(real / scale.reshape(-1, *[1] * (real.ndim - 1)))
        put(weight.input[0], np.clip(rounded, -63, 63).astype(np.int8))
        put(weight.input[1], scale)
        if bias is not None:  # int32, in steps of the input's times the weight's
            put(
                bias.input[0], np.rint(onnx.numpy_helper.to_array(values[bias.input[0]]) / 2).astype(np.int32)
            )
            put(bias.input[1], 2 * onnx.numpy_helper.to_array(values[bias.input[1]]))
    return quantized


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Write pictures and the float artifact, once for all processes."""
    side = (options.imgsz, options.imgsz)
    write_dataset(folder / "scenes", range(options.images), side)
    write_dataset(folder / "calibration", CALIBRATION_SEEDS[: options.images], side)
    export(WEIGHTS, "cpu-onnx-fp32", folder / "float", ExportOptions(size=side))


def models(float_file: Path, source: ImageSource, contract: Any) -> Iterator[tuple[Form, bytes]]:
    """Every form of the network, from ranges that are measured once."""
    import onnx

    for form in FORMS:
        statistics = observe(float_file, contract, source, keep=source.ranges)
        statistics.scheme = None
        scheme = settle_scheme(float_file, contract, statistics, form.rules, source)
        made = quantize(
            onnx.load(float_file), statistics, form.rules, scheme, pixels=255 * contract.scale
        ).model
        if form.bits < 8:
            made = fewer_bits(made, Graph(onnx.load(float_file)))
        yield form, made.SerializeToString()


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for each form by the ONNX Runtime that is loaded here."""
    import onnxruntime as ort

    data = load_dataset(folder / "scenes/annotations.json")
    source = open_images(str(folder / "calibration/annotations.json"), options.images)
    source = replace(source, ranges=folder / "ranges.json")
    artifact = Artifact.open(folder / "float")
    file, contract = artifact.file(".onnx"), artifact.manifest.input

    def opened(model: bytes, settings: Mapping[str, str]) -> Maps:
        return Maps(ort.InferenceSession(model, cpu_options(options.threads, settings)))

    sessions = {"float32": opened(file.read_bytes(), {})}
    for form, model in models(file, source, contract):
        sessions[form.name] = opened(model, EXACT_INTEGERS if form.guarded else {})
    with open_to_judge(artifact) as (pipeline, _):
        lost = losses({name: replace(pipeline, session=each) for name, each in sessions.items()}, data)
    batch = np.zeros(contract.shape(), np.float32)
    times = in_turns(dict(sessions), batch, options.rounds)
    return [row(name, times["float32"] / times[name]) | lost[name] for name in sessions]


def losses(pipelines: Mapping[str, Any], data: Dataset) -> dict[str, dict[str, Any]]:
    """AP points lost against the first, with intervals."""
    results = {name: validate(pipeline, data) for name, pipeline in pipelines.items()}
    exact = next(iter(results.values()))
    found = {}
    for name, result in results.items():
        lost = ap_difference(result.data, exact.predictions, result.predictions)
        found[name] = {
            "AP": result.metrics["AP"], "lost": 100 * lost.value, "lost_interval": [100 * lost.low, 100 * lost.high],
        }  # fmt: skip
        note(f"{name}: {100 * lost.value:+.2f} points lost")
    return found


def row(name: str, ratios: Any) -> dict[str, Any]:
    """Speed against float32: the median of the rounds' ratios and its interval."""
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(ratios, (RESAMPLES, len(ratios))), axis=1)
    interval = np.quantile(drawn, [0.025, 0.975]).tolist()
    return {"form": name, "ratio": float(np.median(ratios)), "interval": interval}


def masked(change: tuple[bytes, bytes], folder: Path) -> Path:
    """A folder with a copy of ONNX Runtime that does not find some instructions.

    Raises RuntimeMissingError where the code is not as it is known here, as in another release.
    """
    found = find_spec("onnxruntime")
    assert found is not None and found.origin is not None
    package = folder / "onnxruntime"
    shutil.copytree(Path(found.origin).parent, package)
    (library,) = package.glob("capi/onnxruntime_pybind11_state*.so")
    code, (old, new) = library.read_bytes(), change
    if code.count(old) != 1:
        raise RuntimeMissingError(
            f"{library.name}: its test for instructions was expected once, and got {code.count(old)} times",
            hint="Measure on a processor without them, or find the test in this release.",
        )
    library.write_bytes(code.replace(old, new))
    return folder


def elsewhere(
    options: argparse.Namespace, change: tuple[bytes, bytes], prepared: Path
) -> list[dict[str, Any]]:
    """The rows of a child that loads a masked copy.

    They are on the pictures in `prepared`.
    """
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        copy, found = masked(change, Path(folder)), Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--only", str(found), "--prepared", str(prepared)]
        for name in ("images", "rounds", "threads"):
            command += [f"--{name}", str(getattr(options, name))]
        path = os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH", "")]))
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
        rows: list[dict[str, Any]] = json.loads(found.read_text(encoding="utf-8"))
        return rows


def texts(one: dict[str, Any]) -> tuple[str, ...]:
    """A row for Markdown."""
    low, high = one["interval"]
    least, most = one["lost_interval"]
    return (
        one["instructions"], one["form"], f"{one['ratio']:.2f}", f"{low:.2f} to {high:.2f}",
        f"{one['lost']:+.2f}", f"{least:+.2f} to {most:+.2f}",
    )  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100, help="to judge on, and as many to calibrate on")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prepared", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        options.only.write_text(json.dumps(measure(options, options.prepared)), encoding="utf-8")
        return
    cpu = read_device(Machine()).cpu
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as name:
        folder = Path(name)
        prepare(options, folder)
        rows = [{"instructions": "all", **each} for each in measure(options, folder)]
        for instructions, change in WITHOUT.items() if "avx512_vnni" in cpu.features else ():
            note(f"{instructions}, by a copy of ONNX Runtime")
            rows += [{"instructions": instructions, **each} for each in elsewhere(options, change, folder)]
    about = (
        f"{cpu.model} ({', '.join(cpu.features)}), {options.threads} thread; {WEIGHTS.name} at {options.imgsz} pixels, "
        f"AP on {options.images} generated scenes, ranges from as many others; {options.rounds} rounds in turns."
    )
    facts = {"device": asdict(cpu), "imgsz": options.imgsz, "threads": options.threads, "rows": rows}
    result_files.write(NAME, facts, [about, "", *table_lines(COLUMNS, [texts(each) for each in rows])])


if __name__ == "__main__":
    main()
