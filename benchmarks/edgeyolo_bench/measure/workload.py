"""The images that are measured on: a folder's, or generated scenes.

Never zeros: an empty picture leaves post-processing nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np

from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import ImageError
from edgeyolo.runtime.encoded_image import decode_image
from edgeyolo.runtime.images import find_images, read_file
from edgeyolo_bench.values.measurement import ImageFacts

SCENE_SIZE = (720, 1280)  # (height, width): a camera's frame
SCENES = 16
MOST_IMAGES = 128  # held in memory as files; more would not change a latency
_JPEG_QUALITY = 90
DRAWS = 4096


@dataclass(frozen=True)
class Workload:
    """Encoded images, as a camera or a disk gives them.

    Decoding is one of the stages, reading from disk is not.
    """

    encoded: tuple[bytes, ...]
    facts: ImageFacts
    warnings: tuple[str, ...] = ()

    def query(self, number: int, images: int) -> Sequence[bytes]:
        """The images of query `number`, counted from 0.

        The images follow each other in a circle.
        """
        count = len(self.encoded)
        return [self.encoded[(number * images + index) % count] for index in range(images)]


def drawn(workload: Workload, seed: int | None) -> Workload:
    """The images in an order drawn with a seed.

    Each is as likely every time, as in MLPerf's load generator; as they are where the seed is None. The sequence
    begins again after DRAWS images.
    """
    if seed is None:
        return workload
    order = np.random.default_rng(seed).integers(0, len(workload.encoded), DRAWS)
    return replace(workload, encoded=tuple(workload.encoded[index] for index in order))


def generated(count: int = SCENES, size: tuple[int, int] = SCENE_SIZE) -> Workload:
    """Scenes of `size` = (height, width) from fixed seeds, as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    encoded = tuple(
        cv2.imencode(".jpg", make_scene(seed, size).image, options)[1].tobytes() for seed in range(count)
    )
    pixels = (float(size[0]), float(size[1]))
    return Workload(encoded, ImageFacts("generated", count, _identify(encoded), pixels, "jpeg"))


def from_folder(source: str | Path) -> Workload:
    """The images of a file, folder or pattern.

    If there are very many, 128 are spread evenly over them.

    Raises ImageError where there is none, or one cannot be decoded.
    """
    walk = find_images(source)
    paths = walk.files
    chosen = [
        paths[i] for i in np.linspace(0, len(paths) - 1, min(len(paths), MOST_IMAGES)).round().astype(int)
    ]
    encoded = tuple(read_file(path) for path in chosen)
    flat: list[str] = []
    sizes: list[tuple[int, ...]] = []
    for path, data in zip(chosen, encoded, strict=True):  # one at a time: photographs are large
        image = decode_image(data, str(path))
        sizes.append(image.shape[:2])
        if image.min() == image.max():
            flat.append(path.name)
    if len(flat) == len(chosen):
        raise ImageError(
            f"{source}: every image is of a single colour; the time after the network would be that of nothing found",
            hint="Give photographs, or leave out --images: scenes are generated.",
        )
    shapes = np.array(sizes, dtype=np.float64).mean(axis=0)
    kinds = sorted({path.suffix.lower().lstrip(".").replace("jpg", "jpeg") for path in chosen})
    facts = ImageFacts(
        Path(source).name,
        len(chosen),
        _identify(encoded),
        (float(shapes[0]), float(shapes[1])),
        "+".join(kinds),
    )
    warnings = [f"{len(chosen)} of {len(paths)} images are used"] if len(chosen) < len(paths) else []
    warnings += [f"{len(flat)} images are of a single colour"] if flat else []
    warnings += [f"left out: {line}" for line in walk.sentences()]
    return Workload(encoded, facts, tuple(warnings))


def _identify(encoded: Sequence[bytes]) -> str:
    digest = sha256()
    for data in encoded:
        digest.update(sha256(data).digest())
    return digest.hexdigest()
