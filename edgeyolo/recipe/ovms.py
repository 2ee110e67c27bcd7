"""OpenVINO Model Server: a model repository and its config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.target import Target
from edgeyolo.recipe.host import Host, described, model_name, place, write_labels
from edgeyolo.recipe.kserve import SUFFIXES, write_client

_DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}


def config(artifact: Artifact) -> dict[str, Any]:
    """The server's configuration; paths are those in its container."""
    target = artifact.manifest.target
    name = model_name(artifact.manifest)
    entry = {"name": name, "base_path": f"/models/{name}", "target_device": _DEVICES[target.device]}
    return {"model_config_list": [{"config": entry}]}


def _takes(target: Target) -> bool:
    if target.runtime == "openvino":
        return target.device in _DEVICES
    return target.runtime == "onnx" and target.precision != "int8"


def _fill(artifact: Artifact, folder: Path) -> None:
    manifest = artifact.manifest
    model = folder / "models" / model_name(manifest)
    place(artifact, model / "1", *SUFFIXES[manifest.target.runtime])
    write_labels(folder, manifest)
    (folder / "models" / "config.json").write_text(json.dumps(config(artifact), indent=2) + "\n")
    write_client(artifact, folder, "http://localhost:8000")
    device = {"gpu": "--device /dev/dri ", "npu": "--device /dev/accel "}.get(manifest.target.device, "")
    (folder / "README.md").write_text(
        f"# OpenVINO Model Server\n\n{described(artifact)}\n"
        f'    docker run --rm {device}-p 8000:8000 -v "$PWD/models:/models:ro" \\\n'
        "        openvino/model_server:latest --config_path /models/config.json --rest_port 8000\n"
        "    ./check.sh http://localhost:8000\n    python3 client.py photo.jpg\n\n"
        "`check.sh` compares the files with SHA256SUMS and the server's answer to the golden picture with the values "
        "that the export recorded. `client.py` needs `pip install edgeyolo`; it speaks KServe v2 in binary.\n",
        encoding="utf-8",
    )


OVMS = Host("ovms", "OpenVINO Model Server", _takes, _fill, edited=("config.json",))
