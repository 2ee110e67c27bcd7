"""Damaged files, thousands of them: every one is read or refused in a sentence.

python benchmarks/scripts/fuzz.py [--inputs 12000] [--seed 0] [--kind coco] [--name fuzz]

A failure is an exception that is no EdgeYoloError, more than 10 seconds, or more than 1 GB of memory. Inputs are
damaged by seed: `--kind KIND --seed N --inputs 1` gives one again. With `--name`, the table goes to benchmarks/results.
Exit code 1 where something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import result_files

SLOWEST_S = 10.0
_PATIENCE_S = 30.0  # a worker that says nothing is killed
_START_S = 180.0  # one that is starting imports torch
_MOST_KB = 1 << 20  # 1 GB
_KEPT = 20  # failures that are told in full
DATA = ("coco", "yolo labels", "yolo yaml", "yolo list", "voc", "recipe", *(
    f"image {form}" for form in ("jpg", "png", "webp", "bmp", "tiff", "gif")))  # fmt: skip
MODELS = ("manifest", "golden vectors", "training state", "weights", "checkpoint")


@dataclass
class Tally:
    """Counts of one kind of input."""

    kind: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    failed: int = 0
    slowest_s: float = 0.0
    most_mb: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, told: dict[str, Any]) -> None:
        """Count one input as its worker tells of it."""
        self.inputs += 1
        self.slowest_s = max(self.slowest_s, told["seconds"])
        self.most_mb = max(self.most_mb, told["mb"])
        setattr(self, told["outcome"], getattr(self, told["outcome"]) + 1)
        if told["outcome"] == "failed" and len(self.failures) < _KEPT:
            self.failures.append({"seed": told["seed"], "why": told["why"]})


def work(name: str, first: int, last: int) -> None:
    """Read inputs `first` to `last` of a kind and tell of each in a line of JSON."""
    import fuzz_inputs

    # Whatever the readers or their libraries print is not this process's tale.
    tale = sys.stdout
    sys.stdout = sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        make = fuzz_inputs.data_kinds if name in DATA else fuzz_inputs.model_kinds
        kind = make(Path(folder))[name]
        outcome, why = _attempt(kind, kind.good)  # the libraries are loaded with it
        if outcome == "failed":
            raise SystemExit(f"{name}: the good input fails: {why}")
        tell(tale, {"ready": True})
        base = _used_kb()
        for seed in range(first, last):
            data = kind.damage(kind.good, random.Random(seed))
            begin = time.monotonic()
            outcome, why = _attempt(kind, data)
            seconds, grown = time.monotonic() - begin, _used_kb() - base
            if outcome != "failed" and seconds > SLOWEST_S:
                outcome, why = "failed", f"{seconds:.1f} s"
            if outcome != "failed" and grown > _MOST_KB:
                outcome, why = "failed", f"{grown / 1024:.0f} MB"
            told = {
                "seed": seed,
                "outcome": outcome,
                "why": why,
                "seconds": round(seconds, 3),
                "mb": grown // 1024,
            }
            tell(tale, told)
            if grown > _MOST_KB:  # the next one is counted from a fresh start
                return


def tell(stream: Any, what: dict[str, Any]) -> None:
    """Write a line that the other side reads at once."""
    stream.write(json.dumps(what) + "\n")
    stream.flush()


def _attempt(kind: Any, data: bytes) -> tuple[str, str]:
    from edgeyolo.errors import EdgeYoloError

    try:
        kind.read(data)
    except EdgeYoloError:
        return "refused", ""
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        trace, last = error.__traceback__, ""
        while trace:
            frame, trace = trace, trace.tb_next
            last = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
        return "failed", f"{type(error).__name__}: {str(error)[:200]} ({last})"
    return "accepted", ""


def _used_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(kind: str, inputs: int, seed: int) -> Tally:
    """Have workers read all inputs of a kind.

    A worker that dies or hangs is one failed input.
    """
    tally, following, last = Tally(kind), seed, seed + inputs
    while following < last:
        command = [sys.executable, __file__, "--worker", kind, str(following), str(last)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as worker:
            started = False
            for told in _lines(worker):
                if "ready" in told:
                    started = True
                    continue
                tally.add(told)
                following = told["seed"] + 1
            worker.kill()
            code = worker.wait()
        if not started:
            raise SystemExit(f"{kind}: the worker did not start (exit code {code})")
        if following < last and code != 0:
            why = f"the process ended (exit code {code}) or said nothing for {_PATIENCE_S:g} s"
            tally.add({"seed": following, "outcome": "failed", "why": why, "seconds": 0.0, "mb": 0.0})
            following += 1
    return tally


def _lines(worker: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Tales of a worker, until it ends or says nothing for too long."""
    assert worker.stdout is not None
    patience, pending = _START_S, b""
    while select.select([worker.stdout], [], [], patience)[0]:
        piece = os.read(worker.stdout.fileno(), 1 << 16)  # not buffered: select sees what is left
        if not piece:
            return
        *lines, pending = (pending + piece).split(b"\n")
        yield from map(json.loads, lines)
        patience = _PATIENCE_S


def shares(inputs: int, kinds: Sequence[str]) -> dict[str, int]:
    """Inputs of each kind: fewer of what takes long to read."""
    weight = {
        "golden vectors": 0.15,
        "manifest": 0.5,
        "weights": 0.3,
        "coco": 2,
        "yolo yaml": 2,
        "checkpoint": 1.5,
    }
    weights = {kind: weight.get(kind, 0.8 if kind.startswith("image") else 1.0) for kind in kinds}
    return {kind: max(1, round(inputs * each / sum(weights.values()))) for kind, each in weights.items()}


def lines_of(tallies: Sequence[Tally], facts: dict[str, Any]) -> list[str]:
    """The table in Markdown."""
    where = f"seeds {facts['seed']} and on for each kind, {facts['seconds']:.0f} s on {facts['processor']}"
    lines = [
        "# Damaged files",
        "",
        f"{facts['inputs']:,} inputs, {where}: {facts['failed']} failed (an exception that is no sentence, more than "
        f"{SLOWEST_S:g} s, or more than 1 GB).",
        "",
        "| kind | inputs | read | refused | failed | slowest | memory |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {t.kind} | {t.inputs:,} | {t.accepted:,} | {t.refused:,} | {t.failed:,} | {t.slowest_s:.2f} s "
        f"| {t.most_mb:.0f} MB |"
        for t in tallies
    ]
    return lines


def main() -> int:
    """Run the job; returns its exit code."""
    from edgeyolo.support.machine import processor_name

    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=[*DATA, *MODELS])
    parser.add_argument("--name", help="Write NAME.json and NAME.md into benchmarks/results.")
    asked = parser.parse_args()
    begin, tallies = time.monotonic(), []
    for kind, count in shares(asked.inputs, asked.kind or [*DATA, *MODELS]).items():
        tally = run(kind, count, asked.seed)
        tallies.append(tally)
        print(
            f"{kind}: {tally.inputs} inputs, {tally.accepted} read, {tally.refused} refused, {tally.failed} failed"
        )
        for failure in tally.failures:
            print(f"  seed {failure['seed']}: {failure['why']}")
    facts: dict[str, Any] = {
        "inputs": sum(tally.inputs for tally in tallies),
        "failed": sum(tally.failed for tally in tallies),
        "seed": asked.seed,
        "seconds": round(time.monotonic() - begin, 1),
        "processor": processor_name(),
    }
    if asked.name:
        result_files.write(
            asked.name, facts | {"rows": [asdict(t) for t in tallies]}, lines_of(tallies, facts)
        )
    return int(facts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
