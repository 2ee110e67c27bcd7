"""The loop that every OpenCV program has, with a detector in it.

    python opencv_loop.py 0                           # the first camera, in a window; q ends it
    python opencv_loop.py video.mp4 --save out.avi    # a file into a file, without a window

Frames are BGR arrays as OpenCV gives them, and so are the drawings. A window needs `opencv-python` in place of the
headless one that edgeyolo brings.
"""

from __future__ import annotations

import argparse
import sys
import time

import cv2

from edgeyolo import Detector


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", help="number of a camera, or a file")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--conf", type=float, default=0.4)
    parser.add_argument("--save", help="a video file to write, in place of the window")
    options = parser.parse_args()

    capture = cv2.VideoCapture(int(options.source) if options.source.isdigit() else options.source)
    if not capture.isOpened():
        sys.exit(f"OpenCV cannot open {options.source!r}")
    writer, frames, busy = None, 0, 0.0
    with Detector(options.model, conf=options.conf) as detector:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            begin = time.perf_counter()
            detections = detector(frame)
            busy += time.perf_counter() - begin
            frames += 1
            drawn = detections.plot(frame)
            if options.save:
                if writer is None:
                    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
                    size = (drawn.shape[1], drawn.shape[0])
                    writer = cv2.VideoWriter(options.save, cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
                writer.write(drawn)
            else:
                cv2.imshow("edgeyolo", drawn)
                if cv2.waitKey(1) == ord("q"):
                    break
    capture.release()
    if writer is not None:
        writer.release()
    print(f"{frames} frames, {1000 * busy / max(frames, 1):.1f} ms each in the detector")
    return 0


if __name__ == "__main__":
    sys.exit(main())
