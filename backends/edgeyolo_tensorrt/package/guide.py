"""Guides of a package: README and build script.

The README says what to copy and to run; the script builds the engine without Python.
"""

from __future__ import annotations

from pathlib import Path

from edgeyolo_tensorrt.package.recipe import FILE, Recipe

README, SCRIPT = "README.md", "build.sh"
GUIDES = (README, SCRIPT)
_CASE = '{}) "$TRTEXEC"{} ;;'


def write_guides(recipe: Recipe, into: Path) -> None:
    """Write `README.md` and `build.sh`; equal recipes give equal bytes."""
    (into / README).write_text(readme(recipe), encoding="utf-8")
    (into / SCRIPT).write_text(script(recipe), encoding="utf-8")


def readme(recipe: Recipe) -> str:
    """Text of the README: the steps on the device.

    It is for a person who has only this directory.
    """
    lines = "\n".join(
        f"# TensorRT {major}\n{line}" for major, line in recipe.trtexec("../model.engine").items()
    )
    below = f", below {recipe.tensorrt_below} ({recipe.reason})" if recipe.tensorrt_below else ""
    shapes = " to ".join(dict.fromkeys("x".join(map(str, shape)) for shape in recipe.shapes()))
    plugins = (
        f"\nThe graph holds {', '.join(recipe.plugins)} of TensorRT's plugin library.\n"
        if recipe.plugins
        else ""
    )
    return f"""# {recipe.target}

A network for NVIDIA's TensorRT {recipe.tensorrt_from} or newer{below}, in {recipe.precision}. An engine runs only
on the kind of GPU and with the version of TensorRT that built it, so it is built on the device:

1. Copy this whole directory to the device.
2. Build the engine there, which takes minutes, once:

       edgeyolo build DIRECTORY

   with edgeyolo installed (`pip install 'edgeyolo[tensorrt]'`, Python 3.10 or newer; neither torch nor onnx is needed).
   The first `Detector("DIRECTORY")` builds it too where that was not done.
3. `edgeyolo detect DIRECTORY photo.jpg`

## Without Python, and on JetPack 5

JetPack 5 brings TensorRT's module for Python 3.8, on which edgeyolo does not run: there `sh build.sh [ENGINE]` makes
the engine with TensorRT's own `trtexec`, and a program of yours runs it. By hand, in this directory:

```
{lines}
```

Write the engine outside of this directory: edgeyolo refuses artifacts with files that were not sealed.
{plugins}
## What goes in and comes out

`{recipe.input}`: {shapes}. `manifest.json` says what the numbers mean: colour order, scale, letterbox, strides,
anchors. `golden.npz` holds a picture, its input and what must come out; `python -m edgeyolo.artifact.port_check` is a
checker and a reference in plain numpy. `{FILE}` is this recipe for programs.
"""


def script(recipe: Recipe) -> str:
    """POSIX shell script that finds trtexec and runs it.

    Which command is right depends on the version that trtexec calls itself.
    """
    cases = "\n".join(
        _CASE.format({"8": "8|9"}.get(major, major), line.removeprefix("trtexec"))
        for major, line in recipe.trtexec('"$ENGINE"').items()
    )
    return f"""#!/bin/sh
# Builds the engine of this package ({recipe.target}) on the device, by TensorRT's trtexec alone: sh build.sh [ENGINE]
# By default the engine lies beside the package's directory, as the package itself holds only what was sealed.
set -e
HERE=$(cd "$(dirname "$0")" && pwd)
ENGINE=${{1:-$HERE.engine}}
case $ENGINE in /*) ;; *) ENGINE=$PWD/$ENGINE ;; esac
TRTEXEC=${{TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}}
if [ ! -x "$TRTEXEC" ]; then
  echo "trtexec was not found: it is part of TensorRT (JetPack: sudo apt install libnvinfer-bin); or set TRTEXEC" >&2
  exit 3
fi
# It calls itself v8502 or v100300.
NUMBER=$("$TRTEXEC" --help 2>&1 | sed -n 's/.*TensorRT v\\([0-9][0-9]*\\).*/\\1/p' | head -n 1)
if [ "${{NUMBER:-0}}" -ge 100000 ]; then MAJOR=$((NUMBER / 10000)); else MAJOR=$((${{NUMBER:-8000}} / 1000)); fi
cd "$HERE"
case $MAJOR in
{cases}
*) echo "TensorRT $MAJOR is not known to this package" >&2; exit 3 ;;
esac
echo "built $ENGINE"
"""
