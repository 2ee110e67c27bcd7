"""Getting hold of torch with CUDA, and saying why there is none."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from edgeyolo.backend.interface import Availability
from edgeyolo.errors import UsageError
from edgeyolo.support.install import install_hint

GRAPH_VARIABLE = "EDGEYOLO_TORCH_GRAPH"
VARIABLES = {GRAPH_VARIABLE: "1: torch on CUDA records the network once for each input shape and replays it"}
INSTALL = "pip install torch, in a build for CUDA: https://pytorch.org/get-started/locally"

_DRIVERS = {"win32": "nvcuda.dll", "darwin": ""}  # elsewhere libcuda.so.1


def load_torch() -> Any:
    """The module `torch`; what tests put a simulated one in the place of."""
    import torch

    return torch


def packages() -> Availability:
    """Availability of torch and safetensors, without importing them."""
    for package in ("torch", "safetensors"):
        if find_spec(package) is None:
            return Availability(False, f"the package {package} is not installed", install_hint("export"))
    return Availability(True, version=version("torch"))


def driver() -> Availability:
    """Availability of NVIDIA's driver.

    Asked first: the usual answer is no, and costs no import of torch.
    """
    library = _DRIVERS.get(sys.platform, "libcuda.so.1")
    try:
        if not library:
            raise OSError("there is none for this system")
        ctypes.CDLL(library)
    except OSError as error:
        return Availability(
            False, f"NVIDIA's driver does not load: {error}", "`nvidia-smi` shows GPU and driver."
        )
    return Availability(True)


def reachable(index: int) -> Availability:
    """Availability of GPU number `index` in torch.

    It needs the driver, a build for CUDA, the GPU, and kernels for it.
    """
    # From what is cheap to ask to what loads torch; the first thing missing is the answer.
    for found in (packages(), driver()):
        if not found.ok:
            return found
    torch = load_torch()
    text = str(torch.__version__)
    if torch.version.cuda is None:
        return Availability(False, f"torch {text} is built without CUDA", INSTALL, text)
    if not torch.cuda.is_available():
        reason = f"torch {text}, built for CUDA {torch.version.cuda}, finds no GPU that it can use"
        return Availability(
            False, reason, "`nvidia-smi` shows GPU and driver; the driver may be too old.", text
        )
    count = torch.cuda.device_count()
    if index >= count:
        return Availability(
            False, f"there is no GPU {index}, only {count} from 0", "Leave out the number.", text
        )
    name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    if not has_kernels(capability, torch.cuda.get_arch_list()):
        reason = (
            f"torch {text} has no kernels for {name} (compute capability {capability[0]}.{capability[1]}), "
            f"only for {', '.join(torch.cuda.get_arch_list())}"
        )
        return Availability(False, reason, f"Install a build of torch for it: {INSTALL}", text)
    return Availability(True, version=text)


def has_kernels(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Return True if a build of torch runs on a GPU.

    The build is for `architectures` (sm_80, compute_90 ...).

    Machine code (sm) runs on later GPUs of the same major number, PTX (compute) on all later ones. Source: CUDA C++
    Programming Guide, "Binary Compatibility" and "PTX Compatibility".
    """
    for text in architectures:
        match = re.match(r"(sm|compute)_(\d+?)(\d)[a-z]?$", text)
        if not match:
            continue
        built = (int(match[2]), int(match[3]))
        if built <= capability and (match[1] == "compute" or built[0] == capability[0]):
            return True
    return False


def wants_graph(environment: Mapping[str, str] = os.environ) -> bool:
    """EDGEYOLO_TORCH_GRAPH."""
    text = environment.get(GRAPH_VARIABLE, "").strip()
    if text not in ("", "0", "1"):
        raise UsageError(
            f"{GRAPH_VARIABLE}={text!r}: expected 0 or 1", hint=f"Correct or unset {GRAPH_VARIABLE}."
        )
    return text == "1"


def facts(index: int) -> dict[str, str]:
    """Facts of the machine for a manifest.

    They are torch's CUDA, and the GPU where there is one.
    """
    found = reachable(index)
    known = {"torch": packages().version}
    if found.ok:
        torch = load_torch()
        known |= {"cuda": str(torch.version.cuda), "gpu": str(torch.cuda.get_device_name(index))}
    return known
