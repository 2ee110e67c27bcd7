"""`edgetpu_compiler`, where it is installed: Coral's program for x86-64 Linux."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgeyolo.errors import UnsupportedTargetError

PROGRAM = "edgetpu_compiler"
TIMEOUT_S = 600


def compile_for_edge_tpu(model: Path) -> str | None:
    """Write `<model>_edgetpu.tflite` beside an integer model.

    Gives the compiler's version; None without it.

    Raises UnsupportedTargetError where the compiler fails, or leaves operators on the CPU, with its own words.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        return None
    done = _run(program, "--show_operations", "--out_dir", str(model.parent), str(model))
    result = model.with_name(f"{model.stem}_edgetpu.tflite")
    # The compiler's log lists the operations, as its output does; the artifact holds the runtime's files only.
    model.with_name(f"{model.stem}_edgetpu.log").unlink(missing_ok=True)
    if not result.is_file() or b"edgetpu-custom-op" not in result.read_bytes():
        raise UnsupportedTargetError(
            f"{PROGRAM} does not compile {model.name}:\n{_indented(done)}",
            hint="Take a smaller --imgsz; 320 is safe for yolov7-tiny-silu.",
        )
    return _run(program, "--version").split()[-1]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    return f"{done.stdout}{done.stderr}".strip()


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
