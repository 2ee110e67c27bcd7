"""Streams and servers under measurement: what is counted, what is refused, what is shown."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeyolo.cli.program import cli
from edgeyolo.errors import EdgeYoloError, SourceError, UsageError
from edgeyolo.stream.film_writer import FilmWriter
from edgeyolo_bench.live.client import Address, Client
from edgeyolo_bench.live.live_options import Live
from edgeyolo_bench.live.load_bench import Load, measure_load
from edgeyolo_bench.live.report import LiveReport, LoadFacts, StreamFacts
from edgeyolo_bench.live.show import notes, tables, write_live
from edgeyolo_bench.live.stream_bench import measure_stream
from edgeyolo_bench.measure.scenarios import SCENARIOS
from edgeyolo_bench.measure.statistics import quantile, rate
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.measure.workload import Workload, drawn, generated

from .sample import DEVICE

TOKEN = "secret"


@contextmanager
def server(statuses: list[int], *, flip: bool = False) -> Iterator[str]:
    """A server that answers these statuses in turn, after the first of each picture; wrongly where it flips."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length: ")[1].split()[0])
            body = await reader.readexactly(length)
            status = 200 if asked < 2 else statuses[asked % len(statuses)]
            status = status if f"Bearer {TOKEN}".encode() in head else 401
            asked += 1
            if status == 0:
                break
            found = [{"size": len(body) + (asked if flip and asked > 2 else 0)}]
            text = json.dumps({"detections": found}).encode()
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text)
        writer.close()

    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listening.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


PICTURES = [b"one", b"other"]


def test_answers_are_counted_by_status_and_compared() -> None:
    with server([200, 503]) as url:
        found = measure_load(url, PICTURES, Load(0.3, connections=2), token=TOKEN)
    assert set(found.statuses) == {"200", "503"} and found.wrong == 0
    assert found.connections == 2 and found.offered is None
    assert [item.q for item in found.latency] == [0.5, 0.9, 0.99] and found.latency[0].value > 0


def test_wrong_answers_and_lost_connections_are_counted() -> None:
    with server([200, 0], flip=True) as url:
        found = measure_load(url, PICTURES, Load(0.3, rate=100.0), token=TOKEN)
    assert found.wrong == found.statuses["200"] > 0
    assert found.statuses["0"] > 0 and sum(found.statuses.values()) == 30


def test_a_server_that_does_not_answer_is_an_error_with_its_reason() -> None:
    with server([200]) as url, pytest.raises(EdgeYoloError, match="status 401"):
        measure_load(url, PICTURES, Load(0.1))
    with pytest.raises(EdgeYoloError, match="no answer"):
        measure_load(url, PICTURES, Load(0.1))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://h:81", Address("h", 81)),
        ("https://h/x?model=a", Address("h", 443, "/x?model=a", True)),
        ("http://[::1]:80/", Address("::1", 80)),
    ],
)
def test_addresses_are_read(url: str, found: Address) -> None:
    assert Address.parse(url) == found


@pytest.mark.parametrize("url", ["h:80", "ftp://h", "http://", "http://h:port", "http://[h"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="address of HTTP"):
        Address.parse(url)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    pytest.importorskip("av", reason="needs the video extra")
    with FilmWriter(tmp_path / "film.mp4") as writer:
        for number in range(12):
            writer.write(np.full((96, 128, 3), 20 * number, np.uint8), number / 25)
    return tmp_path / "film.mp4"


def test_a_film_is_measured_at_full_speed_and_at_its_own(film: Path, small_artifact: Path) -> None:
    job = Job("small", "cpu-onnx-fp32", small_artifact, SCENARIOS["single-stream"], generated(1))
    found = measure_stream(job, str(film), seconds=1.0)
    assert found.pace == pytest.approx(25, rel=0.05)
    assert found.frames > 1 and found.rate is not None and found.rate.value > 0
    assert found.delivered > 0 and min(item.value for item in found.latency) > 0
    assert found.captured >= found.delivered
    assert found.captured <= 25 * 1.0 * 3, "played at its own pace, not as fast as it goes"


def test_a_picture_is_no_film(tmp_path: Path, small_artifact: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((64, 64, 3), np.uint8))
    job = Job("small", "cpu-onnx-fp32", small_artifact, SCENARIOS["single-stream"], generated(1))
    with pytest.raises(SourceError, match="expected a film"):
        measure_stream(job, str(tmp_path / "one.png"), seconds=0.01)


def live_report() -> LiveReport:
    samples = np.linspace(10.0, 20.0, 700)
    found = tuple(quantile(samples, q) for q in (0.5, 0.9, 0.99))
    stream = StreamFacts(
        "tiny",
        "cpu-onnx-fp32",
        "ab",
        "f.mp4",
        rate(samples / 1e3, 1),
        700,
        30.0,
        found,
        900,
        600,
        {"newer": 300},
    )
    load = LoadFacts("http://h", None, 50.0, 10.0, None, (), {"503": 3, "0": 1}, 2)
    return LiveReport("2026-01-01T00:00:00+00:00", "0", DEVICE, (stream,), (load,))


def test_everything_is_shown_and_written(tmp_path: Path) -> None:
    (_, (stream,)), (_, (load,)) = tables(live_report())
    assert stream[:2] == ("tiny", "cpu-onnx-fp32") and stream[-2:] == ("600 of 900", "300 newer")
    assert load[1] == "50 a second" and load[-2:] == ("3 x 503, 1 x no answer", "2")
    assert "the freshest taken" in next(iter(notes(live_report())))
    write_live(live_report(), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["streams"][0]["dropped"] == {"newer": 300}
    assert "600 of 900" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m", "--source", "f.mp4", "--server", "http://h"], "one of them"),
        (["--source", "f.mp4"], "expected a MODEL"),
        (["m", "--server", "http://h"], "not MODEL"),
        (["m", "--connections", "3"], "for --server"),
        (["--server", "http://h", "--threads", "2"], "beside --server"),
        (["m", "--source", "f.mp4", "--scenario", "paper"], "beside --source"),
        (["--server", "http://h", "--rate", "3", "--connections", "3"], "beside --rate"),
    ],
)
def test_what_does_nothing_is_refused(words: list[str], said: str) -> None:
    found = CliRunner().invoke(cli, ["bench", *words])
    assert found.exit_code == 2 or isinstance(found.exception, UsageError)
    assert said in found.output + str(found.exception)


def test_the_token_is_the_first_word_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("one\ntwo\n")
    assert Live(token_file=tmp_path / "tokens").token() == "one" and not Live().token()


def test_images_are_drawn_with_a_seed() -> None:
    few = Workload((b"a", b"b", b"c"), generated(1).facts)
    first, again, other = (drawn(few, seed) for seed in (1, 1, 2))
    assert first == again and first.encoded != other.encoded and first.facts == few.facts
    counts = [first.encoded.count(each) for each in few.encoded]
    assert min(counts) > 0.9 * len(first.encoded) / 3
    assert drawn(few, None) is few
    assert replace(SCENARIOS["paper"]).seed is None and SCENARIOS["offline"].seed == 0


def test_a_connection_that_the_server_closed_as_idle_is_not_used_again() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"detections": []}'

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(3)
        writer.write(answer)
        writer.close()  # though its answer did not say so

    async def talk() -> list[tuple[int, object]]:
        async with await asyncio.start_server(once, "127.0.0.1") as server:
            client = Client(Address(*server.sockets[0].getsockname()), [b"jpg"], [[]])
            found = []
            for number in range(3):
                found.append(await client.detections(number))
                while not all(reader.at_eof() for reader, _ in client._free):
                    await asyncio.sleep(0.01)
            return found

    assert asyncio.run(talk()) == [(200, [])] * 3
