"""One shard: images read, detected and written. Every engine does it by this."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeyolo.detector.detector import Detector
from edgeyolo.errors import ImageError
from edgeyolo.predict.columns import detected_row, failed_row, require_pyarrow
from edgeyolo.predict.listing import is_address
from edgeyolo.predict.shards import Shard, write_shard
from edgeyolo.runtime.images import MAX_BYTES
from edgeyolo.support.reading import readable


@dataclass(frozen=True)
class Load:
    """The detector that a worker loads: an artifact, and arguments of Detector."""

    artifact: str
    sha256: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    gpu: bool = False  # an NVIDIA one, which an engine that places workers must know

    def detector(self) -> Detector:
        """Load it."""
        return Detector(self.artifact, **self.arguments)


def fill_shard(
    shard: Shard,
    detector: Detector,
    model: str,
    *,
    fatal: Collection[int] = (),
    begin: Callable[[int], None] = lambda _: None,
) -> None:
    """Detect in every image of a shard and write its rows.

    Args:
        shard: images, and where their rows go.
        detector: a loaded one.
        model: its artifact's SHA-256.
        fatal: positions of images that ended processes before; they become rows with an error unread.
        begin: called with the position of each image before it is read, and with their number at the end.

    An image that cannot be read is a row with an error.
    """
    rows: list[dict[str, Any]] = []
    for position, name in enumerate(shard.images):
        begin(position)
        text = readable(name)
        try:
            if position in fatal:
                raise ImageError("the process that read this image was killed, three times")
            rows.append(detected_row(text, detector(_fetched(name)), model))
        except ImageError as error:
            rows.append(failed_row(text, readable(error.message), model))
    begin(len(shard.images))  # a process whose driver is gone ends here and writes nothing
    write_shard(shard, rows)


def _fetched(name: str) -> str | bytes:
    """The image itself, or its bytes where it is an address."""
    if not is_address(name):
        return name
    pa = require_pyarrow()
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(name)
        with system.open_input_stream(path) as stream:
            data: bytes = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ImageError(f"{name}: cannot be read ({error})") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: more than {MAX_BYTES:,} bytes, the limit")
    return data
