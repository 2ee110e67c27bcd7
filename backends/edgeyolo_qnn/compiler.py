"""Qualcomm's offline compiler, in a process of its own.

It numbers what it compiles through the life of a process, and the numbers are in the file: only the first network of a
process gives equal bytes for equal networks. What it writes to the terminal stays out of ours, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from edgeyolo.errors import EdgeYoloError, UnsupportedTargetError
from edgeyolo_qnn.chips import CHIPS, Chip

_FALLBACK = "fallback to CPU EP has been explicitly disabled"


def compile_context(model: Path, context: Path, chip: Chip) -> None:
    """Compile an ONNX file for a chip.

    It becomes `context`, and beside it a binary whose name ends in `_qnn.bin`.

    Nothing is left to another processor: UnsupportedTargetError names the operators that the provider does not take.
    EdgeYoloError where the compiler fails otherwise.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(model), str(context), chip.soc],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    told = done.stdout + done.stderr
    if done.returncode == 0 and context.is_file():
        return
    if _FALLBACK in told:
        named = ", ".join(refused(told)) or "some of its operators"
        raise UnsupportedTargetError(
            f"{chip.soc} ({chip.product}): Qualcomm's compiler does not take {named}",
            hint="`edgeyolo check WEIGHTS --target hexagon-qnn-fp16` says where operators run.",
        )
    last = told.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    raise EdgeYoloError(f"{chip.soc} ({chip.product}): Qualcomm's compiler failed: {last[0][-800:]}")


def refused(told: str) -> list[str]:
    """Operators in the provider's complaint, by kind."""
    found = re.findall(r"Unsupported nodes in QNN EP: (.*)", told)
    kinds = re.findall(r"type: (\w+)", found[-1]) if found else []
    return [f"{kind} ({kinds.count(kind)} times)" for kind in dict.fromkeys(kinds)]


def main(model: str, context: str, soc: str) -> None:
    """Compile in this process."""
    from edgeyolo_qnn import library

    settings = {
        "ep.context_enable": "1",
        "ep.context_file_path": context,
        "ep.context_embed_mode": "0",  # the binary in a file of its own, for Qualcomm's runtime without ONNX Runtime
    }
    # The bytes, not the path: the provider names parts of the network after the path.
    library.session(Path(model).read_bytes(), library.options(CHIPS[soc]), settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
