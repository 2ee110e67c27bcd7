"""The limits of an NVIDIA GPU, by torch.

`python -m edgeyolo_bench.limits.gpu_peaks` prints them as JSON.

In a process of its own, so that the command holds no memory of the GPU while others are measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

from edgeyolo.support.dataclass_json import from_plain, to_plain
from edgeyolo_bench.limits.gemm import Peak, fastest
from edgeyolo_bench.limits.peaks import Peaks


def measure_gpu_peaks() -> Peaks | None:
    """Multiplications in float32 (without TF32) and float16, and copies in memory.

    None where torch has no GPU.
    """
    if find_spec("torch") is None:
        return None
    command = [sys.executable, "-m", "edgeyolo_bench.limits.gpu_peaks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    peaks: Peaks = from_plain(Peaks, json.loads(done.stdout.splitlines()[-1]), "peaks")
    return peaks


def torch_peaks(device: str, *, side: int = 8192, array_bytes: int = 1 << 30, seconds: float = 0.5) -> Peaks:
    """The limits of a torch device.

    `side` of the square matrices, `array_bytes` of each copied array.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False  # 10 bits of mantissa are not float32

    def rate(dtype: torch.dtype) -> float:
        a = torch.rand(side, side, device=device).to(dtype)
        out = torch.empty_like(a)

        def multiply() -> None:
            torch.matmul(a, a, out=out)
            _wait(device)

        return 2 * side**3 / fastest(multiply, seconds) / 1e9

    source = torch.zeros(array_bytes // 4, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        _wait(device)

    gemm = {"fp32": (Peak(rate(torch.float32), "torch"),), "fp16": (Peak(rate(torch.float16), "torch"),)}
    moved = 2 * source.numel() * 4 / fastest(copy, seconds) / 1e9
    return Peaks(1, gemm, {"copy": moved}, array_bytes, None)


def _wait(device: str) -> None:
    """Wait for a GPU's work before the clock is read.

    A GPU works on while the program goes on.
    """
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    import torch

    if not torch.cuda.is_available():
        sys.exit("torch has no GPU here")
    print(json.dumps(to_plain(torch_peaks("cuda"))))
