"""Time and memory of label assignment and loss: `python benchmarks/assign_loss.py`.

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
from functools import partial
from multiprocessing import get_context

import torch
from torch import Tensor

from edgeyolo.training.candidates import pad_targets
from edgeyolo.training.loss import DetectionLoss

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
    """Fastest and median run; on a busy machine the fastest is the one that says something."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: tuple[int, int, int, int]) -> str:
    images, targets, threads, runs = case
    torch.set_num_threads(threads)
    loss = DetectionLoss(ANCHORS, STRIDES, 80)
    maps, rows = make(images, targets)
    loss(*make(1, 1))  # libraries load, thread pools start
    before = peak_mb()
    forward, median = seconds(partial(loss, maps, rows), runs)
    grown = peak_mb() - before
    labels = pad_targets(rows, images)

    def step() -> None:
        loss(maps, rows).total.backward()

    alone, _ = seconds(partial(loss.positives, maps, labels), runs)
    both, _ = seconds(step, runs)
    line = (
        f"{images:6} {targets:7} {alone:7.4f}s {forward:11.4f}s {median:7.4f}s {both:12.4f}s {grown:7.0f} MB"
    )
    if images == 16 and targets in PUBLISHED_SECONDS:
        line += f"  published {PUBLISHED_SECONDS[targets]} s: {PUBLISHED_SECONDS[targets] / forward:.1f} x"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    print("images targets   assign  assign+loss  median  with backward  memory (forward, peak growth)")
    for images, targets in ((4, 20), (8, 20), (16, 20), (4, 60), (8, 60), (16, 60), (16, 300)):
        with get_context("spawn").Pool(1) as fresh:  # a process of its own: its peak memory is this case's
            print(fresh.apply(measure, ((images, targets, options.threads, options.runs),)), flush=True)


if __name__ == "__main__":
    main()
