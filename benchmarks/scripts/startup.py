"""Start-up time of `import edgeyolo`, `edgeyolo --help` and `Detector()`.

Times are medians over fresh processes; their imports are listed too.

python benchmarks/scripts/startup.py [--json]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

RUNS = 15
# What importing the packages of others and ONNX Runtime's own reading of the model take is left out: the rest is ours.
DETECTOR = """
import sys, time
import cv2, numpy, onnxruntime, PIL.Image
loading = 0.0
class Session(onnxruntime.InferenceSession):
    def __init__(self, *given, **named):
        global loading
        begin = time.perf_counter()
        super().__init__(*given, **named)
        loading += time.perf_counter() - begin
onnxruntime.InferenceSession = Session
begin = time.perf_counter()
from edgeyolo import Detector
Detector()
spent = time.perf_counter() - begin
assert loading, "the session was not seen"
print(spent - loading)
"""
LIMITS = {
    "bare interpreter": None,
    "import edgeyolo": 0.25,
    "edgeyolo --help": 0.4,
    "Detector() of ours": 0.06,
}
COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import edgeyolo": [sys.executable, "-c", "import edgeyolo"],
    "edgeyolo --help": [sys.executable, "-c", "from edgeyolo.cli import main; main()", "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def detector_seconds() -> float:
    """Seconds of `Detector()` in a fresh process.

    Imports of other packages and the loading of the model are left out.
    """
    done = subprocess.run([sys.executable, "-c", DETECTOR], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    medians = {}
    for name, command in COMMANDS.items():
        seconds(command)  # the first run fills the file cache
        medians[name] = statistics.median(seconds(command) for _ in range(RUNS))
    medians["Detector() of ours"] = statistics.median(detector_seconds() for _ in range(RUNS))
    if "--json" in sys.argv:
        print(json.dumps(medians))
        return
    for name, median in medians.items():
        limit = LIMITS[name]
        print(f"{name:<18} {median:.3f} s" + (f"   (limit {limit} s)" if limit else ""))


if __name__ == "__main__":
    main()
