"""The harness against itself.

The same measurement twice, and what the harness costs.

python benchmarks/scripts/repeat.py [--targets cpu-onnx-fp32,cpu-openvino-fp32] [--seconds 20] [--processes 10] [--json]

yolov7-tiny at 640 x 640, with random weights unless --weights are given. On a quiet machine the two medians lie within
3 % of each other, their intervals overlap, and the harness costs less than 1 % of a query; otherwise it ends with 1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeyolo.cli.console import note, print_table
from edgeyolo.models import specs
from edgeyolo_bench.measure.jobs import Wanted, make_jobs
from edgeyolo_bench.measure.measure import measure
from edgeyolo_bench.measure.scenarios import choose
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.measure.workload import generated
from edgeyolo_bench.render.display import listening
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import Report

NETWORK, SIDE = "yolov7-tiny", 640
MOST_APART, MOST_OVERHEAD = 0.03, 0.01


@dataclass(frozen=True)
class Pair:
    """Two measurements of one artifact.

    Medians in milliseconds with their intervals, and what is demanded of them.
    """

    target: str
    first: tuple[float, float | None, float | None]
    second: tuple[float, float | None, float | None]
    apart: float
    overlap: bool
    overhead: float

    @property
    def holds(self) -> bool:
        """Return True if all three demands are met."""
        return self.apart <= MOST_APART and self.overlap and self.overhead <= MOST_OVERHEAD


def pair(first: Measurement, second: Measurement) -> Pair:
    """The medians of two measurements side by side."""
    stages = [item.stage(item.scenario.judged) for item in (first, second)]
    one, other = (stage.quantile(0.5) for stage in stages if stage is not None)
    known = None not in (one.low, one.high, other.low, other.high)
    overlap = known and (one.low or 0) <= (other.high or 0) and (other.low or 0) <= (one.high or 0)
    return Pair(
        first.artifact.target,
        (one.value, one.low, one.high),
        (other.value, other.low, other.high),
        abs(other.value / one.value - 1),
        overlap,
        max(first.overhead.share, second.overhead.share),
    )


def twice(jobs: list[Job]) -> tuple[Report, Report]:
    """The same jobs measured one time after the other."""
    with listening() as listener:
        return measure(jobs, listener=listener), measure(jobs, listener=listener)


def text(value: tuple[float, float | None, float | None]) -> str:
    """Text such as `12.3 (12.1 to 12.6)`."""
    middle, low, high = value
    return f"{middle:.2f} ({low:.2f} to {high:.2f})" if low and high else f"{middle:.2f} (no interval)"


def main() -> None:
    """Measure, print, and end with 1 where a demand is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", default="cpu-onnx-fp32,cpu-openvino-fp32")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--imgsz", type=int, default=SIDE)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        weights = options.weights or Path(folder) / f"{NETWORK}.safetensors"
        if options.weights is None:
            from edgeyolo_bench.measure.random_weights import save_random

            save_random(weights, specs.get(NETWORK))
        wanted = Wanted(
            choose("single-stream", min_duration=options.seconds),
            generated(),
            tuple(options.targets.split(",")),
            size=(options.imgsz, options.imgsz),
            processes=options.processes,
        )
        jobs, failures = make_jobs([weights], wanted, note)
        reports = twice(jobs)
    for failure in failures:
        note(f"{failure.what}: {failure.message}")
    pairs = [pair(*both) for both in zip(*(report.measurements for report in reports), strict=True)]
    show(pairs, reports, as_json=options.json)
    if failures or not all(item.holds for item in pairs):
        raise SystemExit(1)


def show(pairs: list[Pair], reports: tuple[Report, Report], *, as_json: bool) -> None:
    """Print the pairs, and what disturbed them."""
    if as_json:
        print(json.dumps([asdict(item) | {"holds": item.holds} for item in pairs], indent=2))
    else:
        columns = ("target", "first p50 ms", "second p50 ms", "apart", "intervals", "harness", "")
        rows = [
            (
                item.target,
                text(item.first),
                text(item.second),
                f"{item.apart:.2%}",
                "overlap" if item.overlap else "do not overlap",
                f"{item.overhead:.3%}",
                "holds" if item.holds else "MISSED",
            )
            for item in pairs
        ]
        print_table(columns, rows)
    for warning in dict.fromkeys(warning for report in reports for warning in report.warnings):
        note(f"disturbed: {warning}")


if __name__ == "__main__":
    main()
