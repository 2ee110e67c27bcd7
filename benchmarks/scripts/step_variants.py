"""Ways to make a training step faster, measured in turns.

Python benchmarks/scripts/step_variants.py

A step of yolov7-tiny-silu on random pictures, by processor time on one thread, so that other work on the machine counts
as little as can be; a round runs each variant once. Writes benchmarks/results/step-variants.json and .md. `--compile`
adds torch.compile, whose first step takes minutes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

import torch
from result_files import RESULTS, write

from edgeyolo.cli.console import note
from edgeyolo.models.build import build
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.data.batches import Batch
from edgeyolo.training.loop.processes import Processes
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position
from edgeyolo.training.loop.step import Stepper
from edgeyolo.training.recipe import SHORT
from edgeyolo_bench.facts import Machine, read_device
from edgeyolo_bench.render.markdown import table_lines

NETWORK, CLASSES, OBJECTS = "yolov7-tiny-silu", 20, 3  # objects a picture
ENOUGH = 1.3  # times as fast, from which a variant is worth its complications
COLUMNS = ("variant", "ms an image", "least", "times as fast")


@dataclass(eq=False)
class Variant:
    """A way to step, its steps so far, and their milliseconds an image."""

    name: str
    config: TrainConfig
    optimizer: dict[str, bool] = field(default_factory=dict)
    denormals: bool = True  # False flushes them to zero
    times: list[float] = field(default_factory=list)

    def prepare(self) -> None:
        """Build the stepper and take the steps that set things up."""
        torch.manual_seed(0)
        count, recipe = self.config.batch_size, replace(SHORT, nominal_batch=self.config.batch_size)
        network = build(NETWORK, CLASSES)
        self._stepper = Stepper(network, recipe, self.config, Schedule(recipe, 10, 100, count), Processes())
        if self.optimizer:
            self._stepper.optimizer = torch.optim.AdamW(
                self._stepper.optimizer.param_groups, **self.optimizer
            )
        self._stepper.train_mode(self.config.image_size)
        self._batch, self._position = make_batch(count, self.config.image_size), Position()
        for _ in range(2):
            self.step()
        self.times.clear()

    def step(self) -> None:
        """Take a step and note its processor time."""
        torch.set_flush_denormal(not self.denormals)
        start = time.process_time()
        try:
            self._stepper(self._batch, self._position)
        finally:
            torch.set_flush_denormal(False)  # it holds for whatever this thread computes next
        self.times.append((time.process_time() - start) * 1e3 / self.config.batch_size)
        self._position.iteration += 1


def make_batch(count: int, size: int) -> Batch:
    """Random pictures with objects of all sizes."""
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(0, 255, (count, 3, size, size), dtype=torch.uint8, generator=rng)
    targets = torch.rand(count * OBJECTS, 6, generator=rng)
    targets[:, 0] = torch.arange(len(targets)) // OBJECTS
    targets[:, 1] = (targets[:, 1] * CLASSES).floor()
    targets[:, 2:4] = 0.1 + 0.8 * targets[:, 2:4]
    targets[:, 4:] = 0.05 + 0.4 * targets[:, 4:]
    return Batch(images, targets, tuple(range(count)))


def variants(size: int, *, compile: bool) -> list[Variant]:
    """Variants; the first is what a run does by default in float32."""
    base = TrainConfig(batch_size=16, image_size=size, precision="fp32", clip=10.0)
    listed = [
        Variant("fp32, channels last, batch 16", base),
        Variant("contiguous", replace(base, channels_last=False)),
        Variant("batch 32", replace(base, batch_size=32)),
        Variant("batch 64", replace(base, batch_size=64)),
        Variant("denormals flushed to zero", base, denormals=False),
        Variant("AdamW, foreach", base, {"foreach": True}),
        Variant("AdamW, fused", base, {"fused": True}),
        Variant("bf16", replace(base, precision="bf16")),
    ]
    return listed + ([Variant("torch.compile (inductor)", replace(base, compile=True))] if compile else [])


def measure(listed: list[Variant], rounds: int) -> None:
    """Run the variants in turns."""
    for each in listed:
        note(f"preparing {each.name}")
        each.prepare()
    for _ in range(rounds):
        for each in listed:
            each.step()


@dataclass(frozen=True)
class Cost:
    """Processor milliseconds an image of a variant: median and least of its steps."""

    name: str
    median: float
    least: float


def to_report(
    costs: list[Cost], cpu: dict[str, Any], size: int, rounds: int
) -> tuple[dict[str, Any], list[str]]:
    """JSON and Markdown; the medians decide, against the first."""
    rows = [
        (each.name, f"{each.median:.1f}", f"{each.least:.1f}", f"{costs[0].median / each.median:.2f}")
        for each in costs
    ]
    lines = [
        "# Variants of a training step",
        "",
        f"{NETWORK} at {size} pixels, {cpu['model']}, torch {torch.__version__}, processor time on one thread, "
        f"median of {rounds} rounds in turns. Worth building in from {ENOUGH} times as fast.",
        "",
        *table_lines(COLUMNS, rows),
    ]
    facts = {"device": cpu, "torch": torch.__version__, "size": size, "rounds": rounds}
    return {**facts, "milliseconds": [asdict(each) for each in costs]}, lines


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--imgsz", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    listed = variants(options.imgsz, compile=options.compile)
    measure(listed, options.rounds)
    costs = [Cost(each.name, median(each.times), min(each.times)) for each in listed]
    facts, lines = to_report(costs, asdict(read_device(Machine()).cpu), options.imgsz, options.rounds)
    write("step-variants", facts, lines)
    note("\n".join(lines))
    note(f"written to {RESULTS}/step-variants.md")


if __name__ == "__main__":
    main()
