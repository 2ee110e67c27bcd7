"""Turn a camera after the largest object of a class: `python examples/follow_object.py MODEL SOURCE --class ball`.

Prints the speed at which a pan-tilt head should turn, -1 to 1 on each axis, for every frame: proportional to how far
the object is from the middle, and 0 once it has been lost for half a second. Replace `print` by your motors.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from edgeyolo import Detections, Detector


@dataclass
class Follower:
    """Keeps the object in the middle; `gain` is the speed at the edge of the picture."""

    gain: float = 0.8
    patience: float = 0.5
    seen: float = float("-inf")
    turn: tuple[float, float] = (0.0, 0.0)

    def update(self, found: Detections, time: float) -> tuple[float, float]:
        """Speeds to the right and down, -1 to 1, after a frame captured at `time`."""
        if len(found):
            height, width = found.image_size
            sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
            x1, y1, x2, y2 = found.xyxy[int(sides.prod(axis=1).argmax())].tolist()
            self.seen = time
            self.turn = self.gain * ((x1 + x2) / width - 1), self.gain * ((y1 + y2) / height - 1)
        elif time - self.seen > self.patience:
            self.turn = 0.0, 0.0
        return self.turn


def follow(detector: Detector, source: object) -> Iterator[tuple[float, float, float]]:
    """(time, right, down) for every frame: the freshest, none older than 0.2 s."""
    follower = Follower()
    with detector.stream(source, max_staleness=0.2) as stream:
        for frame, found in stream:
            yield (frame.time, *follower.update(found, frame.time))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("source")
    parser.add_argument("--class", dest="name", action="append", help="follow these classes only")
    options = parser.parse_args()
    with Detector(options.model, classes=options.name) as detector:
        for time, right, down in follow(detector, options.source):
            print(f"{time:8.2f} s  right {right:+.2f}  down {down:+.2f}")
