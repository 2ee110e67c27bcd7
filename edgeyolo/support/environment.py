"""The environment variables that edgeyolo reads, in one place: `edgeyolo doctor` shows those that are set.

An argument, or an option of the command line, comes before its variable; a variable before the default. Backends
add variables of their own (`edgeyolo.backend.interface.Backend`, attribute `variables`, which they may have).
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Mapping

from edgeyolo.errors import UsageError

PREFIX = "EDGEYOLO_"

VARIABLES: Mapping[str, str] = {
    "EDGEYOLO_TARGET": "the target that weights are run on, such as cpu-openvino-fp32; an artifact knows its own",
    "EDGEYOLO_DEVICE": "the device to run on: auto, cpu, cuda, cuda:1, intel:gpu, tpu ... (edgeyolo.backend.devices)",
    "EDGEYOLO_THREADS": "CPU threads of the runtime",
    "EDGEYOLO_MEASURE": "0: device auto takes the documented order and measures nothing",
    "EDGEYOLO_CACHE": "the directory for downloads, exported weights, engines and what was measured",
    "EDGEYOLO_WEIGHTS_URL": "where published weights are downloaded from; the file's name is added",
    "EDGEYOLO_DEBUG": "1: show where an unexpected error comes from",
    "EDGEYOLO_SHARED": "the folder of real images and checkpoints that the tests use",
}


class UnknownVariableWarning(UserWarning):
    """A variable that begins with EDGEYOLO_ and that nothing reads: a slip of the keyboard, most likely."""


def target(environment: Mapping[str, str] = os.environ) -> str | None:
    """EDGEYOLO_TARGET, or None."""
    return environment.get("EDGEYOLO_TARGET", "").strip() or None


def device(environment: Mapping[str, str] = os.environ) -> str | None:
    """EDGEYOLO_DEVICE, or None."""
    return environment.get("EDGEYOLO_DEVICE", "").strip() or None


def threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """EDGEYOLO_THREADS, or None; anything but a whole number from 1 raises UsageError."""
    text = environment.get("EDGEYOLO_THREADS", "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(
            f"EDGEYOLO_THREADS={text!r}: expected a whole number from 1",
            hint="Correct or unset EDGEYOLO_THREADS.",
        )
    return int(text)


def measures(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether device auto may measure: EDGEYOLO_MEASURE is not 0."""
    text = environment.get("EDGEYOLO_MEASURE", "").strip()
    if text not in ("", "0", "1"):
        raise UsageError(
            f"EDGEYOLO_MEASURE={text!r}: expected 0 or 1", hint="Correct or unset EDGEYOLO_MEASURE."
        )
    return text != "0"


def known() -> dict[str, str]:
    """Every variable and what it says: the table above, and what the backends add."""
    from edgeyolo.backend import registry

    added: dict[str, str] = {}
    for backend in registry.backends().values():
        added |= getattr(backend, "variables", {})
    return {**VARIABLES, **dict(sorted(added.items()))}


def set_here(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of edgeyolo that are set, known or not, with their values."""
    return {name: value for name, value in sorted(environment.items()) if name.startswith(PREFIX)}


def complaints(environment: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each variable that is set and that nothing reads, with the one that may have been meant."""
    strange = [name for name in set_here(environment) if name not in VARIABLES]
    if not strange:  # the usual case costs no loading of backends
        return []
    names = known()
    found = []
    for name in strange:
        if name in names:
            continue
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
        meant = f"did you mean {near[0]}?" if near else "`edgeyolo doctor --variables` lists those that are."
        found.append(f"the environment variable {name} is not one that edgeyolo reads; {meant}")
    return found


def warn() -> None:
    """Warn, once for each place that calls, of variables that nothing reads."""
    for text in complaints():
        warnings.warn(text, UnknownVariableWarning, stacklevel=3)
