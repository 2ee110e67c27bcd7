"""Every network of the family through the whole export, at its own image size.

Seconds, megabytes, memory, deviation.

python benchmarks/scripts/architectures.py [--networks a,b] [--targets a,b] [--size N] [--name architectures] [--retry]

There are no weights to ship, so each network gets random ones that carry a picture through to the maps, and detect
nothing: integers are calibrated on generated scenes and exported unjudged. Each export is `edgeyolo export` in a
process of its own at low priority, one after another.
Writes benchmarks/results/architectures.json and .md after every row. A run that was stopped, or killed, is taken up
by the same command: rows that are there are skipped, refusals too unless --retry is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import isolated
import result_files

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli.console import note, print_table
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.models.specs import known
from edgeyolo_bench.render.markdown import table_lines

TARGETS = (
    "cpu-onnx-fp32",
    "jetson-trt-fp16",
    "cpu-onnx-int8",
    "cpu-openvino-fp32",
    "ane-coreml-fp16",
    "cpu-tflite-fp32",
)
CALIBRATED_ON = 8  # scenes: enough for ranges of a network that has learned nothing
Row = dict[str, Any]
Key = tuple[str, str, int | None]


def exported(weights: Path, target: str, imgsz: int | None, place: Path) -> Row:
    """One row: results of `edgeyolo export`, seconds and memory.

    It gives what the export says, the seconds it took and the memory it needed at most.
    """
    command = ["nice", "-n", "10", sys.executable, "-m", "edgeyolo", "export", str(weights)]
    command += ["--target", target, "-o", str(place), "--json", *(["--imgsz", str(imgsz)] if imgsz else [])]
    if target.endswith("-int8"):
        command += ["--calib", str(scenes(weights.parent / "scenes")), "--unjudged"]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        spent = isolated.run(command, stdout=out, stderr=errors)
        out.seek(0)
        errors.seek(0)
        told, said = out.read(), errors.read()
    row = {
        "target": target,
        "asked": imgsz,
        "seconds": spent.seconds,
        "processor_seconds": spent.processor,
        "peak_megabytes": spent.peak / 1e6,
    }
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


def scenes(folder: Path) -> Path:
    """A folder of generated scenes to calibrate on; made on the first call."""
    if not folder.exists():
        folder.mkdir()
        for seed in range(CALIBRATED_ON):
            cv2.imwrite(str(folder / f"{seed}.png"), make_scene(seed).image)
    return folder


def key_of(row: Row) -> Key:
    """The identity of a row: one export."""
    return row["network"], row["target"], row["asked"]


def kept(name: str, *, retry: bool) -> list[Row]:
    """Rows of a former run.

    Those without processor time are of an older script, and measured again.
    """
    file = result_files.RESULTS / f"{name}.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return [row for row in rows if "processor_seconds" in row and not (retry and "failed" in row)]


def rows_of(
    networks: Sequence[str], targets: Sequence[str], imgsz: int | None, done: Collection[Key]
) -> Iterator[Row]:
    """Every network to every target, but for what is done."""
    for name in networks:
        missing = [target for target in targets if (name, target, imgsz) not in done]
        if not missing:
            continue
        with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
            weights = Path(folder) / f"{name}.safetensors"
            isolated.save_random(weights, name)
            for target in missing:
                note(f"{name} {target}")
                place = Path(folder) / target
                yield {"network": name} | exported(weights, target, imgsz, place)
                shutil.rmtree(place, ignore_errors=True)


COLUMNS = (
    "network",
    "target",
    "input",
    "maps",
    "MB",
    "seconds",
    "processor",
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
            f"{row['seconds']:.0f}", f"{row['processor_seconds']:.0f} s",
            f"{row['peak_megabytes'] / 1e3:.1f} GB", f"{row['deviation']:.1e}",
            f"{row['tolerance']:g}", "written",
        )
        if "failed" not in row
        else (row["network"], row["target"], *["-"] * 8, row["failed"])
        for row in rows
    ]  # fmt: skip


def write(rows: Sequence[dict[str, Any]], name: str) -> None:
    """The results as JSON and as a table."""
    about = (
        "Every network with random weights, 80 classes, through `edgeyolo export`: maps are the outputs of the file "
        "(no auxiliary ones), seconds, processor time and memory those of the whole export with its comparison with "
        "torch on three pictures, on two shared cores at low priority. Integers are exported unjudged. Random scores "
        "lie too near each other for detections to be compared: maps are."
    )
    result_files.write(name, rows, [about, "", *table_lines(COLUMNS, texts_of(rows))])


def main() -> None:
    """Export, print and write; exit code 1 if an export failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", help="comma-separated (default: all eight, and the baselines)")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--size", "--imgsz", type=int, help="default: each network's own")
    parser.add_argument("--name", default="architectures", help="of the files in benchmarks/results")
    parser.add_argument("--retry", action="store_true", help="try again what was refused or broke off")
    options = parser.parse_args()
    # A request to end closes what is open: the export that runs and the temporary folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    networks = options.networks.split(",") if options.networks else list(known())
    rows = kept(options.name, retry=options.retry)
    done = {key_of(row) for row in rows}
    for row in rows_of(networks, options.targets.split(","), options.size, done):
        rows.append(row)
        write(rows, options.name)
    print_table(COLUMNS, texts_of(rows))
    sys.exit(any("failed" in row for row in rows))


if __name__ == "__main__":
    main()
