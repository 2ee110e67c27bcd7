"""A labelled data set as one small file.

packed_data.py --data D --output voc.zip [--limit 60000000]

A zip of JPEG files and YOLO labels, unpacked into a folder that every command takes. Pictures are made as large and as
good as the limit allows, 320 to 384 pixels at the long side.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2

from edgeyolo.cli.console import note
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.values import Sample
from edgeyolo.runtime.images import read_image
from edgeyolo.support.files import atomic_file

LIMIT = 60_000_000  # bytes
PARTS = ("train", "val")
_TRIED = 64  # pictures from which the size of all is estimated
_OVERHEAD = 320  # bytes of an entry of the zip, and of its labels


@dataclass(frozen=True)
class Quality:
    """Pixels of the long side at most, and JPEG quality."""

    side: int
    jpeg: int


QUALITIES = tuple(Quality(*pair) for pair in (
    (384, 92), (384, 85), (384, 75), (352, 75), (320, 80), (320, 70), (320, 60), (320, 50), (320, 40), (320, 30),
))  # fmt: skip


def encode(sample: Sample, quality: Quality) -> bytes:
    """A picture of a data set as JPEG, shrunk where it is larger."""
    image = read_image(sample.path)
    scale = quality.side / max(image.shape[:2])
    if scale < 1:
        width, height = (max(round(side * scale), 1) for side in (image.shape[1], image.shape[0]))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality.jpeg])[1].tobytes()


def labels(sample: Sample) -> str:
    """YOLO's lines of the objects that are no crowds.

    Class, centre, size as fractions of the picture.
    """
    lines = []
    for class_id, (x1, y1, x2, y2) in zip(
        sample.class_id[~sample.crowd], sample.boxes[~sample.crowd], strict=True
    ):
        width, height = sample.size
        row = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(" ".join([str(int(class_id)), *(f"{value:.6f}" for value in row)]))
    return "\n".join(lines) + "\n"


def pack(parts: Mapping[str, Dataset], file: Path, *, limit: int = LIMIT) -> Quality:
    """Write the parts of a data set, by name, into one file of at most `limit` bytes.

    Returns the best quality by which they fit; SystemExit where none does.
    """
    samples = [sample for dataset in parts.values() for sample in dataset.images]
    tried = samples[:: max(len(samples) // _TRIED, 1)]
    for quality in QUALITIES:
        mean = sum(len(encode(sample, quality)) for sample in tried) / len(tried)
        if (mean + _OVERHEAD) * len(samples) > limit:
            continue
        with atomic_file(file) as draft:
            write(parts, draft, quality)
            fits = draft.stat().st_size <= limit
        if fits:
            return quality
    file.unlink(missing_ok=True)
    raise SystemExit(f"{len(samples)} pictures do not fit into {limit} bytes: raise --limit")


def write(parts: Mapping[str, Dataset], file: Path, quality: Quality) -> None:
    """Write the zip, whatever its size."""
    names = next(iter(parts.values())).class_names
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        lines = [f"{part}: images/{part}" for part in parts]
        archive.writestr("data.yaml", "\n".join(["path: .", *lines, f"names: {json.dumps(names)}", ""]))
        for part, dataset in parts.items():
            for number, sample in enumerate(dataset.images):
                archive.writestr(f"images/{part}/{number:06}.jpg", encode(sample, quality))
                archive.writestr(f"labels/{part}/{number:06}.txt", labels(sample))


def unpack(file: Path, folder: Path) -> dict[str, Dataset]:
    """The parts of a packed data set, from files below `folder`."""
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    learned = load_dataset(folder / "data.yaml", PARTS[0])
    return {
        PARTS[0]: learned,
        PARTS[1]: load_dataset(folder / "data.yaml", PARTS[1], class_names=learned.class_names),
    }


def main() -> None:
    """Pack from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="with parts train and val, as for `edgeyolo train`")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=LIMIT, help="bytes")
    options = parser.parse_args()
    learned = load_dataset(options.data, PARTS[0])
    judged = load_dataset(options.data, PARTS[1], class_names=learned.class_names)
    quality = pack({PARTS[0]: learned, PARTS[1]: judged}, options.output, limit=options.limit)
    size = options.output.stat().st_size / 1e6
    note(f"{options.output}: {size:.1f} MB, {quality.side} pixels, JPEG quality {quality.jpeg}")


if __name__ == "__main__":
    main()
