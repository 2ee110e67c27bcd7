"""Count cars across a line: `python examples/count_cars.py street.mp4 0,250,768,250`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from edgeyolo import Detector, Tracker
from edgeyolo.tracking import LineCounter

VEHICLES = ("car", "bus", "motorbike", "truck")


def count(
    source: object, line: LineCounter, max_fps: float | None = None
) -> Iterator[tuple[float, int, int]]:
    """(time, in, out) whenever a vehicle has crossed the line."""
    with Detector() as detector:  # the model that comes with the package
        tracker = Tracker(class_wise=False)  # what is a car now and a bus then is one vehicle
        wanted = [index for index, name in enumerate(detector.class_names) if name in VEHICLES]
        with detector.stream(source, max_fps=max_fps) as stream:
            for frame, found in stream:
                vehicles = found[[index for index, kind in enumerate(found.class_id) if kind in wanted]]
                before = line.count_in + line.count_out
                line = line.update(tracker.update(vehicles, frame.time))
                if line.count_in + line.count_out > before:
                    yield frame.time, line.count_in, line.count_out


if __name__ == "__main__":
    x1, y1, x2, y2 = map(float, sys.argv[2].split(","))
    for time, ins, outs in count(sys.argv[1], LineCounter((x1, y1), (x2, y2))):
        print(f"{time:7.2f} s: {ins} in, {outs} out")
