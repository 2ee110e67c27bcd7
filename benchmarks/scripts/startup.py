"""Start-up time of `import edgeyolo` and `edgeyolo --help`.

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
LIMITS = {"bare interpreter": None, "import edgeyolo": 0.25, "edgeyolo --help": 0.4}
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


def main() -> None:
    """Measure and print."""
    medians = {}
    for name, command in COMMANDS.items():
        seconds(command)  # the first run fills the file cache
        medians[name] = statistics.median(seconds(command) for _ in range(RUNS))
    if "--json" in sys.argv:
        print(json.dumps(medians))
        return
    for name, median in medians.items():
        limit = LIMITS[name]
        print(f"{name:<18} {median:.3f} s" + (f"   (limit {limit} s)" if limit else ""))


if __name__ == "__main__":
    main()
