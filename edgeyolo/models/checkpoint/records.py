"""Inert values that a checkpoint is read into.

They remember names and run nothing.

Besides these, only str, bytes, int, float, bool, None, list, tuple, set and dict come out of a file. No
record has a method of the class it stands for, and none is ever turned into an instance of that class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgeyolo.models.checkpoint.archive import Archive


@dataclass(eq=False)
class ObjectRecord:
    """An instance in the file.

    The dotted name of its class and the attributes it was saved with.
    """

    kind: str
    state: dict[str, Any] = field(default_factory=dict)
    filled: bool = False

    @property
    def class_name(self) -> str:
        """The last part of the class's dotted name: "models.yolo.IDetect" -> "IDetect"."""
        return self.kind.rpartition(".")[2]


@dataclass(eq=False)
class ForeignRecord:
    """A value of a class off the allow-list; never handed out.

    It stands in while a refused file's project is looked for.
    """


@dataclass(frozen=True)
class PathRecord:
    """A `pathlib` path, as the text it was made from."""

    text: str


@dataclass(frozen=True)
class Named:
    """A torch dtype or device: a value that is only its name."""

    name: str


@dataclass(eq=False)
class DtypeRecord:
    """A numpy dtype without its byte order ("f8", "U5"), and the order.

    The order is "<", ">" or "|".
    """

    code: str
    order: str = "<"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype it names."""
        return np.dtype(self.order.replace("|", "=") + self.code)


@dataclass(eq=False)
class ArrayRecord:
    """A numpy array in the pickle itself (metrics, class weights, class names).

    Of its values only texts are kept, in C order.
    """

    shape: tuple[int, ...] = ()
    dtype: DtypeRecord | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class StorageType:
    """A torch storage class.

    Element type as numpy names it, or "bfloat16", and bytes per element.
    """

    name: str
    dtype: str
    itemsize: int


@dataclass(frozen=True, eq=False)
class StorageRecord:
    """A flat block of elements in the archive.

    `device` is where it lay when saved, which does not matter.
    """

    kind: StorageType
    entry: str
    device: str
    numel: int


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """A view of a storage within its bounds; offset and strides count elements.

    `read_tensor` reads it.
    """

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    archive: Archive = field(repr=False)

    @property
    def dtype(self) -> str:
        """The element type as torch names it, for example "float16"."""
        return self.storage.kind.dtype

    @property
    def numel(self) -> int:
        """The number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """The bytes of its elements, in the file's own type."""
        return self.numel * self.storage.kind.itemsize
