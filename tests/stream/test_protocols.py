"""RTSP and MPEG-TS over UDP on the loopback address: a sender that pushes, with and without losses."""

from __future__ import annotations

import itertools
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgeyolo.stream import Frame, open_source

from .films import number_of, write_film


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def sending(url: str, format: str, *options: str) -> Iterator[None]:
    sender = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("sender.py")), url, format, *options],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        sender.kill()
        sender.wait(10)


def first(url: str, count: int, **more: object) -> list[Frame]:
    frames = []
    with open_source(url, policy="every", decoder="pyav", **more) as source:  # type: ignore[arg-type, attr-defined]
        for frame in source:
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


def test_rtsp_that_is_pushed_to_us() -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/live"
    with sending(url, "rtsp", "rtsp_transport=tcp"):
        frames = first(url, 60, options={"rtsp_flags": "listen", "listen_timeout": "20"})
    numbers = [number_of(frame.image) for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 60))
    times = [frame.time for frame in frames[-20:]]  # the first ones waited while the stream was looked into
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.04, rel=0.5)
    assert times[-1] <= time.monotonic()


def test_mpeg_ts_over_udp() -> None:
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with sending(f"{url}?pkt_size=1316", "mpegts"):
        numbers = [number_of(frame.image) for frame in first(url, 20)]
    assert numbers == list(range(numbers[0], numbers[0] + 20))


@contextmanager
def lossy(into: int, share: float) -> Iterator[int]:
    """Forward datagrams to a port, less a share of them; yields the port to send to."""
    chance = random.Random(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))
        relay.settimeout(0.1)
        stop = threading.Event()

        def forward() -> None:
            while not stop.is_set():
                with suppress(TimeoutError, socket.timeout):
                    data = relay.recv(65536)
                    if chance.random() > share:
                        relay.sendto(data, ("127.0.0.1", into))

        thread = threading.Thread(target=forward, daemon=True)
        thread.start()
        try:
            yield int(relay.getsockname()[1])
        finally:
            stop.set()
            thread.join(5)


def test_lost_packets_cost_frames_and_the_stream_goes_on() -> None:
    """One datagram of ten is lost, and with it whole pictures; what is known to be damaged is not shown."""
    port = free_port(socket.SOCK_DGRAM)
    with lossy(port, 0.1) as sent_to, sending(f"udp://127.0.0.1:{sent_to}?pkt_size=1316", "mpegts"):
        frames = first(f"udp://127.0.0.1:{port}", 80)
    numbers = [number_of(frame.image) for frame in frames]
    steps = [later - sooner for sooner, later in itertools.pairwise(numbers)]
    assert max(steps) > 1  # some are missing
    assert sum(step >= 1 for step in steps) > 0.85 * len(steps)  # FFmpeg does not notice every loss
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    assert [frame.index for frame in frames] == list(range(80))


def test_pictures_upon_a_damaged_one_are_counted_and_not_shown(tmp_path: Path) -> None:
    """A key picture every ten; the bytes of one between them are overwritten."""
    import av

    film = write_film(
        tmp_path / "film.ts", [n / 25 for n in range(40)], options={"g": "10", "bf": "0", "crf": "12"}
    )
    data = bytearray(film.read_bytes())
    with av.open(str(film)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    for start in range(positions[13] // 188 * 188, positions[14] // 188 * 188, 188):
        data[start + 4 : start + 188] = b"\x55" * 184  # the packet's head stays, its content does not
    film.write_bytes(data)
    with open_source(film, decoder="pyav") as source:  # type: ignore[attr-defined]
        numbers = [number_of(frame.image) for frame in source]
        damaged = source.counts.dropped.get("damaged", 0)
    assert numbers == sorted(set(numbers))
    assert set(range(13)) | set(range(20, 40)) <= set(numbers)
    assert damaged + len(numbers) in (39, 40)
