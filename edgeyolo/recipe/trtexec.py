"""TensorRT's own tool: a script that builds the engine as `edgeyolo build` does."""

from __future__ import annotations

import json
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.errors import DamagedFileError
from edgeyolo.recipe.host import Host, described, place, write_check, write_labels, write_script

_VERSION = r"""#!/bin/sh
# Builds the engine with the trtexec of this machine. TRTEXEC names another one.
set -eu
cd "$(dirname "$0")"
trtexec=${TRTEXEC:-trtexec}
command -v "$trtexec" >/dev/null 2>&1 || trtexec=/usr/src/tensorrt/bin/trtexec
# [TensorRT v8601] is 8.6.1, [TensorRT v100300] 10.3.0
number=$("$trtexec" --help 2>&1 | sed -n 's/.*TensorRT v\([0-9][0-9]*\).*/\1/p' | head -n 1)
if [ -z "$number" ]; then echo "trtexec does not say its version" >&2; exit 3; fi
if [ "$number" -ge 100000 ]; then major=$((number / 10000)); else major=$((number / 1000)); fi
"""


def write_build(artifact: Artifact, folder: Path, engine: str) -> None:
    """Write build.sh, model.onnx and build.json; the script writes the engine to `engine`, in the folder."""
    place(artifact, folder, ".onnx", "build.json")
    commands = build_commands(artifact)
    cases = []
    for lowest, highest, key in ((8, 9, "8"), (10, 10, "10"), (11, 99, "11")):
        words = commands[key].removeprefix("trtexec ").replace("model.engine", f"{engine}.new")
        cases.append(
            f'elif [ "$major" -ge {lowest} ] && [ "$major" -le {highest} ]; then\n    "$trtexec" {words}\n'
        )
    text = "".join(cases).removeprefix("el")
    refuse = 'else\n    echo "TensorRT $major is not supported" >&2; exit 3\nfi\n'
    write_script(folder / "build.sh", f'{_VERSION}{text}{refuse}mv "{engine}.new" "{engine}"\n')


def build_commands(artifact: Artifact) -> dict[str, str]:
    """TensorRT's major version -> the command that build.json has for it."""
    file = artifact.file("build.json")
    try:
        commands = json.loads(file.read_text(encoding="utf-8"))["trtexec"]
        return {key: str(commands[key]) for key in ("8", "10", "11")}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{file}: expected trtexec commands for TensorRT 8, 10 and 11 ({error})",
            hint="Export the weights again with this version.",
        ) from error


def takes(target: Target) -> bool:
    """Return True for packages of TensorRT."""
    return target.runtime == "trt"


def unbuilt(manifest: Manifest) -> tuple[str, str] | None:
    """Say what is wrong with an artifact of an engine that others built: there is nothing to build it from."""
    if "build.json" in manifest.files:
        return None
    return (
        "the artifact is an engine that was built elsewhere, not a package to build from",
        "Export the weights: edgeyolo export WEIGHTS --target gpu-trt-fp16 -o DIR",
    )


def _fill(artifact: Artifact, folder: Path) -> None:
    write_build(artifact, folder, "model.engine")
    write_labels(folder, artifact.manifest)
    write_check(
        folder,
        "test -s model.engine || ./build.sh\n"
        'trtexec=${TRTEXEC:-trtexec}\ncommand -v "$trtexec" >/dev/null 2>&1 || trtexec=/usr/src/tensorrt/bin/trtexec\n'
        '"$trtexec" --loadEngine=model.engine\n',
    )
    (folder / "README.md").write_text(
        f"# trtexec\n\n{described(artifact)}\n"
        "    ./build.sh        # model.engine, for this GPU and this TensorRT\n"
        "    ./check.sh        # compares the files, builds where there is no engine, loads and times it\n\n"
        "The flags are those of `edgeyolo build`: the graph's own types say the precision from TensorRT 10 on, builder "
        "flags before. build.json has the commands for each version and the GPUs that each still serves.\n",
        encoding="utf-8",
    )


TRTEXEC = Host("trtexec", "trtexec", takes, _fill, unbuilt)
