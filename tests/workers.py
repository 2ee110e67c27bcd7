"""Print how many processes the tests are run by.

One more than cores, four at the most: a quarter of the time a test waits for another process or a clock. Fewer where
memory is short: each loads every runtime, and exports the largest networks.
"""

from __future__ import annotations

import os

from edgeyolo.support.memory import available_memory

EACH = 3 * 2**30  # bytes: 2 GB of libraries and networks, and as much again for a short time in one of them

if __name__ == "__main__":
    free = available_memory()
    by_memory = 4 if free is None else free // EACH
    print(max(1, min((os.cpu_count() or 1) + 1, 4, by_memory)))
