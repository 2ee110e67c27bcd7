"""TensorRT's own tool: a script that builds the engine as `edgeyolo build` does."""

from __future__ import annotations

from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.recipe.host import Host, described, place, write_check, write_labels, write_script

_BUILD = """\
#!/bin/sh
# Builds the engine with the trtexec of this machine, as the package says. TRTEXEC names another one.
set -eu
cd "$(dirname "$0")"
sh {package}/{script} "$PWD/{engine}.new"
mv "{engine}.new" "{engine}"
"""
PACKAGE, SCRIPT = "package", "build.sh"


def write_build(artifact: Artifact, folder: Path, engine: str) -> None:
    """Copy the package and write build.sh.

    It has the package's own script write the engine to `engine`, a path in the folder.
    """
    place(artifact, folder / PACKAGE, ".onnx", "build.json", SCRIPT)
    write_script(folder / "build.sh", _BUILD.format(package=PACKAGE, script=SCRIPT, engine=engine))


def takes(target: Target) -> bool:
    """Return True for packages of TensorRT."""
    return target.runtime == "trt"


def unbuilt(manifest: Manifest) -> tuple[str, str] | None:
    """Reason why no engine can be built from an artifact, with a hint; or None."""
    if SCRIPT in manifest.files:
        return None
    return (
        "the artifact has no build.sh: it is an engine that others built, or of an older edgeyolo",
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
        "flags before. package/build.json has the commands for each version and the GPUs that each still serves.\n",
        encoding="utf-8",
    )


TRTEXEC = Host("trtexec", "trtexec", takes, _fill, unbuilt)
