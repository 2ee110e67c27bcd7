"""Detections of one image as one validated, immutable value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeyolo.errors import RuntimeMissingError, UsageError

if TYPE_CHECKING:
    from edgeyolo.runtime.images import ImageSource


@dataclass(frozen=True)
class Detection:
    """One detected object.

    Attributes:
        box: corners (x1, y1, x2, y2) in pixels of the original, upright image.
        confidence: 0..1.
        class_id: index into the network's class names.
        name: the class name.
    """

    box: tuple[float, float, float, float]
    confidence: float
    class_id: int
    name: str

    def __str__(self) -> str:
        x1, y1, x2, y2 = self.box
        return f"{self.name} {self.confidence:.2f} at ({x1:.1f}, {y1:.1f}) - ({x2:.1f}, {y2:.1f})"


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Objects of one image, highest confidence first (equal ones in the order given).

    Arrays are read-only.

    Attributes:
        xyxy: (n, 4) float32 corners x1 <= x2, y1 <= y2 in pixels of the original, upright image.
        confidence: (n,) float32 in 0..1.
        class_id: (n,) int64 indices into `class_names`.
        class_names: names of all classes of the network.
        image_size: (height, width) of the original, upright image.

    Raises:
        UsageError: shapes that do not belong together, a box turned inside out, a value that is not finite,
            a confidence outside 0..1 or a class id without a name.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    class_names: tuple[str, ...]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        xyxy = _array("xyxy", self.xyxy, np.float32)
        xyxy = xyxy.reshape(0, 4) if not xyxy.size else xyxy
        confidence = _array("confidence", self.confidence, np.float32)
        class_id = _array("class_id", self.class_id, np.int64)
        names, size = tuple(self.class_names), tuple(self.image_size)
        if len(size) != 2 or min(size) < 1:
            raise UsageError(f"image_size: expected (height, width) in pixels, got {self.image_size!r}")
        _validate(xyxy, confidence, class_id, len(names))
        if np.any(confidence[1:] > confidence[:-1]):
            order = np.argsort(-confidence, kind="stable")
            xyxy, confidence, class_id = xyxy[order], confidence[order], class_id[order]
        for name, value in (("xyxy", xyxy), ("confidence", confidence), ("class_id", class_id)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "image_size", (int(size[0]), int(size[1])))

    @classmethod
    def empty(cls, class_names: tuple[str, ...], image_size: tuple[int, int]) -> Detections:
        """No object in an image of `image_size` = (height, width)."""
        return cls(
            np.empty((0, 4), np.float32),
            np.empty(0, np.float32),
            np.empty(0, np.int64),
            class_names,
            image_size,
        )

    def __len__(self) -> int:
        return len(self.confidence)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | ArrayLike) -> Detections: ...
    def __getitem__(self, index: Any) -> Detection | Detections:
        """Select detections: `detections[0]`, `detections[detections.confidence > 0.5]`.

        Args:
            index: an integer, a slice, (n,) booleans, or integers such as `[0, 2]`.

        Returns:
            One Detection for an integer, else Detections, sorted like all of them.

        Raises:
            IndexError: an index out of range.
            UsageError: any other kind of index, or a mask of another length.
        """
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            x1, y1, x2, y2 = self.xyxy[index].tolist()
            class_id = int(self.class_id[index])
            return Detection(
                (x1, y1, x2, y2), float(self.confidence[index]), class_id, self.class_names[class_id]
            )
        part = index if isinstance(index, slice) else _selection(index, len(self))
        return Detections(
            self.xyxy[part], self.confidence[part], self.class_id[part], self.class_names, self.image_size
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return (
            self.class_names == other.class_names
            and self.image_size == other.image_size
            and np.array_equal(self.xyxy, other.xyxy)
            and np.array_equal(self.confidence, other.confidence)
            and np.array_equal(self.class_id, other.class_id)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have no cheap hash

    def __repr__(self) -> str:
        counts = {name: self.names.count(name) for name in dict.fromkeys(self.names)}
        inside = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
        return f"<Detections: {inside} in an image of {self.image_size[1]} x {self.image_size[0]}>"

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.class_names[index] for index in self.class_id.tolist()]

    def plot(self, image: ImageSource) -> NDArray[np.uint8]:
        """Draw the detections on a copy of their image.

        Args:
            image: the original image, as any source that `read_image` takes.

        Returns:
            (height, width, 3) uint8 BGR pixels with a box and a label for each detection.

        Raises:
            ImageError: the image cannot be read.
            UsageError: it has another size than the detections' `image_size`.
        """
        from edgeyolo.runtime.drawing import draw_detections
        from edgeyolo.runtime.images import read_image

        picture = read_image(image)
        if picture.shape[:2] != self.image_size:
            raise UsageError(
                f"plot: the detections are of an image of {self.image_size} (height, width), "
                f"this one has {picture.shape[:2]}",
                hint="Give the original image, not a resized one.",
            )
        return draw_detections(picture, self)

    def to_json(self) -> list[dict[str, Any]]:
        """Convert to plain Python values for JSON.

        Returns:
            `[{"box": [x1, y1, x2, y2], "confidence": c, "class_id": k, "name": n}]`, boxes in pixels.
        """
        return [
            {
                "box": list(each.box),
                "confidence": each.confidence,
                "class_id": each.class_id,
                "name": each.name,
            }
            for each in self
        ]

    def to_boxmot(self) -> NDArray[np.float32]:
        """Convert to the array that trackers such as BoxMOT take.

        Returns:
            (n, 6) float32: x1, y1, x2, y2 in pixels of the original image, confidence, class index.
        """
        columns = self.xyxy, self.confidence[:, None], self.class_id[:, None].astype(np.float32)
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def to_supervision(self) -> Any:
        """Convert to a `supervision.Detections`.

        Returns:
            xyxy (n, 4) float32, confidence (n,) float32, class_id (n,) int64 and names under `data["class_name"]`.

        Raises:
            RuntimeMissingError: the package supervision is not installed.
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
            data={"class_name": np.array(self.names, dtype=str)},
        )


def _array(name: str, value: ArrayLike, dtype: type[Any]) -> NDArray[Any]:
    """Contiguous copy of an array.

    Later changes to the caller's array do not reach in here.
    """
    given = np.asarray(value)
    if given.size and (given.dtype.kind not in "fui" or (dtype is np.int64 and given.dtype.kind == "f")):
        raise UsageError(f"{name}: expected {dtype.__name__}, got {given.dtype}")
    return np.array(given, dtype, order="C")


def _validate(
    xyxy: NDArray[np.float32], confidence: NDArray[np.float32], class_id: NDArray[np.int64], classes: int
) -> None:
    n = len(confidence) if confidence.ndim == 1 else -1
    if xyxy.shape != (n, 4) or class_id.shape != (n,):
        raise UsageError(
            "expected xyxy (n, 4), confidence (n,) and class_id (n,), "
            f"got {xyxy.shape}, {confidence.shape} and {class_id.shape}"
        )
    if not n:
        return
    if not np.isfinite(xyxy).all():
        raise UsageError("xyxy: expected finite pixels, found NaN or infinity")
    if not (xyxy[:, 2:] >= xyxy[:, :2]).all():
        raise UsageError("xyxy: expected x1 <= x2 and y1 <= y2; are these boxes x, y, width, height?")
    if not (confidence.min() >= 0 and confidence.max() <= 1):  # also refuses NaN
        raise UsageError(f"confidence: expected 0 to 1, got {confidence.min()} to {confidence.max()}")
    if class_id.min() < 0 or class_id.max() >= classes:
        raise UsageError(
            f"class_id: {class_id.min()} to {class_id.max()}, but there are {classes} class names"
        )


def _selection(index: ArrayLike, n: int) -> NDArray[Any]:
    chosen = np.asarray(index)
    if not chosen.size and chosen.dtype.kind == "f":  # an empty list
        chosen = chosen.astype(np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "biu" or (chosen.dtype.kind == "b" and len(chosen) != n):
        raise UsageError(
            f"index: expected an integer, a slice, {n} booleans or a list of integers, got {index!r}"
        )
    return chosen
