"""`POST /detect`: answers that equal the Detector's, and what is refused."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.errors import RequestRefusedError
from edgeyolo.serve.http.detect import accepted_kind
from edgeyolo.serve.settings import Limits

from .serving import ask, settings


def metric(text: str, name: str) -> float:
    """The value of a sample; 0 where there is none."""
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " ")), 0.0)


def png_header(width: int, height: int) -> bytes:
    """A PNG with a header and no pixels behind it."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (head, b"IDAT")
    )
    return b"\x89PNG\r\n\x1a\n" + parts


def test_concurrent_requests_get_the_detectors_answers_in_batches(
    served: Path, detector: Detector, pictures: list[bytes]
) -> None:
    wanted = [{"detections": detector(picture).to_json()} for picture in pictures]
    assert all(each["detections"] for each in wanted)

    async def talk(client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(client.post("/detect", content=each) for each in pictures))
        assert [each.json() for each in answers] == wanted
        text = (await client.get("/metrics")).text
        assert metric(text, 'edgeyolo_requests_total{code="200",endpoint="/detect"}') == 12
        assert metric(text, 'edgeyolo_batch_images_sum{model="small"}') == 12
        assert metric(text, 'edgeyolo_batch_images_count{model="small"}') < 12
        for stage in ("queue", "decode", "preprocess", "inference", "postprocess"):
            assert metric(text, f'edgeyolo_stage_seconds_sum{{model="small",stage="{stage}"}}') > 0
        assert metric(text, 'edgeyolo_accepted_images{model="small"}') == 0

    ask(settings(served, max_batch=8, max_delay=0.2), talk)


def test_a_form_and_pictures(served: Path, detector: Detector, pictures: list[bytes]) -> None:
    found = detector(pictures[0])
    drawn = found.plot(pictures[0])

    async def talk(client: httpx.AsyncClient) -> None:
        form = await client.post("/detect?model=small", files={"image": ("a.jpg", pictures[0], "image/jpeg")})
        assert form.json() == {"detections": found.to_json()}
        png = await client.post("/detect", content=pictures[0], headers={"Accept": "image/png"})
        assert png.headers["content-type"] == "image/png"
        assert np.array_equal(cv2.imdecode(np.frombuffer(png.content, np.uint8), cv2.IMREAD_COLOR), drawn)
        jpeg = await client.post("/detect", content=pictures[0], headers={"Accept": "image/jpeg"})
        assert jpeg.content == cv2.imencode(".jpg", drawn)[1].tobytes()

    ask(settings(served), talk)


def test_a_broken_image_leaves_its_neighbours_alone(
    served: Path, detector: Detector, pictures: list[bytes]
) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        bodies = [pictures[0], pictures[1][:500], b"hello", pictures[2]]
        answers = await asyncio.gather(*(client.post("/detect", content=each) for each in bodies))
        assert [each.status_code for each in answers] == [200, 400, 400, 200]
        assert answers[3].json()["detections"] == detector(pictures[2]).to_json()
        error = answers[2].json()["error"]
        assert error["kind"] == "ImageError" and "hello" in error["message"] and error["hint"]
        assert (
            metric((await client.get("/metrics")).text, 'edgeyolo_rejects_total{cause="unreadable_image"}')
            == 2
        )

    ask(settings(served, max_delay=0.2), talk)


def test_a_picture_that_jpeg_cannot_hold_leaves_its_neighbours_alone(
    served: Path, detector: Detector, pictures: list[bytes]
) -> None:
    wide = cv2.imencode(".png", np.zeros((2, 66_000, 3), np.uint8))[1].tobytes()

    async def talk(client: httpx.AsyncClient) -> None:
        jpeg = {"Accept": "image/jpeg"}
        first, second = await asyncio.gather(
            client.post("/detect", content=wide, headers=jpeg), client.post("/detect", content=pictures[0])
        )
        assert first.status_code == 400 and "65,500" in first.json()["error"]["message"]
        assert second.json()["detections"] == detector(pictures[0]).to_json()
        assert (await client.post("/detect", content=wide)).status_code == 200

    ask(settings(served, max_delay=0.2), talk)


def test_a_body_that_is_sent_too_slowly_is_given_up(served: Path) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"begin"
        await asyncio.sleep(20)
        yield b"end"

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.post("/detect", content=slowly())
        assert answer.status_code == 408 and "0.3 s" in answer.json()["error"]["message"]

    ask(settings(served, limits=Limits(timeout=0.3)), talk)


def test_requests_that_are_too_large_are_refused(served: Path, pictures: list[bytes]) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1000)

    async def talk(client: httpx.AsyncClient) -> None:
        for content in (bytes(50_001), in_pieces()):
            answer = await client.post("/detect", content=content)
            assert answer.status_code == 413 and "50,000 bytes" in answer.json()["error"]["message"]
        form = await client.post("/detect", files={"image": bytes(60_000)})
        assert form.status_code == 413
        for size in ((700, 600), (60_000, 60_000)):  # the second one is Pillow's own bomb
            answer = await client.post("/detect", content=png_header(*size))
            assert answer.status_code == 413 and "pixels" in answer.json()["error"]["message"]
        assert (
            await client.post("/detect", content=png_header(600, 600))
        ).status_code == 400  # it is damaged
        text = (await client.get("/metrics")).text
        assert metric(text, 'edgeyolo_rejects_total{cause="too_many_pixels"}') == 2
        assert metric(text, 'edgeyolo_rejects_total{cause="body_too_large"}') == 3

    ask(settings(served, limits=Limits(body=50_000, pixels=400_000)), talk)


def test_bad_requests_get_a_reason(served: Path, pictures: list[bytes]) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        cases = [
            (404, await client.post("/detect?model=other", content=pictures[0])),
            (400, await client.post("/detect?conf=0.9", content=pictures[0])),
            (406, await client.post("/detect", content=pictures[0], headers={"Accept": "text/html"})),
            (400, await client.post("/detect", data={"image": "text"}, files={})),
            (400, await client.post("/detect", content=b"")),
            (405, await client.get("/detect")),
            (404, await client.get("/nothing")),
        ]
        for status, answer in cases:
            assert answer.status_code == status, answer.text
            assert (
                set(answer.json()["error"]) == {"kind", "message", "hint"}
                and answer.json()["error"]["message"]
            )

    ask(settings(served), talk)


def test_a_token_is_asked_for_but_not_by_probes_and_pages(served: Path, pictures: list[bytes]) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic second"}):
            answer = await client.post("/detect", content=pictures[0], headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert (await client.post("/v2/repository/models/small/load", headers=headers)).status_code == 401
            assert (await client.get("/metrics", headers=headers)).status_code == 401
        good = await client.post("/detect", content=pictures[0], headers={"Authorization": "Bearer second"})
        assert good.status_code == 200
        for open_to_all in ("/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"):
            assert (await client.get(open_to_all)).status_code == 200

    ask(settings(served, tokens=frozenset({"first", "second"})), talk)


@pytest.mark.parametrize(
    ("accept", "picture"),
    [
        ("*/*", None),
        ("application/json", None),
        ("image/png", "png"),
        ("image/*", "jpeg"),
        ("text/html, application/*;q=0.5", None),
        ("application/json;q=0.1, image/png;q=0.9", "png"),
        ("image/png;q=0, */*;q=0.1", None),
    ],
)
def test_accept_chooses_the_answer(accept: str, picture: str | None) -> None:
    assert accepted_kind(accept) == picture


def test_accept_that_names_nothing_there_is() -> None:
    with pytest.raises(RequestRefusedError, match="text/html"):
        accepted_kind("text/html, image/png;q=0")


def test_the_openapi_document_names_every_address(served: Path) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        described = (await client.get("/openapi.json")).json()
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        routes = {
            (route.path, method.lower())
            for route in transport.app.routes  # type: ignore[attr-defined]
            for method in getattr(route, "methods", None) or ()
            if method != "HEAD"
        }
        pages = {("/", "get"), ("/docs", "get"), ("/live", "get"), ("/openapi.json", "get")}
        said = {(path, method) for path, methods in described["paths"].items() for method in methods}
        assert said == routes - pages

    ask(settings(served), talk)
