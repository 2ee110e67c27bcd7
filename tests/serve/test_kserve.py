"""KServe v2: raw pixels in, detections out, as JSON and as binary tensors."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgeyolo import Detections, Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector import builtin
from edgeyolo.serve.http.tensors import JSON_LENGTH
from edgeyolo.serve.settings import Limits

from .serving import ask, settings

INFER = "/v2/models/small/infer"
TYPES = {"INT64": "<i8", "FP32": "<f4"}


def as_json(images: np.ndarray, **parameters: Any) -> dict[str, Any]:
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.tolist()}
    return {"inputs": [tensor | {"parameters": parameters}]}


def read_binary(answer: httpx.Response) -> dict[str, Any]:
    """Outputs of an answer whose tensors are all binary."""
    end = int(answer.headers[JSON_LENGTH])
    said, rest = json.loads(answer.content[:end]), answer.content[end:]
    found: dict[str, Any] = {}
    for output in said["outputs"]:
        size = output["parameters"]["binary_data_size"]
        data, rest = rest[:size], rest[size:]
        if output["datatype"] != "BYTES":
            found[output["name"]] = np.frombuffer(data, TYPES[output["datatype"]]).reshape(output["shape"])
            continue
        texts = []
        while data:
            length = int.from_bytes(data[:4], "little")
            texts.append(data[4 : 4 + length].decode())
            data = data[4 + length :]
        found[output["name"]] = texts
    assert not rest
    return found


def check(found: dict[str, Any], wanted: list[Detections]) -> None:
    assert list(found["count"]) == [len(each) for each in wanted]
    assert np.array_equal(found["boxes"], np.concatenate([each.xyxy for each in wanted]))
    assert np.array_equal(found["confidence"], np.concatenate([each.confidence for each in wanted]))
    assert np.array_equal(found["class_id"], np.concatenate([each.class_id for each in wanted]))
    assert list(found["name"]) == [name for each in wanted for name in each.names]


def test_json_tensors_give_the_detectors_answer(served: Path, detector: Detector) -> None:
    image = make_scene(3).image[:40, :60]
    wanted = detector(image)
    assert len(wanted)

    async def talk(client: httpx.AsyncClient) -> None:
        for body in (as_json(image), as_json(image[None]), as_json(image[..., ::-1], color_order="RGB")):
            answer = await client.post(INFER, json=body | {"id": "seven"})
            said = answer.json()
            assert (said["model_name"], said["id"]) == ("small", "seven")
            outputs = {each["name"]: np.reshape(each["data"], each["shape"]) for each in said["outputs"]}
            check(outputs, [wanted])
        only = await client.post(INFER, json=as_json(image) | {"outputs": [{"name": "count"}]})
        assert [each["name"] for each in only.json()["outputs"]] == ["count"]

    ask(settings(served), talk)


def test_a_version_may_stand_in_the_address(served: Path, detector: Detector) -> None:
    image = make_scene(3).image[:40, :60]

    async def talk(client: httpx.AsyncClient) -> None:
        base = "/v2/models/small/versions"
        assert (await client.get(f"{base}/1")).json() == (await client.get("/v2/models/small")).json()
        assert (await client.get(f"{base}/1/ready")).json() == {"name": "small", "ready": True}
        said = (await client.post(f"{base}/1/infer", json=as_json(image))).json()
        assert said["model_version"] == "1"
        check(
            {each["name"]: np.reshape(each["data"], each["shape"]) for each in said["outputs"]},
            [detector(image)],
        )
        for method, rest in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
            answer = await client.request(method, f"{base}/2{rest}", json=as_json(image))
            assert answer.status_code == 404 and "version" in answer.json()["error"]

    ask(settings(served), talk)


def test_binary_tensors_give_the_detectors_answers(served: Path, detector: Detector) -> None:
    images = np.stack([make_scene(seed).image for seed in range(3)])
    head = json.dumps({
        "parameters": {"binary_data_output": True},
        "inputs": [{
            "name": "images", "datatype": "UINT8", "shape": list(images.shape),
            "parameters": {"binary_data_size": images.nbytes},
        }],
    }).encode()  # fmt: skip

    async def talk(client: httpx.AsyncClient) -> None:
        headers = {JSON_LENGTH: str(len(head))}
        answer = await client.post(INFER, content=head + images.tobytes(), headers=headers)
        assert answer.headers["content-type"] == "application/octet-stream"
        check(read_binary(answer), detector.batch(list(images)))
        short = await client.post(INFER, content=head + images.tobytes()[:-1], headers=headers)
        assert short.status_code == 400 and "binary_data_size" in short.json()["error"]

    ask(settings(served), talk)


SMALL = np.zeros((4, 5, 3), np.uint8)
WRONG = [
    (b"not json", "JSON"),
    (b"[]", "object"),
    (b"{}", "inputs"),
    (json.dumps({"inputs": [{"name": "images", "datatype": "FP32", "shape": [4, 5, 3]}]}).encode(), "UINT8"),
    (json.dumps({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [4, 5]}]}).encode(), "shape"),
    (json.dumps({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [0, 5, 3]}]}).encode(), "shape"),
    (json.dumps(as_json(SMALL)).replace("[0, 0, 0]", "[0, 0, 256]", 1).encode(), "255"),
    (json.dumps(as_json(SMALL)).replace("[0, 0, 0]", "[0, 0]", 1).encode(), "equal length"),
    (json.dumps(as_json(SMALL)).replace("[0, 0, 0]", "[0, 0, 0.5]", 1).encode(), "whole numbers"),
    (json.dumps(as_json(SMALL, color_order="GBR")).encode(), "color_order"),
    (json.dumps(as_json(SMALL) | {"outputs": [{"name": "masks"}]}).encode(), "masks"),
    (b'{"inputs": ' + b"[" * 100_000, "JSON"),
]


def test_requests_beside_the_protocol_are_refused(served: Path) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        for body, word in WRONG:
            answer = await client.post(INFER, content=body)
            assert answer.status_code == 400 and word in answer.json()["error"], answer.text
        beyond = await client.post(INFER, content=b"{}", headers={JSON_LENGTH: "3"})
        assert beyond.status_code == 400
        large = await client.post(INFER, json=as_json(np.zeros((11, 10, 3), np.uint8)))
        assert large.status_code == 413
        many = await client.post(INFER, json=as_json(np.zeros((10, 4, 4, 3), np.uint8)))
        assert many.status_code == 413 and many.json()["error"].startswith("10 images")

    ask(settings(served, limits=Limits(queue=8, pixels=100)), talk)


def test_the_server_and_its_models_are_described(served: Path) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        assert "binary_tensor_data" in (await client.get("/v2")).json()["extensions"]
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await client.get("/v2/models/small/ready")).json() == {"name": "small", "ready": True}
        said = (await client.get("/v2/models/small")).json()
        artifact = Artifact.open(served)
        assert said["class_names"] == list(artifact.manifest.class_names)
        assert said["artifact_sha256"] == artifact.sha256
        assert {each["name"] for each in said["outputs"]} == {
            "count", "boxes", "confidence", "class_id", "name",
        }  # fmt: skip
        index = (await client.post("/v2/repository/index")).json()
        assert index == [{"name": "small", "version": "1", "state": "READY"}]
        for address in ("/v2/models/other", "/v2/models/other/ready"):
            answer = await client.get(address)
            assert answer.status_code == 404 and "small" in answer.json()["hint"]
        unknown = await client.get("/v2/models/small/config")
        assert unknown.status_code == 404 and unknown.json()["error"] == "Not Found"

    ask(settings(served), talk)


def test_a_compressed_body_counts_as_what_it_holds(served: Path, detector: Detector) -> None:
    image = make_scene(3).image[:40, :60]
    body = json.dumps(as_json(image)).encode()
    bomb = gzip.compress(bytes(10_000_000))

    async def talk(client: httpx.AsyncClient) -> None:
        async def post(content: bytes, coding: str) -> httpx.Response:
            return await client.post(INFER, content=content, headers={"Content-Encoding": coding})

        for coding, sent in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
            said = (await post(sent, coding)).json()
            outputs = {each["name"]: np.reshape(each["data"], each["shape"]) for each in said["outputs"]}
            check(outputs, [detector(image)])
        refused = [
            (await post(bomb, "gzip"), 413, "100,000 bytes"),
            (await post(gzip.compress(body)[:-9], "gzip"), 400, "breaks off"),
            (await post(body, "gzip"), 400, "cannot be decompressed"),
            (await post(body, "br"), 415, "gzip, deflate or identity"),
        ]
        for answer, status, words in refused:
            assert answer.status_code == status and words in answer.json()["error"]

    ask(settings(served, limits=Limits(body=100_000)), talk)


@pytest.mark.parametrize("broken", [False, True])
def test_an_artifact_is_loaded_again(
    served: Path, pictures: list[bytes], tmp_path: Path, broken: bool
) -> None:
    """A damaged one is reported, and the server goes on with the model it has."""
    copy = tmp_path / "copy"
    shutil.copytree(served, copy)

    async def talk(client: httpx.AsyncClient) -> None:
        if broken:
            (copy / "golden.npz").write_bytes(b"")
        else:
            shutil.rmtree(copy)
            shutil.copytree(builtin.artifact_path(), copy)
        answer = await client.post("/v2/repository/models/small/load")
        assert answer.status_code == (500 if broken else 200)
        if broken:
            assert answer.json()["kind"] == "DamagedFileError"
        detected = await client.post("/detect", content=pictures[0])
        with Detector(served if broken else builtin.artifact_path()) as detector:
            assert detected.json()["detections"] == detector(pictures[0]).to_json()
            names = (await client.get("/v2/models/small")).json()["class_names"]
            assert names == list(detector.class_names)
        reloads = 'edgeyolo_reloads_total{model="small"} 1.0'
        assert (reloads in (await client.get("/metrics")).text) is not broken

    ask(settings(copy), talk)
