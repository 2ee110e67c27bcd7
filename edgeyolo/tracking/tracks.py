"""Tracked objects of one frame: one validated, immutable value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeyolo.errors import RuntimeMissingError, UsageError


@dataclass(frozen=True)
class Track:
    """One tracked object.

    Identity, box (x1, y1, x2, y2) in pixels, confidence in 0..1, class and its name, "" where it has none.
    """

    track_id: int
    box: tuple[float, float, float, float]
    confidence: float
    class_id: int
    name: str

    def __str__(self) -> str:
        x1, y1, x2, y2 = self.box
        kind = self.name or f"class {self.class_id}"
        return f"{kind} #{self.track_id} {self.confidence:.2f} at ({x1:.1f}, {y1:.1f}) - ({x2:.1f}, {y2:.1f})"


@dataclass(frozen=True, eq=False, repr=False)
class Tracks:
    """Objects tracked in one frame, in the order of their identities.

    Arrays are read-only.

    Attributes:
        xyxy: (n, 4) float32 corners in pixels of the image, from the filter that follows the object; they may reach
            a little over the image's edge.
        track_id: (n,) int64 from 1, each once.
        confidence: (n,) float32 of the detection that the track was matched to, in 0..1.
        class_id: (n,) int64.
        detection: (n,) int64 index of that detection among those given to `update`.
        class_names: names of all classes, or () where the detections had none.
        time: time of the frame in seconds.

    Raises:
        UsageError: shapes that do not belong together, or an identity given twice.
    """

    xyxy: NDArray[np.float32]
    track_id: NDArray[np.int64]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    detection: NDArray[np.int64]
    class_names: tuple[str, ...] = ()
    time: float = 0.0

    def __post_init__(self) -> None:
        n = np.size(self.track_id)
        shapes = {"xyxy": (n, 4), "track_id": (n,), "confidence": (n,), "class_id": (n,), "detection": (n,)}
        for name, shape in shapes.items():
            dtype = np.float32 if name in {"xyxy", "confidence"} else np.int64
            value = np.array(getattr(self, name), dtype, order="C")
            value = value.reshape(0, 4) if name == "xyxy" and not value.size else value
            if value.shape != shape:
                raise UsageError(f"{name}: expected {shape} for {n} track ids, got {value.shape}")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if len(set(self.track_id.tolist())) != n:
            raise UsageError(f"track_id: expected each once, got {self.track_id.tolist()}")

    @classmethod
    def empty(cls, class_names: tuple[str, ...] = (), time: float = 0.0) -> Tracks:
        """No object in the frame at `time`."""
        none = np.empty(0, np.int64)
        return cls(np.empty((0, 4), np.float32), none, np.empty(0, np.float32), none, none, class_names, time)

    def __len__(self) -> int:
        return len(self.track_id)

    def __iter__(self) -> Iterator[Track]:
        names = self.names or [""] * len(self)
        rows = zip(
            self.track_id.tolist(), self.xyxy.tolist(), self.confidence.tolist(), self.class_id.tolist(), names,
            strict=True,
        )  # fmt: skip
        return (
            Track(number, (*box,), confidence, kind, name) for number, box, confidence, kind, name in rows
        )

    def __getitem__(self, index: slice | ArrayLike) -> Tracks:
        """Tracks chosen by a slice, a bool mask or an array of indices.

        `tracks[tracks.class_id == 2]`, `tracks[[0, 2]]`.
        """
        part: Any = index if isinstance(index, slice) else np.asarray(index)
        if not isinstance(part, slice) and (part.ndim != 1 or part.dtype.kind not in "biu") and part.size:
            raise UsageError(f"index: expected a slice, booleans or a list of integers, got {index!r}")
        part = part if isinstance(part, slice) or part.size else np.empty(0, np.int64)
        return Tracks(
            self.xyxy[part], self.track_id[part], self.confidence[part], self.class_id[part],
            self.detection[part], self.class_names, self.time,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Tracks: {len(self)} at {self.time:.3f} s: {self.track_id.tolist()}>"

    @property
    def names(self) -> list[str]:
        """The class name of each track; empty where the detections had no names."""
        return [self.class_names[index] for index in self.class_id.tolist()] if self.class_names else []

    def to_json(self) -> list[dict[str, Any]]:
        """Plain Python values, one dictionary a track.

        `[{"track_id": i, "box": [x1, y1, x2, y2], "confidence": c, "class_id": k, "name": n}]`
        """
        return [
            {
                "track_id": each.track_id,
                "box": list(each.box),
                "confidence": each.confidence,
                "class_id": each.class_id,
                "name": each.name,
            }
            for each in self
        ]

    def to_mot(self, frame: int) -> str:
        """Text of the MOT Challenge, one line a track.

        `frame,id,left,top,width,height,confidence,-1,-1,-1`, with `frame` counted from 1.
        """
        if frame < 1:
            raise UsageError(f"frame: MOT files count frames from 1, got {frame}")
        return "".join(
            f"{frame},{number},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{confidence:.4f},-1,-1,-1\n"
            for number, (x1, y1, x2, y2), confidence in zip(
                self.track_id.tolist(), self.xyxy.tolist(), self.confidence.tolist(), strict=True
            )
        )

    def to_boxmot(self) -> NDArray[np.float32]:
        """(n, 8) float32 rows as boxmot gives them.

        x1, y1, x2, y2, id, confidence, class, index of the detection.
        """
        columns = (self.track_id, self.confidence, self.class_id, self.detection)
        return np.column_stack([self.xyxy, *columns]).astype(np.float32).reshape(-1, 8)

    def to_supervision(self) -> Any:
        """The same as a `supervision.Detections` with `tracker_id`.

        Names, where there are any, stand under `data["class_name"]`.
        """
        try:
            import supervision
        except ImportError as error:
            raise RuntimeMissingError(
                f"to_supervision needs the package supervision ({error})", hint="pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.xyxy.copy(),
            confidence=self.confidence.copy(),
            class_id=self.class_id.copy(),
            tracker_id=self.track_id.copy(),
            data={"class_name": np.array(self.names, dtype=str)} if self.class_names else {},
        )
