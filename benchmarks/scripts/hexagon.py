"""Every network compiled for Qualcomm's Hexagon NPU and run by its emulator.

python benchmarks/scripts/hexagon.py [--imgsz 128] [--soc sm8550] [--networks yolov7-tiny,yolov7]

Weights are random: what is shown is that each network compiles whole, in float16 at batch 1, and how far its maps are
from torch's. Writes benchmarks/results/hexagon.json and .md, after each network anew.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from result_files import write

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.artifact.target import Target
from edgeyolo.cli.console import note
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.export.options import network_maps
from edgeyolo.export.parity_gate import deviations, reference_maps
from edgeyolo.export.source import NetworkSource
from edgeyolo.models.build import build
from edgeyolo.models.reparameterize import reparameterize
from edgeyolo.models.specs import names
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_bench.render.markdown import table_lines
from edgeyolo_qnn import QnnBackend
from edgeyolo_qnn.chips import CHIPS
from edgeyolo_qnn.session import QnnSession

COLUMNS = (
    "network",
    "binary, MB",
    "largest deviation from torch",
    "conversion and compilation, s",
    "one image, s",
)


def measure(name: str, side: int, soc: str, folder: Path) -> dict[str, Any]:
    """Figures of one network."""
    torch.manual_seed(0)
    network = reparameterize(build(name, classes=3, form="training").eval()).network
    contract, output = InputContract(side, side), network_maps(network.spec, 3)
    source = NetworkSource(network, contract, output, ("a", "b", "c"), folder, soc=soc)
    into = folder / name
    into.mkdir()
    started = time.perf_counter()
    QnnBackend().compile(source, Target("hexagon", "qnn", "fp16"), into)
    compiled = time.perf_counter()
    batch, _ = preprocess([make_scene(3).image], contract)
    with closing(QnnSession(into / "context.onnx", contract, output)) as session:
        opened = time.perf_counter()
        given = session.run(batch)
        ran = time.perf_counter() - opened
    found = deviations(reference_maps(network, batch, contract, output), given)
    return {
        "network": name,
        "megabytes": (into / "context_qnn.bin").stat().st_size / 1e6,
        "deviation": max(found.values()),
        "compile_seconds": compiled - started,
        "image_seconds": ran,
    }


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    figures = f"{found['deviation']:.1e}", f"{found['compile_seconds']:.0f}", f"{found['image_seconds']:.0f}"
    return found["network"], f"{found['megabytes']:.1f}", *figures


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--imgsz", type=int, default=128)
    parser.add_argument("--soc", default="sm8550", choices=sorted(CHIPS))
    parser.add_argument("--networks", default=",".join(names()))
    options = parser.parse_args()
    chip, tool = CHIPS[options.soc], version("onnxruntime-qnn")
    title = (
        f"Random weights at {options.imgsz} pixels, batch 1, compiled for {chip.soc} ({chip.product}, Hexagon "
        f"v{chip.arch}) by onnxruntime-qnn {tool} and run by its emulator: nothing is left to the processor. "
        "Times are of a shared machine of two cores and say nothing of the chip."
    )
    rows: list[dict[str, Any]] = []
    for name in options.networks.split(","):
        with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
            rows.append(measure(name, options.imgsz, options.soc, Path(folder)))
        note(" ".join(cells(rows[-1])))
        facts = {"imgsz": options.imgsz, "chip": chip.facts(), "onnxruntime-qnn": tool, "rows": rows}
        write("hexagon", facts, [title, "", *table_lines(COLUMNS, [cells(each) for each in rows])])


if __name__ == "__main__":
    main()
