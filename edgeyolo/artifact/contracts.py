"""Input and output contracts of a network.

Every artifact carries them.

They are plain values, shared by the exporter, the manifest, the Detector, calibration and every backend, so that
preprocessing cannot differ between two places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.support.dataclass_json import from_plain

if TYPE_CHECKING:  # `edgeyolo --help` comes by here and does without numpy
    import numpy as np
    from numpy.typing import NDArray


MAX_BATCH = 32
"""Largest dynamic batch where nothing else is asked for (InputContract.max_batch)."""


@dataclass(frozen=True)
class Quantization:
    """The real value r of an integer q in a file: r = (q - zero_point) * scale."""

    scale: float
    zero_point: int

    def real(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Real values of integers."""
        import numpy as np

        result: NDArray[np.float32] = values.astype(np.float32) - np.float32(self.zero_point)
        result *= np.float32(self.scale)
        return result

    def same(self, other: Quantization | None) -> bool:
        """Compare two quantizations.

        Files keep scales as float32, manifests as decimals.
        """
        return (
            other is not None
            and self.zero_point == other.zero_point
            and math.isclose(self.scale, other.scale, rel_tol=1e-6)
        )


@dataclass(frozen=True)
class InputContract:
    """The image tensor a network takes.

    The array is `(batch, 3, height, width)` for layout "NCHW" or `(batch, height, width, 3)` for "NHWC", in
    `color_order`. A pixel value p in 0..255 becomes `p * scale` in float inputs; uint8 inputs take p itself; int8 ones
    take what `quantization` makes of `p * scale`: round(p * scale / quantization.scale) + quantization.zero_point.
    Images are letterboxed: scaled to fit with their aspect kept, centred, padded with `pad_value`.
    """

    height: int
    width: int
    batch: int = 1
    dynamic_batch: bool = False  # any batch from 1 up to `max_batch`; `batch` is then the example
    max_batch: int = MAX_BATCH
    dynamic_size: bool = False  # any height and width that the largest stride divides
    name: str = "images"
    layout: str = "NCHW"
    dtype: str = "float32"
    color_order: str = "RGB"
    scale: float = 1.0 / 255.0
    pad_value: int = 114
    quantization: Quantization | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    def shape(self, batch: int | None = None) -> tuple[int, int, int, int]:
        """The shape of an input array of `batch` images (default: the contract's own)."""
        n = self.batch if batch is None else batch
        if self.layout == "NCHW":
            return n, 3, self.height, self.width
        return n, self.height, self.width, 3

    def pixel_table(self) -> NDArray[np.int8]:
        """The int8 value of each pixel value 0..255, for inputs of that type."""
        import numpy as np

        if self.quantization is None:
            raise DamagedFileError(f"input {self.name!r}: {self.dtype} without its scale and zero point")
        steps = np.rint(np.arange(256) * self.scale / self.quantization.scale) + self.quantization.zero_point
        table: NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
        return table

    def real_values(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """An input array as the float32 values it stands for: pixels times `scale`."""
        import numpy as np

        if batch.dtype == np.uint8:
            return batch.astype(np.float32) * np.float32(self.scale)
        if batch.dtype == np.int8 and self.quantization is not None:
            steps = batch.astype(np.float32) - np.float32(self.quantization.zero_point)
            return steps * np.float32(self.quantization.scale)
        return batch.astype(np.float32, copy=False)

    def of_pixels(self) -> InputContract:
        """The same images as a camera or OpenCV gives them: uint8 BGR, channels last.

        The graph does the rest.
        """
        return replace(self, layout="NHWC", dtype="uint8", color_order="BGR")

    def check(self, batch: NDArray[Any]) -> None:
        """Raise UsageError unless `batch` is an array this contract describes.

        Every session calls it first.
        """
        expected: list[int | str] = list(self.shape())
        if self.dynamic_batch:
            expected[0] = "n"
        if self.dynamic_size:
            rows = 2 if self.layout == "NCHW" else 1
            expected[rows : rows + 2] = ["height", "width"]
        fits = batch.ndim == 4 and all(
            isinstance(want, str) or want == have for want, have in zip(expected, batch.shape, strict=True)
        )
        if not fits or batch.dtype != self.dtype:
            raise UsageError(
                f"input {self.name!r}: expected {self.dtype} {tuple(expected)} in {self.layout}, "
                f"got {batch.dtype} {batch.shape}",
                hint="edgeyolo.runtime.preprocess.preprocess(images, contract) makes such an array.",
            )


@dataclass(frozen=True)
class RawMaps:
    """The raw head maps a network gives, one per detection level, finest first.

    Map i is `(batch, anchors * (5 + classes), H / stride_i, W / stride_i)` for layout "NCHW", channels last for
    "NHWC". Channels are anchor-major: x, y, w, h, objectness, then the classes, all before the sigmoid. `anchors[i]`
    are that level's (width, height) pairs in pixels. Decoding: paper's YOLO head, see `edgeyolo.runtime.postprocess`.

    x, y, w and h are `box_gain` times what the head gives and are divided by it before the sigmoid. Integer maps have
    one scale for boxes and scores; the gain spends its steps where a box moves by them.

    `dtype` is the maps' type in the file; where it is an integer, `quantization[i]` says what map i's values stand for.
    A session of edgeyolo gives them as float32 all the same.
    """

    names: tuple[str, ...]
    strides: tuple[int, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    classes: int
    layout: str = "NCHW"
    kind: Literal["raw maps"] = "raw maps"
    dtype: str = "float32"
    quantization: tuple[Quantization, ...] = ()
    box_gain: float = 1.0

    @property
    def channels(self) -> int:
        """Channels of each map."""
        return len(self.anchors[0]) * (5 + self.classes)

    def shapes(self, batch: int, size: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
        """The shape of every map for `batch` images of `size` = (height, width)."""
        grids = [(size[0] // stride, size[1] // stride) for stride in self.strides]
        if self.layout == "NCHW":
            return tuple((batch, self.channels, h, w) for h, w in grids)
        return tuple((batch, h, w, self.channels) for h, w in grids)


@dataclass(frozen=True)
class GraphDetections:
    """Detections decoded and suppressed inside the file.

    The thresholds were settled when it was made.

    Four arrays, of which rows beyond an image's count are 0 and mean nothing:
        count     (batch, 1) whole numbers, how many detections each image has
        boxes     (batch, max_det, 4) x1, y1, x2, y2 in pixels of the network's input
        scores    (batch, max_det) in 0..1, highest first
        labels    (batch, max_det) whole numbers, class ids
    A session gives all of them as float32. Each box has one class, its best, and suppresses boxes of that class only.
    Of the boxes with a confidence above `conf`, the `max_candidates` best ones of an image enter the suppression by
    `iou`; what they mean is what `edgeyolo.runtime.postprocess` does with a PostprocessConfig of these values.

    A Core ML package gives what Apple's own tools expect instead, and the session makes these arrays from it:
    `confidence` (k, classes), 0 but for a box's class, and `coordinates` (k, 4), centre and size in 0..1.
    """

    classes: int
    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    max_candidates: int = 2048
    names: tuple[str, ...] = ("count", "boxes", "scores", "labels")
    kind: Literal["detections"] = "detections"

    def shapes(self, batch: int, size: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
        """The shape of every array for `batch` images.

        The size of the images does not matter.
        """
        return (batch, 1), (batch, self.max_det, 4), (batch, self.max_det), (batch, self.max_det)


@dataclass(frozen=True)
class DecodedBoxes:
    """Boxes decoded inside the file and not suppressed.

    The published export writes them with `--grid`.

    One array (batch, boxes, 5 + classes): centre x, centre y, width, height in pixels of the network's input,
    objectness, then the classes, both after the sigmoid. Networks without `objectness` (YOLOv8, v9, v11) have 4 +
    classes columns, a score for each class; `transposed` arrays are (batch, columns, boxes), as theirs are. No export
    of ours makes it; files of others are adopted.
    """

    names: tuple[str, ...]
    boxes: int
    classes: int
    kind: Literal["decoded boxes"] = "decoded boxes"
    objectness: bool = True
    transposed: bool = False

    def shapes(self, batch: int, size: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
        """Shapes of the output arrays for `batch` images.

        The images are of the size that the file was made for.
        """
        columns = 4 + int(self.objectness) + self.classes
        return ((batch, columns, self.boxes) if self.transposed else (batch, self.boxes, columns),)


@dataclass(frozen=True)
class RankedBoxes:
    """Detections that need no suppression.

    Networks made for that give them (YOLOv10), or files that suppress.

    One array (batch, rows, 6): x1, y1, x2, y2 in pixels of the network's input, the score in 0..1, the class. Rows of
    no detection have a score of 0, or one that no threshold passes. No export of ours makes it; files of others are
    adopted.
    """

    names: tuple[str, ...]
    rows: int
    classes: int
    kind: Literal["ranked boxes"] = "ranked boxes"

    def shapes(self, batch: int, size: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
        """Shape of the array for `batch` images of any size."""
        return ((batch, self.rows, 6),)


OutputContract: TypeAlias = RawMaps | GraphDetections | DecodedBoxes | RankedBoxes
"""Output of a file: raw head maps, detections, or boxes that are still to be suppressed or cut."""


def output_from_json(data: Any, where: str) -> OutputContract:
    """Rebuild an output contract of any kind; one without `kind` is of raw maps."""
    kinds: dict[str, type[Any]] = {
        "raw maps": RawMaps,
        "detections": GraphDetections,
        "decoded boxes": DecodedBoxes,
        "ranked boxes": RankedBoxes,
    }
    kind = data.get("kind", "raw maps") if isinstance(data, dict) else "raw maps"
    if not isinstance(kind, str) or kind not in kinds:
        raise DamagedFileError(f"{where}: kind {kind!r}, expected {' or '.join(map(repr, kinds))}")
    contract: OutputContract = from_plain(kinds[kind], data, where)
    return contract
