"""Time and memory of label assignment and loss.

`python benchmarks/scripts/assign_loss.py`.

Random head maps of yolov7 at 640 pixels with 80 classes, batch 16, and labels of every size. The published
code takes 0.11 s forward with 20 targets an image and 0.55 s with 60 on two cores of this class; a third of
each is the budget.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from edgeyolo.cli.console import print_table
from edgeyolo.training.loss.candidates import pad_targets
from edgeyolo.training.loss.loss import DetectionLoss

ANCHORS = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
STRIDES = (8, 16, 32)
PUBLISHED_SECONDS = {20: 0.11, 60: 0.55}


def make(images: int, targets: int, classes: int = 80, size: int = 640) -> tuple[list[Tensor], Tensor]:
    """Head maps as a young network gives them, and `targets` labels an image."""
    generator = torch.Generator().manual_seed(0)
    maps = []
    for stride in STRIDES:
        head = torch.randn(images, 3, 5 + classes, size // stride, size // stride, generator=generator)
        head[:, :, 4] -= 4
        head[:, :, 5:] -= 3
        maps.append(head.flatten(1, 2).requires_grad_())
    n = images * targets
    image = torch.arange(images).repeat_interleave(targets)[:, None].float()
    label = torch.randint(0, classes, (n, 1), generator=generator).float()
    centre, side = torch.rand(n, 2, generator=generator), torch.rand(n, 2, generator=generator)
    return maps, torch.cat([image, label, centre, torch.exp(side * 3.2 - 4)], 1)


def seconds(work: Callable[[], object], runs: int) -> tuple[float, float]:
    """Fastest and median run.

    On a busy machine the fastest is the one that says something.
    """
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def forget_peak() -> None:
    """Begin to measure the peak anew.

    It would otherwise include that of the process that started this one.
    """
    with suppress(OSError):  # elsewhere than on Linux the peak is that of the process's life
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """The most memory that was in use since `forget_peak`."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@dataclass(frozen=True)
class Case:
    """Seconds and memory of one number of images and labels.

    Seconds are the fastest of the runs (`median`: of assignment + loss); memory is the growth of its peak in
    MB.
    """

    images: int
    targets: int
    assign: float
    forward: float
    median: float
    with_backward: float
    memory: float

    @property
    def published(self) -> float | None:
        """Seconds of the published code for the same, where they are known."""
        return PUBLISHED_SECONDS.get(self.targets) if self.images == 16 else None

    def cells(self) -> tuple[str, ...]:
        """Row of COLUMNS."""
        published = self.published
        return (
            str(self.images),
            str(self.targets),
            f"{self.assign:.4f}",
            f"{self.forward:.4f}",
            f"{1e3 * self.forward / self.images:.2f}",
            f"{self.median:.4f}",
            f"{self.with_backward:.4f}",
            f"{self.memory:.0f}",
            "" if published is None else f"{published:.2f}",
            "" if published is None else f"{published / self.forward:.1f} x",
        )


COLUMNS = (
    "images",
    "targets an image",
    "assign s",
    "assign + loss s",
    "ms an image",
    "median s",
    "with backward s",
    "memory MB",
    "published s",
    "faster",
)
CASES = ((4, 20), (8, 20), (16, 20), (4, 60), (8, 60), (16, 60), (16, 300))


def measure(images: int, targets: int, threads: int, runs: int) -> Case:
    """One case, in this process, whose peak memory should be this case's."""
    torch.set_num_threads(threads)
    loss = DetectionLoss(ANCHORS, STRIDES, 80)
    maps, rows = make(images, targets)
    loss(*make(1, 1))  # libraries load, thread pools start
    forget_peak()
    before = peak_mb()
    forward, median = seconds(partial(loss, maps, rows), runs)
    grown = peak_mb() - before
    labels = pad_targets(rows, images)

    def step() -> None:
        loss(maps, rows).total.backward()

    alone, _ = seconds(partial(loss.positives, maps, labels), runs)
    both, _ = seconds(step, runs)
    return Case(images, targets, alone, forward, median, both, grown)


def measure_all(threads: int, runs: int) -> list[Case]:
    """Every case of CASES, each in a process of its own."""
    found = []
    for images, targets in CASES:
        with get_context("spawn").Pool(1) as fresh:
            found.append(fresh.apply(measure, (images, targets, threads, runs)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    print_table(COLUMNS, [case.cells() for case in measure_all(options.threads, options.runs)])


if __name__ == "__main__":
    main()
