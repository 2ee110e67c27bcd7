"""Images a second of the networks on a GPU, by CUDA graphs.

The network alone, in float16, channels last. Random weights, re-parameterized; raw maps, without decoding and
suppression. On a CPU, for a rehearsal, in float32.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeyolo.cli.console import note
from edgeyolo.models import specs
from edgeyolo.models.build import build
from edgeyolo.models.complexity import count
from edgeyolo.models.reparameterize import reparameterize

BATCHES = (1, 32)
CLASSES = 80
SECONDS = 2.0  # of each measurement
COLUMNS = ("network", "code", "pixels", "batch", "ms a batch", "images/s", "TFLOP/s")


@dataclass(frozen=True)
class Speed:
    """Milliseconds of a batch.

    `code` is "edgeyolo" or "published"; `failed` says why there is no figure.
    """

    network: str
    code: str
    size: int
    batch: int
    milliseconds: float | None = None
    failed: str = ""

    def cells(self) -> tuple[str, ...]:
        """A row of COLUMNS."""
        start = (self.network, self.code, str(self.size), str(self.batch))
        if self.milliseconds is None:
            return (*start, self.failed, "", "")
        rate = self.batch / self.milliseconds * 1e3
        gflops = count(specs.find(self.network), CLASSES, (self.size, self.size))[1]
        return (*start, f"{self.milliseconds:.2f}", f"{rate:.0f}", f"{rate * gflops / 1e3:.1f}")


def ours(name: str) -> nn.Module:
    """A network of this project in inference form."""
    torch.manual_seed(0)
    return reparameterize(build(name, CLASSES).eval()).network


def published(checkout: Path, name: str) -> nn.Module:
    """The same network of the published code, fused, that gives raw maps."""
    sys.path.insert(0, str(checkout))
    from models.yolo import Model  # type: ignore[import-not-found]

    model = Model(str(checkout / f"cfg/deploy/{name}.yaml"), ch=3, nc=CLASSES).eval().fuse()
    model.model[-1].export = True  # its head decodes unless it is told that it is exported
    return nn.Module.eval(model)


def recorded(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    """A function that runs the network on `images`: a CUDA graph's replay on a GPU."""
    if not images.is_cuda:
        return lambda: network(images)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # what cuDNN and the allocator set up must not be captured
            network(images)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(images)
    return graph.replay


@torch.inference_mode()
def time_network(network: nn.Module, size: int, batch: int, device: str, seconds: float) -> float:
    """Mean milliseconds of a batch over some `seconds`."""
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    network = network.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(batch, 3, size, size, device=device, dtype=dtype)
    run = recorded(network, images.to(memory_format=torch.channels_last))

    def repeat(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    repeat(2)
    one = repeat(1)
    times = max(int(seconds / max(one, 1e-6)), 1)
    return repeat(times) / times * 1e3


def measure(
    names: Sequence[str], *, device: str, checkout: Path | None = None, size: int = 0,
    batches: Sequence[int] = BATCHES, seconds: float = SECONDS, done: Callable[[Speed], None] = lambda _: None,
) -> list[Speed]:  # fmt: skip
    """Measure networks, and the published code's beside them.

    checkout: of the published code; None for ours alone. size: pixels in place of each network's own. done: called
    with every figure. One that fails leaves the others.
    """
    found = []
    torch.backends.cudnn.benchmark = True
    for name in names:
        side = size or specs.find(name).imgsz
        makers: list[tuple[str, Callable[[], nn.Module]]] = [("edgeyolo", lambda name=name: ours(name))]
        if checkout is not None:
            makers.append(("published", lambda name=name: published(checkout, name)))
        for code, make in makers:
            for batch in batches:
                found.append(_measured(make, Speed(name, code, side, batch), device, seconds))
                done(found[-1])
    return found


def _measured(make: Callable[[], nn.Module], asked: Speed, device: str, seconds: float) -> Speed:
    plain = asdict(asked)
    try:
        plain["milliseconds"] = time_network(make(), asked.size, asked.batch, device, seconds)
    except Exception as error:  # noqa: BLE001 - a borrowed machine's minutes go on to the next network
        plain["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]
        note(f"{asked.network} ({asked.code}): {plain['failed']}")
    return Speed(**plain)
