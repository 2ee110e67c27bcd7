"""The command line run in this process: torch is imported once for all tests."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

# A run of seconds. Ten pictures are three iterations an epoch: without a small nominal batch none would be a step.
SHORT = (
    "--imgsz", 64, "--batch", 4, "--threads", 1, "--set", "nominal_batch=8", "--set", "warmup_iterations=2",
)  # fmt: skip


class Done(NamedTuple):
    """Exit code, standard output and standard error."""

    returncode: int
    stdout: str
    stderr: str


def edgeyolo(*arguments: object, cwd: Path) -> Done:
    """Run a command in the folder `cwd`."""
    from edgeyolo.cli import main

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["edgeyolo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return Done(ended.value.code, out.getvalue(), err.getvalue())


def edgeyolo_on_one_line(*arguments: object, cwd: Path) -> Done:
    """Run a command, and put its standard error on one line, where words do not break."""
    done = edgeyolo(*arguments, cwd=cwd)
    return done._replace(stderr=" ".join(done.stderr.split()))
