"""Streams of a camera on the loopback address, through both decoders."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edgeyolo.errors import DeniedError, SourceError
from edgeyolo.stream import Event, Frame, Reconnection, open_source
from edgeyolo.stream.capture import Capture

from .films import jpeg, number_of, write_film
from .mjpeg_server import served, steady

QUICK = Reconnection(delay=0.02, longest=0.05)
decoders = pytest.mark.parametrize("decoder", ["pyav", "opencv"])


def opened(url: str, **more: object) -> Capture:
    source = open_source(url, **{"reconnection": QUICK, **more})  # type: ignore[arg-type]
    assert isinstance(source, Capture)
    return source


def until_the_end(source: Capture) -> list[Frame]:
    """The frames of a stream that ends; to FFmpeg the end of a multipart stream is an error."""
    frames: list[Frame] = []
    with suppress(SourceError):
        for frame in source:
            frames.append(frame)
    return frames


@decoders
def test_a_camera_gives_frames_by_their_arrival(decoder: str) -> None:
    before = time.monotonic()
    with (
        served(steady(20)) as camera,
        opened(camera.url, policy="every", reconnection=None, decoder=decoder) as source,
    ):
        frames = until_the_end(source)
        assert source.live is True
    numbers = [number_of(frame.image) for frame in frames]
    assert numbers == list(range(20))[: len(numbers)]
    assert len(numbers) >= 18
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    assert before < times[0] < times[-1] < time.monotonic()


@decoders
def test_the_freshest_frame_is_given_to_a_slow_reader(decoder: str) -> None:
    with served(steady(5000, rate=100)) as camera, opened(camera.url, decoder=decoder) as source:
        found, newest = [], [0]
        for frame in source:
            found.append(frame.index)
            if len(found) == 6:
                break
            enough, deadline = source.counts.captured + 5, time.monotonic() + 60
            while source.counts.captured < enough and time.monotonic() < deadline:
                time.sleep(0.005)
            newest.append(source.counts.captured - 1)
        assert source.counts.dropped["newer"] >= 20
    assert all(index >= least for index, least in zip(found, newest, strict=True))


@decoders
def test_a_camera_that_disconnects_is_connected_again(decoder: str) -> None:
    events: list[Event] = []

    def script(connection: int, send: Callable[[bytes], None], stop: threading.Event) -> None:
        steady(10, first=10 * connection)(connection, send, stop)

    with (
        served(script) as camera,
        opened(camera.url, policy="every", decoder=decoder, on_event=events.append) as source,
    ):
        numbers = []
        for frame in source:
            numbers.append(number_of(frame.image))
            if numbers[-1] >= 25:
                break
        assert camera.connections >= 3
    assert numbers == sorted(numbers)
    assert {0, 12, 22} <= set(numbers)
    assert {"connected", "disconnected", "waiting"} <= {event.kind for event in events}


def test_a_camera_that_falls_silent_is_connected_again() -> None:
    events: list[Event] = []

    def script(connection: int, send: Callable[[bytes], None], stop: threading.Event) -> None:
        steady(5, first=10 * connection)(connection, send, stop)
        if connection == 0:
            stop.wait(20)

    with (
        served(script) as camera,
        opened(camera.url, policy="every", silent_after=0.4, on_event=events.append) as source,
    ):
        for frame in source:
            if number_of(frame.image) >= 10:
                break
    assert "silent" in {event.kind for event in events}


def test_a_stream_that_changes_its_size_goes_on() -> None:
    def script(connection: int, send: Callable[[bytes], None], stop: threading.Event) -> None:
        for number in range(12):
            send(jpeg(number, (64, 96) if number < 6 else (128, 192)))
            time.sleep(0.01)

    events: list[Event] = []
    with (
        served(script) as camera,
        opened(camera.url, policy="every", reconnection=None, on_event=events.append) as source,
    ):
        frames = [(number_of(frame.image), frame.size) for frame in until_the_end(source)]
    assert {(2, (64, 96)), (9, (128, 192))} <= set(frames)
    assert [event.kind for event in events].count("resized") == 1


def test_damaged_pictures_of_a_stream_are_passed_over() -> None:
    def script(connection: int, send: Callable[[bytes], None], stop: threading.Event) -> None:
        for number in range(12):
            data = jpeg(number)
            send(data if number != 5 else data[:2] + bytes(len(data) - 2))
            time.sleep(0.01)

    with served(script) as camera, opened(camera.url, policy="every", reconnection=None) as source:
        numbers = [number_of(frame.image) for frame in until_the_end(source)]
        assert source.counts.dropped.get("damaged", 0) == 1
    assert 5 not in numbers
    assert {4, 6} <= set(numbers)


def test_wrong_credentials_are_said_and_not_tried_again() -> None:
    with served(steady(10), login="admin:secret") as camera:
        patient = Reconnection(delay=0.01, from_start=True)
        for url in (camera.url, camera.url.replace("://", "://admin:wrong@")):
            with (
                pytest.raises(DeniedError, match="login") as caught,
                opened(url, reconnection=patient) as source,
            ):
                next(source)
            assert "wrong@" not in str(caught.value)
        assert camera.connections == 0
        with opened(camera.url.replace("://", "://admin:secret@"), reconnection=None) as source:
            frame = next(source)
        assert frame.source == camera.url.replace("://", "://admin@")


def test_an_address_where_nobody_listens() -> None:
    with served(steady(1)) as camera:
        url = camera.url
    for address in (url, url.replace("http", "rtsp")):
        with pytest.raises(SourceError, match=r"127\.0\.0\.1"), opened(address) as source:
            next(source)


def test_a_film_on_a_server_is_a_film(tmp_path: Path) -> None:
    import functools
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    write_film(tmp_path / "film.mp4", (0, 0.1, 0.3))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with opened(f"http://127.0.0.1:{server.server_address[1]}/film.mp4") as source:
            assert [frame.time for frame in source] == pytest.approx([0, 0.1, 0.3], abs=1e-3)
            assert source.live is False
    finally:
        server.shutdown()
        server.server_close()


# The C library ends half a second after the interpreter: a thread that is left meets none.
CHILD = """
import ctypes, signal, sys
if sys.platform == "linux":
    libc = ctypes.CDLL(None)
    libc.__cxa_atexit(ctypes.cast(libc.usleep, ctypes.c_void_p), ctypes.c_void_p(500_000), None)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what runs in the background
from edgeyolo.stream import open_source
try:
    for frame in open_source(sys.argv[1], decoder=sys.argv[2], silent_after=30):
        print("frame", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


@decoders
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_blocked_read_within_a_second(decoder: str, number: signal.Signals) -> None:
    def script(connection: int, send: Callable[[bytes], None], stop: threading.Event) -> None:
        steady(5)(connection, send, stop)
        stop.wait(30)

    with served(script) as camera:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, camera.url, decoder], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "frame\n"
            time.sleep(0.5)  # it waits inside the read now
            start = time.monotonic()
            child.send_signal(number)
            code = child.wait(10)
            took = time.monotonic() - start
        finally:
            child.kill()
    assert took < 10  # of a read that would last for thirty seconds
    assert code == (130 if number == signal.SIGINT else -signal.SIGTERM)


LEFT = """
import sys
from edgeyolo.stream import open_source
source = open_source(sys.argv[1], decoder=sys.argv[2], policy="freshest")
next(source)
"""


@decoders
def test_a_process_ends_well_with_a_camera_left_open(decoder: str) -> None:
    """A decoder's thread that comes back to an interpreter that is gone aborts the process."""
    with served(steady(1000)) as camera:
        done = subprocess.run(
            [sys.executable, "-c", LEFT, camera.url, decoder],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
