"""Two cameras in one event loop: `python examples/two_cameras.py MODEL rtsp://one rtsp://two`.

Each camera has a task of its own. The network is shared; a frame of one camera waits for that of the other, never in a
queue that grows.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from edgeyolo import Detector


async def watch(detector: Detector, camera: object, report: Callable[[str], object]) -> int:
    """Report the objects of one camera until it ends; returns the number of frames."""
    frames = 0
    with detector.stream(camera, max_staleness=0.5) as stream:
        async for frame, found in stream:
            frames += 1
            report(f"{frame.source} {frame.time:.2f}: {', '.join(found.names) or 'nothing'}")
    return frames


async def main(model: str, cameras: list[str]) -> None:
    """Watch all cameras at once."""
    with Detector(model) as detector:
        await asyncio.gather(*(watch(detector, camera, print) for camera in cameras))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
