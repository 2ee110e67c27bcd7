"""The table of detections: one row an image, as Arrow and Parquet know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.install import install_hint

if TYPE_CHECKING:
    import pyarrow as pa

    from edgeyolo.runtime.detections import Detections

COLUMNS = ("image", "height", "width", "boxes", "confidence", "class_id", "name", "error", "model")


def require_pyarrow() -> Any:
    """The package pyarrow; RuntimeMissingError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise RuntimeMissingError(
            f"tables of detections need the package pyarrow, which is not installed ({missing})",
            hint=install_hint("predict"),
        ) from missing
    return pyarrow


def schema() -> pa.Schema:
    """Types of the columns.

    image       text, the image as the folder or list names it
    height      int32, pixels of the upright image; null where it could not be read
    width       int32
    boxes       list of float32 [x1, y1, x2, y2] in pixels, highest confidence first
    confidence  list of float32 in 0..1
    class_id    list of int64
    name        list of text, the class names
    error       text, the reason why there are no detections; null where the image was read
    model       text, the artifact's SHA-256
    """
    pa = require_pyarrow()
    return pa.schema(
        [
            pa.field("image", pa.string(), nullable=False),
            pa.field("height", pa.int32()),
            pa.field("width", pa.int32()),
            pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4))),
            pa.field("confidence", pa.list_(pa.float32())),
            pa.field("class_id", pa.list_(pa.int64())),
            pa.field("name", pa.list_(pa.string())),
            pa.field("error", pa.string()),
            pa.field("model", pa.string(), nullable=False),
        ]
    )


def detected_row(image: str, found: Detections, model: str) -> dict[str, Any]:
    """The row of an image that was read."""
    height, width = found.image_size
    return {
        "image": image,
        "height": height,
        "width": width,
        "boxes": found.xyxy.tolist(),
        "confidence": found.confidence.tolist(),
        "class_id": found.class_id.tolist(),
        "name": found.names,
        "error": None,
        "model": model,
    }


def failed_row(image: str, error: str, model: str) -> dict[str, Any]:
    """The row of an image without detections, and the reason."""
    empty: dict[str, Any] = {name: [] for name in ("boxes", "confidence", "class_id", "name")}
    return {"image": image, "height": None, "width": None, **empty, "error": error, "model": model}
