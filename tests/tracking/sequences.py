"""Made sequences: objects that walk, and results with every kind of fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CASES = {
    # seed: objects, frames, share of boxes lost, jitter in widths, tracks broken every so many frames, false boxes
    "clean": (1, 3, 12, 0.0, 0.0, 1000, 0),
    "noisy": (2, 8, 40, 0.2, 0.12, 13, 30),
    "crowded": (3, 20, 30, 0.1, 0.2, 9, 80),
    "mostly missed": (4, 6, 50, 0.85, 0.1, 7, 5),
    "nowhere near": (5, 4, 10, 0.0, 3.0, 5, 20),
}


def write_case(name: str, folder: Path) -> tuple[Path, Path]:
    """Ground truth and result of a case as MOT text files."""
    seed, objects, frames, lost, jitter, life, false = CASES[name]
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0, 300, (objects, 2)), rng.normal(0, 4, (objects, 2))
    size = rng.uniform(20, 40, (objects, 1)) * (1.0, 2.0)
    swap = rng.permutation(objects)
    truth, result = [], []
    for frame in range(1, frames + 1):
        for number in range(objects):
            if (frame + 3 * number) % 17 == 0:  # out of sight
                continue
            box = np.concatenate([start[number] + speed[number] * frame, size[number]])
            considered = int((frame + number) % 11 != 0)
            truth.append([frame, number + 1, *box, considered])
            if rng.random() >= lost:
                shaken = box + rng.normal(0, 1, 4) * jitter * size[number, 0]
                shaken[2:] = np.maximum(np.abs(shaken[2:]), 1)
                track = 100 * (frame // life) + (swap[number] if frame > frames // 2 else number)
                result.append([frame, track, *shaken, 0.9])
    for index in range(false):
        frame = rng.integers(1, frames + 3)  # also after the last frame of the ground truth
        track = -1 if index % 9 == 0 else 5000 + index // 3 * 3 + index % 3
        result.append([frame, track, *rng.uniform(0, 300, 2), *rng.uniform(10, 50, 2), 0.5])
    paths = folder / "gt.txt", folder / "tracks.txt"
    for path, rows in zip(paths, (truth, result), strict=True):
        text = (
            ",".join(f"{value:.2f}" if 2 <= i < 6 else f"{value:g}" for i, value in enumerate(row))
            for row in rows
        )
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return paths
