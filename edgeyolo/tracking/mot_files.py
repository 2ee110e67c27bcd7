"""Text files of the MOT Challenge: boxes, and the facts of a sequence."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import DatasetError
from edgeyolo.support.reading import read_text


@dataclass(frozen=True, eq=False)
class MotRows:
    """Rows of a MOT text file: boxes of any number of frames.

    Attributes:
        frame: (n,) int64 from 1.
        track_id: (n,) int64; -1 where there is no identity.
        ltwh: (n, 4) float64 left, top, width, height in pixels.
        confidence: (n,) float64, column 7; in ground truth 1 for a box to be considered. 1 where left out.
    """

    frame: NDArray[np.int64]
    track_id: NDArray[np.int64]
    ltwh: NDArray[np.float64]
    confidence: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, part: Any) -> MotRows:
        """Rows chosen by a slice, a bool mask or an array of indices."""
        return MotRows(self.frame[part], self.track_id[part], self.ltwh[part], self.confidence[part])

    @property
    def xyxy(self) -> NDArray[np.float64]:
        """(n, 4) float64 corners."""
        return np.concatenate([self.ltwh[:, :2], self.ltwh[:, :2] + self.ltwh[:, 2:]], axis=1)


@dataclass(frozen=True)
class SequenceInfo:
    """Facts of a sequence from its seqinfo.ini.

    Frames/s, number of frames, (height, width) in pixels.
    """

    name: str
    frame_rate: float
    length: int
    image_size: tuple[int, int]


def read_mot(path: str | Path, *, evaluated: bool = False) -> MotRows:
    """Read rows `frame,id,left,top,width,height[,confidence,...]`.

    Commas or blanks separate them; rows may have any order. With `evaluated` (ground truth) at least one row must have
    a confidence of 1.

    Raises DatasetError, with the first bad line, where the file cannot be read.
    """
    lines = _text(path).replace(",", " ").splitlines()
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    values = np.array([_numbers(path, number, fields) for number, fields in rows], np.float64).reshape(-1, 7)
    result = MotRows(
        values[:, 0].astype(np.int64), values[:, 1].astype(np.int64), values[:, 2:6], values[:, 6]
    )
    if evaluated and not (result.confidence == 1).any():
        raise DatasetError(
            f"{path}: expected ground truth with 1 in column 7 of the rows to be considered, got none of "
            f"{len(result)} rows",
            hint="Give the sequence's gt.txt.",
        )
    return result


def _text(path: str | Path) -> str:
    try:
        return read_text(path, error=DatasetError)
    except FileNotFoundError as error:
        raise DatasetError(f"cannot read {path}: there is no such file") from error


def _numbers(path: str | Path, number: int, fields: list[str]) -> list[float]:
    """The first seven columns of a row; a missing confidence is 1."""
    wanted = "expected frame,id,left,top,width,height,confidence,..."
    try:
        values = [float(field) for field in fields[:7]]
    except ValueError:
        values = []
    if len(values) < 6 or not np.isfinite(values).all():
        raise DatasetError(f"{path}, line {number}: {wanted} in numbers, got {','.join(fields)[:80]!r}")
    if values[0] < 1 or values[0] % 1 or values[1] % 1:
        raise DatasetError(f"{path}, line {number}: {wanted}, got frame {fields[0]} and id {fields[1]}")
    if min(values[4:6]) < 0:
        raise DatasetError(f"{path}, line {number}: {wanted}, got a width or height below 0")
    return values if len(values) == 7 else [*values, 1.0]


def read_sequence_info(path: str | Path) -> SequenceInfo:
    """Read a seqinfo.ini of the MOT Challenge.

    Raises DatasetError where it does not say what is needed.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(path))
        section = parser["Sequence"]
        info = SequenceInfo(
            section.get("name", Path(path).parent.name),
            float(section["frameRate"]),
            int(section["seqLength"]),
            (int(section["imHeight"]), int(section["imWidth"])),
        )
    except (configparser.Error, KeyError, ValueError) as error:
        raise DatasetError(
            f"{path}: expected [Sequence] with frameRate, seqLength, imWidth and imHeight, got {error}"
        ) from error
    if not (0 < info.frame_rate < float("inf")) or min(info.length, *info.image_size) < 1:
        raise DatasetError(f"{path}: expected numbers above 0, got {info}")
    return info
