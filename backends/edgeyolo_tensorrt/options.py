"""User's choices on the device, by argument or environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from edgeyolo.errors import UsageError

PREFIX = "EDGEYOLO_TENSORRT_"
VARIABLES = {
    f"{PREFIX}DEVICE": "the number of the GPU that TensorRT builds for and runs on",
    f"{PREFIX}DLA": "put what it can onto this deep-learning accelerator",
    f"{PREFIX}WORKSPACE": "scratch memory for building, in MiB",
    f"{PREFIX}GRAPH": "1: TensorRT sessions record the network once and replay it",
    f"{PREFIX}BUILD": "0: never build an engine when a session is opened",
}


@dataclass(frozen=True)
class DeviceOptions:
    """Options of building and running on this machine.

    `device` is the GPU's number (EDGEYOLO_TENSORRT_DEVICE); `dla_core` puts what it can onto that deep-learning
    accelerator (EDGEYOLO_TENSORRT_DLA); `workspace_mib` limits the builder's scratch memory instead of the recipe
    (EDGEYOLO_TENSORRT_WORKSPACE); `cuda_graph` records the network once and replays it (EDGEYOLO_TENSORRT_GRAPH=1);
    `build` False refuses to build when a session is opened, so that nothing takes minutes by surprise
    (EDGEYOLO_TENSORRT_BUILD=0).
    """

    device: int = 0
    dla_core: int | None = None
    workspace_mib: int | None = None
    cuda_graph: bool = False
    build: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> DeviceOptions:
        """Read the variables; one that is not a number raises UsageError."""
        return cls(
            device=_number(environment, "DEVICE") or 0,
            dla_core=_number(environment, "DLA"),
            workspace_mib=_number(environment, "WORKSPACE"),
            cuda_graph=bool(_number(environment, "GRAPH")),
            build=_number(environment, "BUILD") != 0,
        )


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(PREFIX + name, "").strip()
    if not text:
        return None
    if not text.isdigit():
        raise UsageError(f"{PREFIX}{name}={text!r}: expected a whole number from 0")
    return int(text)
