"""Speedup of integers.

ONNX Runtime and OpenVINO, float and INT8, in turns in one run.

python benchmarks/scripts/integers_speed.py [--imgsz 640] [--rounds 60]
        [--networks yolov7-tiny,yolov7-tiny-silu] [--threads 2]

Weights are random: time does not depend on them. In every round each artifact runs a few times on one image, in an
order drawn anew; a round's figure is its median. Ratios are medians of the rounds' ratios, with a bootstrap interval
over rounds. Writes benchmarks/results/integers-speed-640.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result_files import write

from edgeyolo.backend import registry
from edgeyolo.backend.interface import CalibrationSource, Session
from edgeyolo.cli.console import note, print_table, progress
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.export import ExportOptions, export
from edgeyolo.models.specs import get
from edgeyolo_bench.facts import Machine, read_device
from edgeyolo_bench.measure.random_weights import save_random
from edgeyolo_bench.render.markdown import table_lines

PAIRS = (("cpu-openvino-fp32", "cpu-openvino-int8", 2.3), ("cpu-onnx-fp32", "cpu-onnx-int8", 1.6))
TARGETS = tuple(target for pair in PAIRS for target in pair[:2])
RUNS, WARM_UP, RESAMPLES = 5, 10, 2000
COLUMNS = ("network", "float", "INT8", "float, ms", "INT8, ms", "times faster", "95 % interval", "wanted")

Times = dict[str, NDArray[np.float64]]


def measure(network: str, options: argparse.Namespace, calibration: CalibrationSource, folder: Path) -> Times:
    """Milliseconds by target: (rounds,)."""
    weights = folder / f"{network}.safetensors"
    save_random(weights, get(network))
    side = (options.imgsz, options.imgsz)
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for target in TARGETS:
            artifact = export(
                weights,
                target,
                folder / network / target,
                ExportOptions(side, calibration=calibration, unjudged=True),
            )
            session = registry.open_session(artifact, threads=options.threads)
            sessions[target] = stack.enter_context(closing(session))
            batch = np.zeros(artifact.manifest.input.shape(), np.float32)
        return in_turns(sessions, batch, options.rounds)


def in_turns(sessions: dict[str, Session], batch: NDArray[np.float32], rounds: int) -> Times:
    """Each round's median of every session; the order within a round is drawn."""
    rng = np.random.default_rng(0)
    batch = rng.random(batch.shape, np.float32)
    for session in sessions.values():
        for _ in range(WARM_UP):
            session.run(batch)
    found: dict[str, list[float]] = {target: [] for target in sessions}
    with progress("rounds") as advance:
        for number in range(rounds):
            for target in rng.permutation(list(sessions)).tolist():
                found[target].append(float(np.median([timed(sessions[target], batch) for _ in range(RUNS)])))
            advance(number + 1, rounds)
    return {target: np.array(times) for target, times in found.items()}


def timed(session: Session, batch: NDArray[np.float32]) -> float:
    """Milliseconds of one run."""
    start = time.perf_counter()
    session.run(batch)
    return (time.perf_counter() - start) * 1e3


def compare(network: str, times: Times) -> list[dict[str, Any]]:
    """A row for each pair."""
    rng = np.random.default_rng(0)
    rows = []
    for exact, integers, wanted in PAIRS:
        ratios = times[exact] / times[integers]
        drawn = np.median(rng.choice(ratios, (RESAMPLES, len(ratios))), axis=1)
        rows.append(
            {
                "network": network, "float": exact, "int8": integers, "float_ms": float(np.median(times[exact])),
                "int8_ms": float(np.median(times[integers])), "ratio": float(np.median(ratios)),
                "interval": np.quantile(drawn, [0.025, 0.975]).tolist(), "wanted": wanted, "rounds": len(ratios),
            }
        )  # fmt: skip
    return rows


def texts(row: dict[str, Any]) -> tuple[str, ...]:
    """A row for the terminal and for Markdown."""
    low, high = row["interval"]
    return (
        row["network"], row["float"], row["int8"], f"{row['float_ms']:.1f}", f"{row['int8_ms']:.1f}",
        f"{row['ratio']:.2f}", f"{low:.2f} to {high:.2f}", f"{row['wanted']:g}",
    )  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--images", type=int, default=16, help="calibration images; they do not change the time"
    )
    parser.add_argument("--networks", default="yolov7-tiny,yolov7-tiny-silu")
    parser.add_argument("--name", help="of the files in benchmarks/results (default: integers-speed-IMGSZ)")
    options = parser.parse_args()
    name = options.name or f"integers-speed-{options.imgsz}"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        scenes = write_dataset(Path(folder) / "scenes", range(options.images), (options.imgsz, options.imgsz))
        calibration = registry.open_calibration(str(scenes), images=options.images)
        for network in options.networks.split(","):
            note(f"{network}: exporting, then {options.rounds} rounds")
            rows += compare(network, measure(network, options, calibration, Path(folder)))
    print_table(COLUMNS, [texts(row) for row in rows])
    cpu = read_device(Machine()).cpu
    about = (
        f"{cpu.model} ({', '.join(cpu.features)}); {options.imgsz}x{options.imgsz}, one image at a time, "
        f"{options.threads} threads, {options.rounds} rounds in turns; milliseconds are medians, ratios medians over "
        "rounds with a bootstrap interval."
    )
    facts = {"device": asdict(cpu), "imgsz": options.imgsz, "threads": options.threads, "rows": rows}
    write(name, facts, [about, "", *table_lines(COLUMNS, [texts(row) for row in rows])])


if __name__ == "__main__":
    main()
