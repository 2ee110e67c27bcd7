"""The two forms of E-ELAN in turns: twins, or one block in groups.

    python benchmarks/scripts/elan_forms.py

Narrow yolov7-e6e of random weights, its twins mapped into groups, so that both forms compute the same. They are
exported for each runtime and take turns, an image at a time, so that what else the machine does falls on both. The
ratio is the median over turns of the grouped form's time beside the twins' in the same turn: below 1 the grouped form
is faster.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import result_files
import torch

from edgeyolo import Detector
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.export import ExportOptions, export
from edgeyolo.models import specs, weights
from edgeyolo.models.build import build
from edgeyolo.models.cardinality import to_groups
from edgeyolo.models.complexity import gflops
from edgeyolo.models.network import Network
from edgeyolo.models.scaling import map_elans, scale_width

TARGETS = ("cpu-onnx-fp32", "cpu-openvino-fp32", "cpu-torch-fp32")


def networks(width: float, cardinality: int) -> dict[str, Network]:
    """A network in both forms."""
    torch.manual_seed(0)
    spec = scale_width(specs.get("yolov7-e6e"), width, name=f"yolov7-e6e-{width:g}")
    twins = build(map_elans(spec, lambda elan: replace(elan, twins=cardinality)), 80, "plain").eval()
    return {"twins": twins, "groups": to_groups(twins)}


def measure(forms: dict[str, Network], target: str, size: int, turns: int, threads: int) -> dict[str, Any]:
    """Milliseconds and the ratio of the two forms for one target."""
    picture = make_scene(0).image
    with tempfile.TemporaryDirectory(prefix="edgeyolo-elan-") as folder, ExitStack() as stack:
        detectors = {}
        for name, network in forms.items():
            file = Path(folder) / f"{name}.safetensors"
            weights.save(file, network, [f"class_{i}" for i in range(network.classes)], {})
            export(file, target, Path(folder) / name, ExportOptions(size=(size, size)))
            detectors[name] = stack.enter_context(Detector(Path(folder) / name, threads=threads))
        times: dict[str, list[float]] = {name: [] for name in detectors}
        for turn in range(turns + 2):
            for name in list(detectors)[:: 1 if turn % 2 else -1]:
                spent = detectors[name].timed([picture])[1].inference
                if turn >= 2:
                    times[name].append(spent)
    return _summary(times)


def _summary(times: dict[str, list[float]]) -> dict[str, Any]:
    ratios = np.sort(np.array(times["groups"]) / np.array(times["twins"]))
    spread = 1.96 * np.sqrt(len(ratios)) / 2  # ranks of a median's 95 % interval
    low, high = (int(np.clip(len(ratios) / 2 + side, 0, len(ratios) - 1)) for side in (-spread, spread))
    return {
        "ms": {name: float(np.median(values)) for name, values in times.items()},
        "ratio": float(np.median(ratios)),
        "interval": [float(ratios[low]), float(ratios[high])],
        "ratio_of_best": min(times["groups"]) / min(times["twins"]),
    }


def main() -> None:
    """Measure, print the table, and write it into the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", default="0.25,0.5")
    parser.add_argument("--groups", default="2,4")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for width in map(float, options.widths.split(",")):
        for groups in map(int, options.groups.split(",")):
            forms = networks(width, groups)
            flops = gflops(forms["twins"], (options.imgsz, options.imgsz))
            for target in TARGETS:
                found = measure(forms, target, options.imgsz, options.turns, options.threads)
                rows.append({"width": width, "groups": groups, "gflops": flops, "target": target, **found})
                print(rows[-1], flush=True)
    facts = {"imgsz": options.imgsz, "turns": options.turns, "threads": options.threads}
    facts |= {"machine": platform.machine(), "rows": rows}
    result_files.write("elan-forms", facts, _lines(rows, options))


def _lines(rows: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    lines = [
        f"yolov7-e6e with all widths times a factor, {options.imgsz} pixels, {options.threads} thread, "
        f"{options.turns} turns, AMD EPYC with other work beside: `python benchmarks/scripts/elan_forms.py`. The ratio "
        "is that of groups to twins in the same turn, median and 95 % interval; below 1 the grouped form is faster. "
        "Both compute the same.",
        "",
        "| width | g | GFLOPs | target | twins ms | groups ms | groups / twins | of the best turns |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        (low, high), ms = row["interval"], row["ms"]
        lines.append(
            f"| {row['width']:g} | {row['groups']} | {row['gflops']:.1f} | {row['target']} | {ms['twins']:.1f} | "
            f"{ms['groups']:.1f} | {row['ratio']:.3f} ({low:.3f} to {high:.3f}) | {row['ratio_of_best']:.3f} |"
        )
    return lines


if __name__ == "__main__":
    main()
