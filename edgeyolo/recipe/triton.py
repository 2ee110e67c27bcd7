"""Triton Inference Server: a model repository.

It is for the backends of ONNX Runtime, OpenVINO and TensorRT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import MAX_BATCH
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.recipe.host import Host, described, model_name, place, write_labels
from edgeyolo.recipe.kserve import SUFFIXES, Tensor, tensors, write_client
from edgeyolo.recipe.trtexec import unbuilt, write_build

_BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino", "trt": "tensorrt"}
_FILES = {"onnx": "model.onnx", "openvino": "model.xml", "trt": "model.plan"}
_TYPES = {"float32": "FP32", "float16": "FP16", "uint8": "UINT8", "int32": "INT32", "int64": "INT64"}
_DELAY_US = 2000


def config(artifact: Artifact) -> dict[str, Any]:
    """Model configuration of an artifact: fields of Triton's ModelConfig.

    A dynamic batch becomes `max_batch_size` with dynamic batching; with a fixed one Triton does not batch, and the
    shapes have the batch in front.
    """
    manifest = artifact.manifest
    runtime, device = manifest.target.runtime, manifest.target.device
    dynamic, batch = manifest.input.dynamic_batch, manifest.input.batch
    given, gives = tensors(artifact)

    def field(tensor: Tensor) -> dict[str, Any]:
        sides = tensor.sides if dynamic else (batch, *tensor.sides)
        return {"name": tensor.name, "data_type": Name(f"TYPE_{_TYPES[tensor.dtype]}"), "dims": list(sides)}

    fields: dict[str, Any] = {
        "name": model_name(manifest),
        "backend": _BACKENDS[runtime],
        "default_model_filename": _FILES[runtime],
        "max_batch_size": MAX_BATCH if dynamic else 0,
        "input": [field(given)],
        "output": [field(each) for each in gives],
        "instance_group": [{"count": 1, "kind": Name("KIND_GPU" if runtime == "trt" else "KIND_CPU")}],
    }
    if dynamic:
        fields["dynamic_batching"] = {
            "preferred_batch_size": [4, 8, 16, MAX_BATCH],
            "max_queue_delay_microseconds": _DELAY_US,
        }
    if runtime == "openvino" and device == "gpu":
        fields["parameters"] = [{"key": "TARGET_DEVICE", "value": {"string_value": "GPU"}}]
    return fields


class Name(str):
    """The name of an enumeration's value; text format has it without quotes."""

    __slots__ = ()


def text_format(fields: dict[str, Any], indent: str = "") -> str:
    """Fields as protobuf's text format, one a line."""
    lines = []
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                inner = text_format(each, indent + "  ")
                lines.append(f"{indent}{name} {{\n{inner}{indent}}}\n")
            else:
                lines.append(f"{indent}{name}: {_scalar(each)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, Name) or not isinstance(value, str):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _takes(target: Target) -> bool:
    device = {"openvino": ("cpu", "gpu")}.get(target.runtime)
    return target.runtime in _BACKENDS and (device is None or target.device in device)


def _fill(artifact: Artifact, folder: Path) -> None:
    manifest = artifact.manifest
    name, runtime = model_name(manifest), manifest.target.runtime
    model = folder / "models" / name
    version = model / "1"
    if runtime == "trt":
        version.mkdir(parents=True)
        (version / "README").write_text("build.sh writes model.plan here, on the GPU that will run it.\n")
        write_build(artifact, folder, f"models/{name}/1/model.plan")
    else:
        place(artifact, version, *SUFFIXES[runtime])
    (model / "config.pbtxt").write_text(text_format(config(artifact)), encoding="utf-8")
    write_labels(model, manifest)
    write_client(artifact, folder, "http://localhost:8000")
    (folder / "README.md").write_text(_readme(artifact), encoding="utf-8")


def _readme(artifact: Artifact) -> str:
    runtime = artifact.manifest.target.runtime
    build = (
        "Build the engine first, on the GPU that will run it, with the TensorRT of the same release:\n\n"
        '    docker run --rm --gpus all -v "$PWD:/recipe" nvcr.io/nvidia/tensorrt:YY.MM-py3 /recipe/build.sh\n\n'
        if runtime == "trt"
        else ""
    )
    gpu = "--gpus all " if runtime == "trt" else ""
    return (
        f"# Triton Inference Server\n\n{described(artifact)}\n{build}"
        f'    docker run --rm {gpu}-p 8000:8000 -v "$PWD/models:/models" \\\n'
        "        nvcr.io/nvidia/tritonserver:YY.MM-py3 tritonserver --model-repository=/models\n"
        "    ./check.sh http://localhost:8000\n    python3 client.py photo.jpg\n\n"
        "`check.sh` compares the files with SHA256SUMS and the server's answer to the golden picture with the values "
        "that the export recorded. `client.py` needs `pip install edgeyolo`, nothing of Triton's: it speaks KServe v2 "
        "with binary tensors.\n\nThe input is prepared by the client (letterbox, 114; manifest.json has the numbers). "
        "An export with `--nms graph --input uint8` takes pixels and gives boxes, so that no ensemble is needed; "
        "one with `--batch dynamic` lets Triton batch requests.\n"
    )


def _misfit(manifest: Manifest) -> tuple[str, str] | None:
    return unbuilt(manifest) if manifest.target.runtime == "trt" else None


TRITON = Host("triton", "Triton Inference Server", _takes, _fill, _misfit, ("config.pbtxt",))
