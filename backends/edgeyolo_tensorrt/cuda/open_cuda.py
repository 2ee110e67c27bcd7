"""A CUDA stream by whichever package is installed."""

from __future__ import annotations

from edgeyolo.errors import RuntimeMissingError
from edgeyolo_tensorrt.cuda.interface import Cuda


def open_cuda(index: int = 0) -> Cuda:
    """A stream on GPU number `index`.

    It goes through cuda-python, or through pycuda where that is what is installed.

    Raises:
        RuntimeMissingError: neither is installed, or there is no such GPU; the message says which.
    """
    from edgeyolo_tensorrt.cuda.cuda_pycuda import Pycuda
    from edgeyolo_tensorrt.cuda.cuda_python import CudaPython

    absent = []
    for kind in (CudaPython, Pycuda):
        try:
            return kind(index)
        except ModuleNotFoundError as error:
            absent.append(f"{kind.package} ({error})")
    raise RuntimeMissingError(
        f"no Python package for CUDA memory is installed: {', '.join(absent)}",
        hint="pip install cuda-python   (or, on a Jetson: pip install pycuda)",
    )
