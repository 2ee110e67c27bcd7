"""The environment variables that edgeyolo reads, in one place.

`edgeyolo doctor` shows those that are set.

An argument, or an option of the command line, comes before its variable; a variable before the default. Backends
add variables of their own (`edgeyolo.backend.interface.Backend`, attribute `variables`, which they may have).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from edgeyolo.errors import UsageError

PREFIX = "EDGEYOLO_"

VARIABLES: Mapping[str, str] = {
    "EDGEYOLO_TARGET": "the target that weights are run on, such as cpu-openvino-fp32; an artifact knows its own",
    "EDGEYOLO_DEVICE": "the device to run on: auto, cpu, cuda, cuda:1, intel:gpu, tpu ... (edgeyolo.backend.devices)",
    "EDGEYOLO_THREADS": "CPU threads of the runtime",
    "EDGEYOLO_MAX_PIXELS": "the most pixels of an image that is read, 120000000 where it is not set",
    "EDGEYOLO_MEASURE": "0: device auto takes the documented order and measures nothing",
    "EDGEYOLO_CACHE": "the directory for downloads, exported weights, engines and what was measured",
    "EDGEYOLO_WEIGHTS_URL": "where published weights are downloaded from; the file's name is added",
    "EDGEYOLO_DEBUG": "1: show where an unexpected error comes from",
    "EDGEYOLO_SHARED": "the folder of real images and checkpoints that the tests use",
}


def target(environment: Mapping[str, str] = os.environ) -> str | None:
    """EDGEYOLO_TARGET, or None."""
    return environment.get("EDGEYOLO_TARGET", "").strip() or None


def device(environment: Mapping[str, str] = os.environ) -> str | None:
    """EDGEYOLO_DEVICE, or None."""
    return environment.get("EDGEYOLO_DEVICE", "").strip() or None


def threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """EDGEYOLO_THREADS, or None; anything but a whole number from 1 raises UsageError."""
    return _count("EDGEYOLO_THREADS", environment)


def max_pixels(environment: Mapping[str, str] = os.environ) -> int | None:
    """EDGEYOLO_MAX_PIXELS, or None.

    Anything but a whole number from 1 raises UsageError.
    """
    return _count("EDGEYOLO_MAX_PIXELS", environment)


def _count(name: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19) or int(text) < 1:
        raise UsageError(f"{name}={text!r}: expected a whole number from 1", hint=f"Correct or unset {name}.")
    return int(text)


def measures(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True unless EDGEYOLO_MEASURE is 0.

    Device auto may then measure.
    """
    text = environment.get("EDGEYOLO_MEASURE", "").strip()
    if text not in ("", "0", "1"):
        raise UsageError(
            f"EDGEYOLO_MEASURE={text!r}: expected 0 or 1", hint="Correct or unset EDGEYOLO_MEASURE."
        )
    return text != "0"


def set_here(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of edgeyolo that are set, known or not, with their values."""
    return {name: value for name, value in sorted(environment.items()) if name.startswith(PREFIX)}
