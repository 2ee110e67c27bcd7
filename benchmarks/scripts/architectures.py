"""Every network of the family through the whole export, at its own image size.

Seconds, megabytes, memory, deviation.

python benchmarks/scripts/architectures.py [--networks a,b] [--targets a,b] [--imgsz N] [--name architectures]

There are no weights to ship, so each network gets random ones that carry a picture through to the maps, and detect
nothing. Each export is `edgeyolo export` in a process of its own, one after another.
Writes benchmarks/results/architectures.json and .md after every row, so that a run that is stopped keeps what it has.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import isolated
import result_files

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli.console import note, print_table
from edgeyolo.models.specs import names
from edgeyolo_bench.render.markdown import table_lines

TARGETS = ("cpu-onnx-fp32", "cpu-openvino-fp32", "ane-coreml-fp16", "jetson-trt-fp16")


def exported(weights: Path, target: str, imgsz: int | None, place: Path) -> dict[str, Any]:
    """One row: results of `edgeyolo export`, seconds and memory.

    It gives what the export says, the seconds it took and the memory it needed at most.
    """
    command = [sys.executable, "-c", "from edgeyolo.cli import main; main()", "export", str(weights)]
    command += ["--target", target, "-o", str(place), "--json", *(["--imgsz", str(imgsz)] if imgsz else [])]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        spent = isolated.run(command, stdout=out, stderr=errors)
        out.seek(0)
        errors.seek(0)
        told, said = out.read(), errors.read()
    row = {"target": target, "seconds": spent.seconds, "peak_megabytes": spent.peak / 1e6}
    if spent.code:
        reason = [line for line in said.splitlines() if line.startswith(("error: ", "detections that agree"))]
        return row | {"failed": " ".join(reason) or f"exit code {spent.code}"}
    facts = json.loads(told)
    manifest = Artifact.open(place).manifest
    return row | {
        "imgsz": manifest.input.height,
        "megabytes": facts["bytes"] / 1e6,
        "deviation": facts["parity"],
        "tolerance": facts["tolerance"],
        "maps": list(manifest.output.names),
    }


def rows_of(networks: Sequence[str], targets: Sequence[str], imgsz: int | None) -> Iterator[dict[str, Any]]:
    """Every network to every target."""
    for name in networks:
        with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
            weights = Path(folder) / f"{name}.safetensors"
            isolated.save_random(weights, name)
            for target in targets:
                note(f"{name} {target}")
                yield {"network": name} | exported(weights, target, imgsz, Path(folder) / target)


COLUMNS = (
    "network",
    "target",
    "input",
    "maps",
    "MB",
    "seconds",
    "memory",
    "deviation",
    "allowed",
    "outcome",
)


def texts_of(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Texts for the terminal and for Markdown."""
    return [
        (
            row["network"], row["target"], f"{row['imgsz']}", f"{len(row['maps'])}", f"{row['megabytes']:.1f}",
            f"{row['seconds']:.0f}", f"{row['peak_megabytes'] / 1e3:.1f} GB", f"{row['deviation']:.1e}",
            f"{row['tolerance']:g}", "written",
        )
        if "failed" not in row
        else (row["network"], row["target"], *["-"] * 7, row["failed"])
        for row in rows
    ]  # fmt: skip


def write(rows: Sequence[dict[str, Any]], name: str) -> None:
    """The results as JSON and as a table."""
    about = (
        "Every network with random weights, 80 classes, through `edgeyolo export`: maps are the outputs of the file "
        "(no auxiliary ones), seconds and memory those of the whole export with its comparison with torch on three "
        "pictures, on two shared cores. Random scores lie too near each other for detections to be compared: maps are."
    )
    result_files.write(name, rows, [about, "", *table_lines(COLUMNS, texts_of(rows))])


def main() -> None:
    """Export, print and write; exit code 1 if an export failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", help="comma-separated (default: all eight)")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--imgsz", type=int, help="default: each network's own")
    parser.add_argument("--name", default="architectures", help="of the files in benchmarks/results")
    options = parser.parse_args()
    networks = options.networks.split(",") if options.networks else list(names())
    rows: list[dict[str, Any]] = []
    for row in rows_of(networks, options.targets.split(","), options.imgsz):
        rows.append(row)
        write(rows, options.name)
    print_table(COLUMNS, texts_of(rows))
    sys.exit(any("failed" in row for row in rows))


if __name__ == "__main__":
    main()
