"""Triton: the configuration as Triton's protobuf reads it, and the client against a server that speaks KServe v2."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from edgeyolo import Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import MAX_BATCH, GraphDetections
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.recipe import write_recipe
from edgeyolo.recipe.triton import Name, text_format

Exported = Callable[..., Artifact]
_KINDS = {"FP32": "float32", "FP16": "float16", "UINT8": "uint8", "INT32": "int32", "INT64": "int64"}

# The part of triton-inference-server/common's model_config.proto that is written, with its types and numbers.
_MESSAGES: dict[str, list[tuple[str, int, str, bool]]] = {
    "ModelInput": [("name", 1, "string", False), ("data_type", 2, "DataType", False), ("dims", 4, "int64", True)],
    "ModelOutput": [("name", 1, "string", False), ("data_type", 2, "DataType", False), ("dims", 3, "int64", True)],
    "ModelInstanceGroup": [("kind", 4, "Kind", False), ("count", 2, "int32", False)],
    "ModelDynamicBatching": [
        ("preferred_batch_size", 1, "int32", True),
        ("max_queue_delay_microseconds", 2, "uint64", False),
    ],
    "ModelParameter": [("string_value", 1, "string", False)],
    "ModelConfig": [
        ("name", 1, "string", False),
        ("backend", 17, "string", False),
        ("max_batch_size", 4, "int32", False),
        ("input", 5, "ModelInput", True),
        ("output", 6, "ModelOutput", True),
        ("default_model_filename", 8, "string", False),
        ("instance_group", 7, "ModelInstanceGroup", True),
        ("dynamic_batching", 11, "ModelDynamicBatching", False),
    ],
}  # fmt: skip
_ENUMS = {
    "DataType": {"TYPE_UINT8": 2, "TYPE_INT32": 8, "TYPE_INT64": 9, "TYPE_FP16": 10, "TYPE_FP32": 11},
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2},
}


def parse_config(text: str) -> Any:
    """Read a config.pbtxt strictly: an unknown field, a wrong type or a wrong name of a value is an error."""
    pytest.importorskip("google.protobuf", reason="needs protobuf, which the export extra brings")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = descriptor_pb2.FileDescriptorProto(name="model_config_part.proto", syntax="proto3", package="part")
    for enum, values in _ENUMS.items():
        added = file.enum_type.add(name=enum)
        if 0 not in values.values():
            added.value.add(name=f"{enum}_INVALID", number=0)
        for name, number in values.items():
            added.value.add(name=name, number=number)
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label)
            if kind in _ENUMS or kind in _MESSAGES:
                field.type = kinds.TYPE_ENUM if kind in _ENUMS else kinds.TYPE_MESSAGE
                field.type_name = f".part.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("part.ModelConfig"))()
    return text_format.Parse(text, config)


def require_match(folder: Path, artifact: Artifact, model_file: str) -> Any:
    """Parse the one model of a repository and compare it with the manifest and the file."""
    (model,) = (folder / "models").iterdir()
    config = parse_config((model / "config.pbtxt").read_text())
    manifest = artifact.manifest
    assert config.name == model.name and config.default_model_filename == model_file
    batch = [] if manifest.input.dynamic_batch else [manifest.input.batch]
    (given,) = config.input
    assert given.name == manifest.input.name and list(given.dims) == [*batch, *manifest.input.shape()[1:]]
    assert given.data_type == {"float32": 11, "uint8": 2}[manifest.input.dtype]
    shapes = manifest.output.shapes(1, manifest.input.size)
    assert [each.name for each in config.output] == list(manifest.output.names)
    assert [list(each.dims) for each in config.output] == [[*batch, *shape[1:]] for shape in shapes]
    whole = isinstance(manifest.output, GraphDetections)
    assert [each.data_type for each in config.output] == ([8, 11, 11, 8] if whole else [11] * len(shapes))
    assert config.max_batch_size == (MAX_BATCH if manifest.input.dynamic_batch else 0)
    assert bool(config.dynamic_batching.preferred_batch_size) == manifest.input.dynamic_batch
    assert (model / "labels.txt").read_text().splitlines() == list(manifest.class_names)
    return config


def test_onnx_with_one_picture(plain: Artifact, tmp_path: Path) -> None:
    config = require_match(write_recipe(plain, "triton", tmp_path / "recipe"), plain, "model.onnx")
    assert config.backend == "onnxruntime" and config.instance_group[0].kind == 2


def test_onnx_that_takes_pixels_and_gives_boxes(exported: Exported, tmp_path: Path) -> None:
    artifact = exported("cpu-onnx-fp32", graph=True, pixels=True, dynamic=True)
    folder = write_recipe(artifact, "triton", tmp_path / "recipe")
    config = require_match(folder, artifact, "model.onnx")
    (file,) = folder.glob("models/*/1/model.onnx")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": 11, "tensor(int32)": 8, "tensor(uint8)": 2}
    assert [(each.name, each.data_type) for each in config.output] == [
        (each.name, kinds[each.type]) for each in session.get_outputs()
    ]
    assert [(each.name, each.data_type) for each in config.input] == [
        (each.name, kinds[each.type]) for each in session.get_inputs()
    ]


def test_openvino_with_any_batch(exported: Exported, tmp_path: Path) -> None:
    artifact = exported("cpu-openvino-fp32", dynamic=True)
    folder = write_recipe(artifact, "triton", tmp_path / "recipe")
    assert require_match(folder, artifact, "model.xml").backend == "openvino"
    assert {path.name for path in folder.glob("models/*/1/*")} == {"model.xml", "model.bin"}


def test_tensorrt_builds_its_plan_where_it_runs(exported: Exported, tmp_path: Path) -> None:
    artifact = exported("gpu-trt-fp16", graph=True, pixels=True)
    folder = write_recipe(artifact, "triton", tmp_path / "recipe")
    config = require_match(folder, artifact, "model.plan")
    assert config.backend == "tensorrt" and config.instance_group[0].kind == 1
    trtexec = tmp_path / "trtexec"
    trtexec.write_text(
        '#!/bin/sh\nfor word in "$@"; do case $word in --saveEngine=*) echo plan > "${word#*=}";; esac; done\n'
        'echo "[TensorRT v100300]"\n'
    )
    trtexec.chmod(0o755)
    subprocess.run([folder / "build.sh"], env={"TRTEXEC": str(trtexec), "PATH": "/usr/bin:/bin"}, check=True)
    assert (folder / f"models/{config.name}/1/model.plan").read_text() == "plan\n"


def test_text_is_escaped() -> None:
    text = text_format({"name": 'a"b\\c', "instance_group": [{"kind": Name("KIND_CPU")}]})
    config = parse_config(text)
    assert config.name == 'a"b\\c' and config.instance_group[0].kind == 2


@contextmanager
def server(model: Path, *, wrong: float = 0.0, refusal: str = "", short: bool = False) -> Iterator[str]:
    """A server of KServe v2 with binary tensors for one ONNX file.

    `wrong` is added to its first output, a `refusal` is all that it says, a `short` answer lacks the last tensor.
    """
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == f"/v2/models/{model.parents[1].name}/infer", self.path
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if refusal:
                self.send_response(500)
                self.end_headers()
                self.wfile.write(json.dumps({"error": refusal}).encode())
                return
            size = int(self.headers["Inference-Header-Content-Length"])
            (tensor,) = json.loads(body[:size])["inputs"]
            assert tensor["parameters"]["binary_data_size"] == len(body) - size
            array = np.frombuffer(body[size:], _KINDS[tensor["datatype"]]).reshape(tensor["shape"])
            names = [each["name"] for each in json.loads(body[:size])["outputs"]]
            arrays = session.run(names, {tensor["name"]: array})
            arrays[0] = arrays[0] + np.asarray(wrong, arrays[0].dtype)
            kinds = {kind: name for name, kind in _KINDS.items()}
            outputs = [
                {"name": name, "shape": list(each.shape), "datatype": kinds[each.dtype.name],
                 "parameters": {"binary_data_size": each.nbytes}}
                for name, each in zip(names, arrays, strict=True)
            ]  # fmt: skip
            head = json.dumps({"outputs": outputs}).encode()
            answer = head + b"".join(each.tobytes() for each in arrays[: len(arrays) - short])
            self.send_response(200)
            self.send_header("Inference-Header-Content-Length", str(len(head)))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def client(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / "client.py", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("host", ["triton", "ovms"])
def test_the_client_finds_what_the_detector_finds(host: str, exported: Exported, tmp_path: Path) -> None:
    artifact = exported("cpu-onnx-fp32", graph=True, pixels=True, dynamic=True)
    folder = write_recipe(artifact, host, tmp_path / "recipe")
    (model,) = folder.glob("models/*/1/model.onnx")
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), make_scene(3).image)
    with server(model) as url:
        checked = client(folder, "--check", "--url", url)
        assert checked.returncode == 0, checked.stderr
        found = client(folder, str(picture), "--url", url)
    with Detector(artifact.path) as detector:
        expected = [f"{picture} {each}" for each in detector(picture)]
    assert expected and found.stdout.splitlines() == expected


def test_the_check_notices_a_server_with_other_answers(plain: Artifact, tmp_path: Path) -> None:
    folder = write_recipe(plain, "triton", tmp_path / "recipe")
    (model,) = folder.glob("models/*/1/model.onnx")
    with server(model) as url:
        assert client(folder, "--check", "--url", url).returncode == 0
    with server(model, wrong=1.0) as url:
        wrong = client(folder, "--check", "--url", url)
    assert wrong.returncode == 4 and "is allowed" in wrong.stderr
    gone = client(folder, "--check", "--url", url)
    assert gone.returncode == 1 and "Is the server up" in gone.stderr


def test_what_a_server_says_of_a_refusal_is_passed_on(plain: Artifact, tmp_path: Path) -> None:
    folder = write_recipe(plain, "triton", tmp_path / "recipe")
    (model,) = folder.glob("models/*/1/model.onnx")
    with server(model, refusal="unable to find backend library") as url:
        refused = client(folder, "--check", "--url", url)
    assert refused.returncode == 1 and "answered 500" in refused.stderr
    assert "unable to find backend library" in refused.stderr and "Traceback" not in refused.stderr


def test_an_answer_without_all_tensors_is_said_so(plain: Artifact, tmp_path: Path) -> None:
    folder = write_recipe(plain, "triton", tmp_path / "recipe")
    (model,) = folder.glob("models/*/1/model.onnx")
    with server(model, short=True) as url:
        cut = client(folder, "--check", "--url", url)
    assert cut.returncode == 1 and "expected tensors of KServe v2" in cut.stderr
    assert "Traceback" not in cut.stderr
