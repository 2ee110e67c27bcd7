"""Tensors from storages in the archive.

Every number in the file is checked before it is used.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import DamagedFileError, UntrustedFileError
from edgeyolo.models.checkpoint.archive import AGAIN, NOT_TORCH, Archive
from edgeyolo.models.checkpoint.limits import Limits
from edgeyolo.models.checkpoint.records import StorageRecord, StorageType, TensorRecord


class TensorReader:
    """Reader of the storages and tensors of one archive.

    It turns persistent ids into storages and rebuild calls into tensors.
    """

    def __init__(self, archive: Archive, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._storages: dict[str, StorageRecord] = {}

    def storage(self, pid: Any) -> StorageRecord:
        """The storage that a persistent id names.

        The id is `("storage", type, key, device, numel)`, whose bytes must be the entry's.
        """
        if not (
            isinstance(pid, tuple)
            and len(pid) == 5
            and pid[0] == "storage"
            and isinstance(pid[1], StorageType)
        ):
            raise self._untrusted(f"a persistent id that is no torch storage ({_sketch(pid)})")
        _, kind, key, device, numel = pid
        if not (type(key) is str and re.fullmatch(r"[0-9]{1,10}", key, re.ASCII)):
            raise self._untrusted(f"a storage whose key is no number ({_sketch(key)})")
        if not (type(device) is str and re.fullmatch(r"[a-z]{1,16}(:[0-9]{1,4})?", device, re.ASCII)):
            raise self._untrusted(f"storage {key}, whose device is {_sketch(device)}")
        if not _is_count(numel):
            raise self._damaged(f"storage {key} claims {_sketch(numel)} elements")
        record = self._storages.get(key)
        if record is None:
            record = self._storages[key] = self._sized(StorageRecord(kind, f"data/{key}", device, numel))
        if (record.kind, record.numel) != (kind, numel):
            raise self._damaged(
                f"storage {key} is described twice: as {record.numel} x {record.kind.name} and "
                f"as {numel} x {kind.name}"
            )
        return record

    def rebuild(self, arguments: tuple[Any, ...]) -> TensorRecord:
        """The tensor that a rebuild call describes.

        The call is `(storage, offset, shape, strides[, requires_grad, hooks[, metadata]])`.
        """
        if not (4 <= len(arguments) <= 7 and isinstance(arguments[0], StorageRecord)):
            raise self._untrusted("a tensor that is not built from a storage, an offset, a shape and strides")
        storage, offset, shape, strides, *rest = arguments
        where = f"a tensor in storage {storage.entry.removeprefix('data/')}"
        if any(value not in ({}, None) for value in rest[1:]):
            raise self._untrusted(f"{where} that brings hooks or metadata along")
        if not (
            _is_count(offset)
            and self._is_sizes(shape)
            and self._is_sizes(strides)
            and len(shape) == len(strides)
        ):
            raise self._damaged(
                f"{where}: offset {_sketch(offset)}, shape {_sketch(shape)}, strides {_sketch(strides)}; "
                "expected non-negative integers, as many strides as dimensions, and at most "
                f"{self._limits.dimensions} of them"
            )
        tensor = TensorRecord(storage, offset, shape, strides, self._archive)
        self._check_bounds(tensor, where)
        return tensor

    def _sized(self, storage: StorageRecord) -> StorageRecord:
        expected, found = storage.numel * storage.kind.itemsize, self._archive.entries.get(storage.entry)
        if found != expected:
            what = "is missing" if found is None else f"holds {found:,} bytes"
            raise self._damaged(
                f"storage {storage.entry} {what}, "
                f"expected {expected:,} ({storage.numel:,} x {storage.kind.name})"
            )
        return storage

    def _check_bounds(self, tensor: TensorRecord, where: str) -> None:
        if tensor.numel == 0:
            return
        dims = sorted(
            (stride, size) for size, stride in zip(tensor.shape, tensor.strides, strict=True) if size > 1
        )
        reach = 0  # the largest index so far, relative to the offset
        for stride, size in dims:
            # A stride within the reach of the finer ones gives one element two places (stride 0: very many).
            if stride <= reach:
                raise self._untrusted(
                    f"{where} whose elements overlap (shape {tensor.shape}, strides {tensor.strides}); "
                    "a small file could claim any amount of memory that way"
                )
            reach += stride * (size - 1)
        if tensor.offset + reach >= tensor.storage.numel:
            raise self._damaged(
                f"{where} reaches element {tensor.offset + reach:,}, "
                f"the storage has {tensor.storage.numel:,} "
                f"(offset {tensor.offset:,}, shape {tensor.shape}, strides {tensor.strides})"
            )

    def _is_sizes(self, value: Any) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) <= self._limits.dimensions
            and all(_is_count(v) for v in value)
        )

    def _untrusted(self, what: str) -> UntrustedFileError:
        return UntrustedFileError(f"{self._archive.path}: it asks for {what}", hint=NOT_TORCH)

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"{self._archive.path}: {what}", hint=AGAIN)


def read_tensor(tensor: TensorRecord) -> NDArray[Any]:
    """Read a tensor's elements: a contiguous array in native byte order.

    bfloat16 widens to float32.
    """
    storage = tensor.storage
    wide = storage.kind.dtype == "bfloat16"
    order: Literal["<", ">"] = ">" if tensor.archive.big_endian else "<"
    dtype = np.dtype("uint16" if wide else storage.kind.dtype).newbyteorder(order)
    flat = np.frombuffer(tensor.archive.read(storage.entry), dtype=dtype)
    if storage.kind.dtype == "bool":
        flat = flat.view(np.uint8) != 0
    strides = [stride * flat.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
    array = np.array(view, dtype=view.dtype.newbyteorder("="), order="C")
    # bfloat16 is the upper half of a float32; asarray, as shifting an array without dimensions gives a scalar.
    return np.asarray(array.astype(np.uint32) << 16).view(np.float32) if wide else array


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def _sketch(value: Any) -> str:
    """A value from the file in a message: short, on one line, and never expanded."""
    if isinstance(value, tuple) and len(value) <= 8 and all(isinstance(v, (int, str)) for v in value):
        return "(" + ", ".join(_sketch(v) for v in value) + ")"
    return (
        repr(value)[:60] if isinstance(value, (int, float, str, bytes, type(None))) else type(value).__name__
    )
