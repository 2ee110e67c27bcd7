"""Arrays of an .npz file that need not be trusted.

Any byte may be wrong, and nothing large is allocated for it.
"""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import DamagedFileError

MOST_ARRAYS = 64
MOST_BYTES = 256 << 20  # of all arrays together, unpacked


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array, by name.

    DamagedFileError for whatever is not a whole .npz of plain numbers within the limits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ARRAYS or sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise ValueError(f"more than {MOST_ARRAYS} arrays or {MOST_BYTES >> 20} MiB")
            return {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except (
        Exception
    ) as error:  # zipfile, zlib and numpy's header parser meet foreign bytes each in their own ways
        raise DamagedFileError(
            f"{path}: not the golden vectors that were written ({type(error).__name__}: {str(error)[:120]})",
            hint="Copy the whole directory again, or export the weights again.",
        ) from error


def _array(data: bytes) -> NDArray[Any]:
    """One .npy file, whose header must not promise more than follows it."""
    file = BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"a .npy file of version {version}")
    if dtype.kind not in "fiu":
        raise ValueError(f"an array of {dtype}")
    rest = data[file.tell() :]
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"{len(rest)} bytes for an array {shape} of {dtype}")
    flat = np.frombuffer(rest, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
