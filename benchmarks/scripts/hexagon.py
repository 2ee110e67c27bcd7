"""Every network compiled for Qualcomm's Hexagon NPU and run by its emulator.

python benchmarks/scripts/hexagon.py [--imgsz 128] [--soc sm8550] [--networks yolov7-tiny,yolov7] [--int8]

Weights are random: what is shown is that each network compiles whole and how far its maps are from torch's. Writes
benchmarks/results/hexagon.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from result_files import write

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.cli.console import note, print_table, steps
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.export import ExportOptions, export
from edgeyolo.models.specs import get, names
from edgeyolo_bench.measure.random_weights import save_random
from edgeyolo_bench.render.markdown import table_lines

COLUMNS = (
    "network",
    "target",
    "binary, MB",
    "export, s",
    "largest deviation from torch",
    "detections that agree",
)


def rows(
    options: argparse.Namespace, calibration: CalibrationSource, folder: Path
) -> Iterator[dict[str, Any]]:
    """One row for each network and precision."""
    side = (options.imgsz, options.imgsz)
    chosen = ExportOptions(side, soc=options.soc, calibration=calibration, unjudged=True)
    for network in options.networks.split(","):
        weights = folder / f"{network}.safetensors"
        save_random(weights, get(network))
        for target in ("hexagon-qnn-fp16", *(["hexagon-qnn-int8"] if options.int8 else [])):
            started = time.perf_counter()
            with steps() as step:
                made = export(weights, target, folder / f"{network}-{target}", chosen, step=step)
            yield row(made, time.perf_counter() - started)


def row(made: Artifact, seconds: float) -> dict[str, Any]:
    """Figures of one artifact."""
    parity = made.manifest.parity
    assert parity is not None  # an export has it
    return {
        "network": made.manifest.model,
        "target": str(made.manifest.target),
        "megabytes": (made.path / "context_qnn.bin").stat().st_size / 1e6,
        "seconds": seconds,
        "deviation": parity.worst,
        "agreement": parity.agreement,
        "detections": parity.detections,
        "chip": dict(made.manifest.chip or {}),
        "tools": dict(made.manifest.tools),
    }


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    agreed = "-" if found["agreement"] is None else f"{found['agreement']:.1%} of {found['detections']}"
    return (
        found["network"], found["target"], f"{found['megabytes']:.1f}", f"{found['seconds']:.0f}",
        f"{found['deviation']:.1e}", agreed,
    )  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--imgsz", type=int, default=128)
    parser.add_argument("--soc", default="sm8550")
    parser.add_argument("--networks", default=",".join(names()))
    parser.add_argument("--int8", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as scratch:
        images = write_dataset(Path(scratch) / "scenes", range(100, 108)).with_name("images")
        found = []
        for each in rows(options, registry.open_calibration(str(images), images=8), Path(scratch)):
            found.append(each)
            note(" ".join(cells(each)))
    chip = found[0]["chip"]
    tools = found[0]["tools"]
    title = (
        f"Random weights at {options.imgsz} pixels, compiled for {chip['soc']} ({chip['product']}, {chip['architecture']}) by "
        f"onnxruntime-qnn {tools['onnxruntime-qnn']} and run by its emulator; nothing is left to the processor."
    )
    table = [cells(each) for each in found]
    print_table(COLUMNS, table)
    write("hexagon", {"imgsz": options.imgsz, "rows": found}, [title, "", *table_lines(COLUMNS, table)])


if __name__ == "__main__":
    main()
