"""Docker images of the base runtime and one artifact, without torch.

One is for its commands, one for its server.
"""

from __future__ import annotations

from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.recipe.host import Host, described, place_golden, write_check
from edgeyolo.version import __version__

_PACKAGES = {"onnx": "", "openvino": "openvino", "tflite": "ai-edge-litert", "trt": "cuda-python"}
"""A runtime's package beside the base install; TensorRT itself is part of NVIDIA's images."""
_PYTHON = "python:3.12-slim-bookworm"
_TENSORRT = {  # TensorRT 10.3; 10.4, the last with Volta; 10.5
    "jetson": "nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime",
    "v100": "nvcr.io/nvidia/tensorrt:24.09-py3",
    "gpu": "nvcr.io/nvidia/tensorrt:24.10-py3",
}


_TOKENS = "/run/secrets/tokens"
_HEALTH = "http://127.0.0.1:8000/v2/health/ready"


def dockerfile(manifest: Manifest, *, serve: bool = False) -> str:
    """The Dockerfile of an artifact, or with `serve` that of its server.

    The artifact lies beside it in `artifact/`.
    """
    target = manifest.target
    package = _PACKAGES[target.runtime]
    version = manifest.tools.get(package)
    pinned = f" '{package}=={version}'" if package and version else f" '{package}'" if package else ""
    image, system = _PYTHON, ""
    if target.runtime == "trt":
        image, system = _TENSORRT[target.device], _installed("python3-pip")
    elif target.runtime == "openvino" and target.device == "gpu":
        system = _installed("intel-opencl-icd")
    extra = "[serve]" if serve else ""
    return (
        "# syntax=docker/dockerfile:1\n"
        f"FROM {image}\n"
        f"# A version, or a wheel's address.\nARG EDGEYOLO=edgeyolo{extra}=={__version__}\n"
        f"{system}# The version is that of EDGEYOLO.\n# hadolint ignore=DL3013\n"
        f'RUN python3 -m pip install --no-cache-dir "$EDGEYOLO"{pinned}\n'
        "COPY artifact /model\n"
        "RUN useradd --create-home --uid 1000 edgeyolo\n"
        "USER 1000:1000\n"
        "WORKDIR /data\n"
        'ENTRYPOINT ["edgeyolo"]\n' + (_SERVER if serve else 'CMD ["verify", "/model"]\n')
    )


_SERVER = (
    "EXPOSE 8000\n"
    "HEALTHCHECK --start-period=60s CMD "
    f'["python3", "-c", "import urllib.request as u; u.urlopen(\'{_HEALTH}\', timeout=2)"]\n'
    "STOPSIGNAL SIGTERM\n"
    f'CMD ["serve", "model=/model", "--host", "0.0.0.0", "--token-file", "{_TOKENS}"]\n'
)


def _installed(package: str) -> str:
    return (
        "# The base image decides on its packages.\n# hadolint ignore=DL3008\nRUN apt-get update \\\n"
        f"    && apt-get install -y --no-install-recommends {package} \\\n"
        "    && rm -rf /var/lib/apt/lists/*\n"
    )


def _takes(target: Target) -> bool:
    return target.runtime in _PACKAGES and target.device not in ("ncs", "npu", "edgetpu")


def _fill(artifact: Artifact, folder: Path) -> None:
    manifest = artifact.manifest
    for name in manifest.files:
        destination = folder / "artifact" / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes((artifact.path / name).read_bytes())
    place_golden(artifact, folder / "artifact")
    (folder / "Dockerfile").write_text(dockerfile(manifest), encoding="utf-8")
    (folder / "Dockerfile.serve").write_text(dockerfile(manifest, serve=True), encoding="utf-8")
    (folder / ".dockerignore").write_text("*\n!artifact\n", encoding="utf-8")
    gpu = {"trt": "--gpus all " if manifest.target.device != "jetson" else "--runtime nvidia "}
    devices = {"gpu": "--device /dev/dri "}
    flags = gpu.get(manifest.target.runtime) or devices.get(manifest.target.device, "")
    write_check(
        folder,
        f"docker build -t edgeyolo-check .\ndocker run --rm {flags}edgeyolo-check verify /model\n",
    )
    (folder / "README.md").write_text(
        f"# Docker\n\n{described(artifact)}\n"
        "    docker build -t cells .\n"
        f'    docker run --rm {flags}-v "$PWD/photos:/data" cells detect /model /data --json\n'
        "    ./check.sh        # compares the files, builds, and runs the golden picture in the container\n\n"
        "The image has the base install of edgeyolo and the artifact's runtime, no torch. `--build-arg EDGEYOLO=...` "
        "names another version or a wheel.\n\n"
        "Dockerfile.serve is the server's (`edgeyolo[serve]`); tokens are a file, one a line:\n\n"
        "    docker build -t cells-server -f Dockerfile.serve .\n"
        f'    docker run --rm {flags}-p 8000:8000 -v "$PWD/tokens.txt:{_TOKENS}:ro" cells-server\n'
        '    curl -H "Authorization: Bearer TOKEN" --data-binary @photo.jpg http://127.0.0.1:8000/detect\n\n'
        "SIGTERM answers what was taken; `docker kill --signal HUP` opens the artifact again. Its health check asks "
        "whether the model takes images.\n",
        encoding="utf-8",
    )


DOCKER = Host("docker", "A container without torch", _takes, _fill, edited=("Dockerfile", "Dockerfile.serve"))
