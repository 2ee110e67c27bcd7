"""Published weights by name, against a server on this machine: complete, resumed, refused, or explained."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.models.download import (
    PUBLISHED,
    Fetched,
    Patience,
    PublishedWeights,
    fetch,
    fetch_weights,
    is_published,
    published,
    weights_path,
)
from edgeyolo.models.download.table import RELEASE

# By its full name: the package also has a function `transfer`.
transfer_module = importlib.import_module("edgeyolo.models.download.transfer")

QUICK = Patience(attempts=3, timeout_s=5.0, backoff_s=0.001)


def _archive(seed: int = 0, size: int = 300_000) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data/0", random.Random(seed).randbytes(size))
    return buffer.getvalue()


BODY = _archive()
KNOWN = PublishedWeights("known", bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
UNKNOWN = PublishedWeights("unknown")


@dataclass
class Server:
    """Files of the server, its behaviour, and the requests it got."""

    body: bytes = BODY
    etag: str = '"one"'
    last_modified: str = ""
    ranges: bool = True  # knows Range
    if_range: bool = True  # looks at If-Range
    truncate: list[int] = field(default_factory=list)  # bytes to send before hanging up, one per answer
    statuses: list[int] = field(default_factory=list)  # answers to give first
    headers: dict[str, str] = field(default_factory=dict)
    without_size: bool = False
    before_body: Callable[[], None] = lambda: None
    drip_s: float = 0.0  # between two bytes, for ever
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def offsets(self) -> list[int]:
        """First byte of each request."""
        return [
            int(headers["range"].removeprefix("bytes=").rstrip("-")) if "range" in headers else 0
            for headers in self.asked
        ]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(
                {":path": self.path} | {key.lower(): value for key, value in self.headers.items()}
            )
            if server.statuses:
                self.send_response(server.statuses.pop(0))
                for key, value in server.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = self._start()
            if start >= len(server.body):
                self.send_error(416)
                return
            self._answer(start)

        def _start(self) -> int:
            wanted = self.headers.get("Range")
            if wanted is None or not server.ranges:
                return 0
            same = self.headers.get("If-Range") in (server.etag, server.last_modified)
            return int(wanted.removeprefix("bytes=").rstrip("-")) if same or not server.if_range else 0

        def _answer(self, start: int) -> None:
            self.send_response(206 if start else 200)
            if start:
                last, total = len(server.body) - 1, len(server.body)
                self.send_header("Content-Range", f"bytes {start}-{last}/{total}")
            for key, value in (("ETag", server.etag), ("Last-Modified", server.last_modified)):
                if value:
                    self.send_header(key, value)
            rest = server.body[start:]
            if not server.without_size:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            server.before_body()
            while server.drip_s:
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
                time.sleep(server.drip_s)
            self.wfile.write(rest[: server.truncate.pop(0)] if server.truncate else rest)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("EDGEYOLO_WEIGHTS_URL", raising=False)
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as listening:
        state.url = f"http://127.0.0.1:{listening.server_address[1]}/release"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Callable[..., Fetched]:
    def call(weights: PublishedWeights = KNOWN, **options: object) -> Fetched:
        settings: dict[str, object] = {"cache": tmp_path, "base_url": server.url, "patience": QUICK}
        return fetch(weights, **{**settings, **options})  # type: ignore[arg-type]

    return call


def _names(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "weights").iterdir() if not path.name.endswith(".lock"))


def _part(cache: Path, weights: PublishedWeights = KNOWN) -> Path:
    return cache / "weights" / f"{weights.file}.part"


# --- the ordinary way


def test_a_file_is_fetched_once(server: Server, get: Callable[..., Fetched], tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    first = get(progress=lambda done, total: steps.append((done, total)))
    assert first.path == weights_path(KNOWN, tmp_path) == tmp_path / "weights" / "known.pt"
    assert first.path.read_bytes() == BODY
    assert first.sha256 == KNOWN.sha256
    assert "GPL-3.0" in first.notice
    assert steps[0] == (0, len(BODY))
    assert steps[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    second = get()
    assert second == Fetched(first.path, first.sha256, "")
    assert len(server.asked) == 1
    assert server.asked[0]["user-agent"].startswith("edgeyolo/")
    assert _names(tmp_path) == ["known.pt"]


def test_the_address_and_the_cache_come_from_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_WEIGHTS_URL", server.url + "/")
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    assert fetch(KNOWN, patience=QUICK).path == tmp_path / "cache" / "weights" / "known.pt"


@pytest.mark.parametrize("base", ["file:///etc", "ftp://example.org", "mirror"])
def test_only_http_addresses_are_taken(tmp_path: Path, base: str) -> None:
    with pytest.raises(UsageError, match="https://"):
        fetch(KNOWN, cache=tmp_path, base_url=base)


# --- broken off


def test_a_truncated_answer_is_taken_up(server: Server, get: Callable[..., Fetched]) -> None:
    server.truncate = [100_000, 50_000]
    told: list[str] = []
    assert get(tell=told.append).path.read_bytes() == BODY
    assert server.offsets == [0, 100_000, 150_000]
    assert [headers.get("if-range") for headers in server.asked] == [None, '"one"', '"one"']
    assert any("ended after 100000 of" in sentence for sentence in told)
    assert any("resuming at 150000" in sentence for sentence in told)


def test_a_later_call_takes_up_what_an_earlier_one_left(
    server: Server, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    server.truncate = [1000, 1000, 1000]
    with pytest.raises(EdgeYoloError, match="the last"):
        get()
    assert _part(tmp_path).stat().st_size == 3000
    assert not weights_path(KNOWN, tmp_path).exists()
    assert get().path.read_bytes() == BODY
    assert server.offsets[-1] == 3000
    assert _names(tmp_path) == ["known.pt"]


def test_an_interrupt_leaves_what_came(server: Server, get: Callable[..., Fetched], tmp_path: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done >= 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(progress=interrupt)
    size = _part(tmp_path).stat().st_size
    assert 100_000 <= size < len(BODY)
    assert get().path.read_bytes() == BODY
    assert server.offsets == [0, size]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_leaves_what_came(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, number: signal.Signals
) -> None:
    script = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgeyolo.models.download import PublishedWeights, fetch\n"
        "def show(done, total):\n"
        "    if done > 200_000:\n"
        "        print(done, flush=True)\n"
        "        time.sleep(60)\n"
        "cache, url = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "fetch(PublishedWeights('known'), cache=cache, base_url=url, progress=show)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 200_000
        process.send_signal(number)
        process.wait(timeout=20)
    assert not weights_path(KNOWN, tmp_path).exists()
    assert get().path.read_bytes() == BODY
    assert server.offsets[1] > 100_000


def test_a_kill_before_placing_needs_no_second_download(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(part: Path, path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edgeyolo.models.download.place", killed)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert get().path.read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_server_that_knows_no_ranges_sends_it_all_again(
    server: Server, get: Callable[..., Fetched]
) -> None:
    server.ranges = False
    server.truncate = [100_000]
    assert get().path.read_bytes() == BODY
    assert server.offsets == [0, 100_000]


@pytest.mark.parametrize("looks", [True, False], ids=["looks at If-Range", "ignores If-Range"])
@pytest.mark.parametrize("seed_size", [(1, 300_000), (1, 250_000)], ids=["same size", "smaller"])
def test_a_file_that_has_changed_begins_anew(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, looks: bool, seed_size: tuple[int, int]
) -> None:
    server.truncate = [100_000, 1, 1]
    with pytest.raises(EdgeYoloError):
        get(UNKNOWN)
    server.body, server.etag, server.if_range = _archive(*seed_size), '"two"', looks
    assert get(UNKNOWN).path.read_bytes() == server.body
    assert server.offsets[3] == 100_002
    assert server.offsets[4:] == ([] if looks else [0])


def test_a_file_that_is_shorter_than_what_was_begun_begins_anew(
    server: Server, get: Callable[..., Fetched]
) -> None:
    server.truncate = [200_000, 1, 1]
    with pytest.raises(EdgeYoloError):
        get(UNKNOWN)
    server.body, server.if_range = _archive(1, 1000), False
    assert get(UNKNOWN).path.read_bytes() == server.body  # 416 in between


@pytest.mark.parametrize(
    ("etag", "modified", "resumes"),
    [("", "Thu, 07 Jul 2022 00:00:00 GMT", True), ('W/"weak"', "", False), ("", "", False)],
    ids=["Last-Modified", "weak ETag", "neither"],
)
def test_only_what_vouches_for_the_bytes_lets_a_download_resume(
    server: Server, get: Callable[..., Fetched], etag: str, modified: str, resumes: bool
) -> None:
    server.etag, server.last_modified = etag, modified
    server.truncate = [100_000]
    assert get().path.read_bytes() == BODY
    assert server.offsets == [0, 100_000 if resumes else 0]


_TYPES = '{"url": "http://x/known.pt", "validator": 1, "total": "many"}'


@pytest.mark.parametrize("note", ["", "[]", '{"url": 3}', "\x00", "[" * 100_000, _TYPES])
def test_a_damaged_note_begins_anew(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, note: str
) -> None:
    part = _part(tmp_path)
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    part.with_name(part.name + ".json").write_text(note)
    assert get().path.read_bytes() == BODY
    assert server.offsets == [0]


def test_another_address_begins_anew(server: Server, get: Callable[..., Fetched], tmp_path: Path) -> None:
    part = _part(tmp_path)
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    state = {"url": "http://127.0.0.1/other", "validator": '"one"', "total": len(BODY)}
    part.with_name(part.name + ".json").write_text(json.dumps(state))
    assert get().path.read_bytes() == BODY
    assert server.offsets == [0]


# --- the wrong file


def test_another_file_of_the_same_size_is_refused_and_removed(
    server: Server, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    server.body = _archive(1)
    with pytest.raises(DamagedFileError, match="SHA-256") as caught:
        get()
    assert caught.value.exit_code == 6
    assert str(KNOWN.sha256) in caught.value.message
    assert _names(tmp_path) == []


def test_another_size_is_refused_before_it_is_fetched(
    server: Server, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    server.body = BODY + b"x"
    with pytest.raises(
        DamagedFileError, match=f"has {len(BODY) + 1} bytes; the published file has {len(BODY)}"
    ):
        get()
    assert _names(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [(-1000, "the published file has"), (1000, "sends more than")],
    ids=["short", "endless"],
)
def test_a_server_that_tells_no_size_is_held_to_the_known_one(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, change: int, says: str
) -> None:
    server.without_size = True
    server.body = BODY[:change] if change < 0 else BODY + b"x" * change
    with pytest.raises(DamagedFileError, match=says):
        get()
    assert _names(tmp_path) == []


def test_a_web_page_is_no_checkpoint(server: Server, get: Callable[..., Fetched], tmp_path: Path) -> None:
    server.body = b"<html>Please log in to this network</html>"
    with pytest.raises(DamagedFileError, match="zip archive"):
        get(UNKNOWN)
    assert _names(tmp_path) == []


def test_a_cached_file_that_was_changed_is_refused_and_kept(
    get: Callable[..., Fetched], tmp_path: Path
) -> None:
    path = get().path
    path.write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match="SHA-256") as caught:
        get()
    assert str(path) in caught.value.hint
    path.write_bytes(b"mine")
    with pytest.raises(DamagedFileError, match="4 bytes"):
        get()
    assert path.read_bytes() == b"mine"


# --- files of which nothing is known


def test_an_unknown_file_is_trusted_once_and_says_so(
    server: Server, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    first = get(UNKNOWN)
    record = tmp_path / "weights" / "unknown.pt.sha256"
    assert record.read_text() == f"{first.sha256}  unknown.pt\n"
    assert "trusted as it came" in first.notice
    assert first.sha256 in first.notice
    assert "GPL-3.0" in first.notice
    assert get(UNKNOWN).notice == ""
    first.path.write_bytes(_archive(1))
    with pytest.raises(DamagedFileError, match="SHA-256") as caught:
        get(UNKNOWN)
    assert str(record) in caught.value.hint
    first.path.unlink()
    server.body = _archive(2)
    with pytest.raises(DamagedFileError, match="SHA-256"):  # downloaded again, but it is another one
        get(UNKNOWN)
    assert _names(tmp_path) == ["unknown.pt.sha256"]


def test_a_file_put_there_by_hand_needs_no_server(
    server: Server, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    for weights in (KNOWN, UNKNOWN):
        path = weights_path(weights, tmp_path)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(BODY)
        assert get(weights).path == path
    assert server.asked == []
    assert (tmp_path / "weights" / "unknown.pt.sha256").is_file()


def test_a_cache_that_may_only_be_read_still_serves(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights_path(UNKNOWN, tmp_path)
    path.parent.mkdir()
    path.write_bytes(BODY)

    def read_only(place: Path) -> None:
        raise EdgeYoloError(f"cannot write {place}: Read-only file system")

    monkeypatch.setattr("edgeyolo.models.download.atomic_file", read_only)
    notice = get(UNKNOWN).notice
    assert "cannot be compared" in notice
    assert "Read-only" in notice


# --- no file to be had


def _explains(error: EdgeYoloError, path: Path) -> bool:
    return str(path) in error.hint and f"{RELEASE}known.pt" in error.hint and str(KNOWN.sha256) in error.hint


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204])
def test_a_refusal_is_final_and_says_where_to_put_the_file(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, status: int
) -> None:
    server.statuses = [status]
    with pytest.raises(EdgeYoloError, match=str(status)) as caught:
        get()
    assert caught.value.exit_code == 1
    assert _explains(caught.value, weights_path(KNOWN, tmp_path))
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: Server, get: Callable[..., Fetched]) -> None:
    server.statuses = [503, 429]
    told: list[str] = []
    assert get(tell=told.append).path.read_bytes() == BODY
    assert len(server.asked) == 3
    assert "503" in told[0]
    assert "429" in told[1]


def test_a_server_that_stays_busy_is_given_up(
    server: Server, get: Callable[..., Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.statuses = [500] * 10
    server.headers = {"Retry-After": "7"}
    waited: list[float] = []
    monkeypatch.setattr(transfer_module.time, "sleep", waited.append)
    with pytest.raises(EdgeYoloError, match="500") as caught:
        get()
    assert _explains(caught.value, weights_path(KNOWN, tmp_path))
    assert len(server.asked) == 3
    assert waited == [7.0, 7.0]


def test_waits_grow_and_are_bounded(
    server: Server, get: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.statuses = [503] * 10
    waited: list[float] = []
    monkeypatch.setattr(transfer_module.time, "sleep", waited.append)
    with pytest.raises(EdgeYoloError):
        get(patience=Patience(attempts=6, backoff_s=4.0))
    assert waited == [4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_closed_port_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as listening:
        port = listening.server_address[1]
    told: list[str] = []
    with pytest.raises(EdgeYoloError, match="refused") as caught:
        fetch(KNOWN, cache=tmp_path, base_url=f"http://127.0.0.1:{port}", tell=told.append)
    assert _explains(caught.value, weights_path(KNOWN, tmp_path))
    assert told == []


def test_a_name_that_does_not_resolve_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(EdgeYoloError, match="name resolution") as caught:
        fetch(KNOWN, cache=tmp_path, base_url="https://weights.invalid")
    assert _explains(caught.value, weights_path(KNOWN, tmp_path))


def test_a_silent_server_times_out(server: Server, get: Callable[..., Fetched], tmp_path: Path) -> None:
    released = threading.Event()
    server.before_body = lambda: (released.wait(5), None)[1]
    try:
        with pytest.raises(EdgeYoloError, match="timed out"):
            get(patience=Patience(attempts=2, timeout_s=0.05, backoff_s=0.001))
    finally:
        released.set()
    assert len(server.asked) == 2


def test_a_server_that_drips_is_given_up(server: Server, get: Callable[..., Fetched]) -> None:
    """Every byte is in time, and the file would take years."""
    server.drip_s = 0.02
    slow = Patience(attempts=2, timeout_s=0.3, backoff_s=0.001, least_bytes=1000)
    with pytest.raises(EdgeYoloError, match=r"bytes in 0\.3 s"):
        get(patience=slow)
    assert len(server.asked) == 2


def test_an_answer_whose_head_drips_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                        while True:
                            connection.sendall(b"x")
                            time.sleep(0.02)

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        slow = Patience(attempts=1, timeout_s=0.1, backoff_s=0.001)
        with pytest.raises(EdgeYoloError, match="no whole answer within"):
            fetch(KNOWN, cache=tmp_path, base_url=url, patience=slow)


def test_a_record_that_is_no_text_is_another_hash(server: Server, get: Callable[..., Fetched]) -> None:
    path = get(UNKNOWN).path
    path.with_name(path.name + ".sha256").write_bytes(b"\xff\xfe")
    with pytest.raises(DamagedFileError, match="expected"):
        get(UNKNOWN)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/known.pt", "file:///etc/passwd"])
def test_a_redirection_out_of_the_web_is_not_followed(
    server: Server, get: Callable[..., Fetched], target: str
) -> None:
    server.statuses, server.headers = [302], {"Location": target}
    with pytest.raises(EdgeYoloError, match="redirect"):
        get()


def test_a_redirection_is_followed_with_its_range(server: Server, get: Callable[..., Fetched]) -> None:
    server.truncate = [1000, 1, 1]
    with pytest.raises(EdgeYoloError):
        get()
    server.statuses, server.headers = [302], {"Location": f"{server.url}/storage/known.pt"}
    assert get().path.read_bytes() == BODY
    assert server.offsets[-2:] == [1002, 1002]


def test_https_is_never_left_for_http() -> None:
    from urllib.request import Request

    redirects = transfer_module._Redirects()
    with pytest.raises(EdgeYoloError, match="not safe"):
        redirects.redirect_request(
            Request("https://a.example/x"), None, 302, "Found", {}, "http://a.example/x"
        )
    followed = redirects.redirect_request(
        Request("https://a.example/x"), None, 302, "Found", {}, "https://b.example/x"
    )
    assert followed is not None
    assert followed.full_url == "https://b.example/x"


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeYoloError, match="cannot keep") as caught:
        get(cache=tmp_path / "file")
    assert "EDGEYOLO_CACHE" in caught.value.hint


# --- at the same time


def test_four_threads_make_one_download(server: Server, get: Callable[..., Fetched], tmp_path: Path) -> None:
    waiting = threading.Barrier(4)  # three that wait for the lock, and the server
    server.before_body = lambda: (waiting.wait(5), None)[1]
    results: list[Fetched] = []

    def download() -> None:
        results.append(
            get(tell=lambda text: (waiting.wait(5), None)[1] if text.startswith("waiting") else None)
        )

    threads = [threading.Thread(target=download) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(results) == 4
    assert len(server.asked) == 1
    assert {result.path.read_bytes() == BODY for result in results} == {True}
    assert sum("GPL-3.0" in result.notice for result in results) == 1


def test_two_processes_do_not_disturb_each_other(server: Server, tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from edgeyolo.models.download import PublishedWeights, fetch\n"
        "cache, url = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "print(fetch(PublishedWeights('known'), cache=cache, base_url=url).sha256)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), server.url]
    environment = {**os.environ, "no_proxy": "*"}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    ]
    answers = [process.communicate(timeout=20)[0].strip() for process in processes]
    assert answers == [KNOWN.sha256, KNOWN.sha256]
    assert len(server.asked) == 1


# --- the table


def test_the_table_is_sound() -> None:
    names = [weights.name for weights in PUBLISHED]
    assert len(names) == len(set(names)) == 14
    for weights in PUBLISHED:
        if weights.licence == "GPL-3.0":
            assert weights.url == f"{RELEASE}{weights.name}.pt"
        assert (weights.sha256 is None) == (weights.bytes is None)
        assert weights.certainty
    assert {weights.name: weights.bytes for weights in PUBLISHED if weights.bytes} == {
        "yolov7-tiny": 12_639_769,
        "yolov7": 75_587_165,
    }


def test_the_permissively_licensed_weights(server: Server, tmp_path: Path) -> None:
    """Their file has another name in its release than here, and its own licence is said."""
    entry = published("yolov7-mit")
    assert (entry.licence, entry.file) == ("MIT", "yolov7-mit.pt")
    assert entry.url == "https://github.com/MultimediaTechLab/YOLO/releases/download/v1.0-alpha/v7.pt"
    fetched = fetch_weights("yolov7-mit", cache=tmp_path, base_url=server.url, patience=QUICK)
    assert server.asked[-1][":path"].endswith("/v7.pt")
    assert fetched.path == tmp_path / "weights" / "yolov7-mit.pt"
    assert "published under MIT" in fetched.notice


def test_names_are_found_with_and_without_their_suffix(tmp_path: Path) -> None:
    assert is_published("yolov7-e6e")
    assert is_published("yolov7-e6e_training.pt")
    assert not is_published("yolov8n")
    assert not is_published("")
    assert weights_path("yolov7.pt", tmp_path) == tmp_path / "weights" / "yolov7.pt"
    with pytest.raises(UsageError, match="yolov7-d6_training"):
        fetch_weights("yolov7-tiny_training", cache=tmp_path)


def test_the_pinned_hashes_are_those_of_the_specification(shared: Path) -> None:
    text = (shared / "spec" / "checkpoints.md").read_text(encoding="utf-8")
    pinned = [weights for weights in PUBLISHED if weights.sha256]
    assert len(pinned) == 2
    for weights in pinned:
        assert f"| {weights.file} | {weights.bytes:,} | {weights.sha256} |" in text


def test_a_published_name_is_checked_against_its_pin(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="12639769"):
        fetch_weights("yolov7-tiny", cache=tmp_path, base_url=server.url, patience=QUICK)
    result = fetch_weights("yolov7x", cache=tmp_path, base_url=server.url, patience=QUICK)
    assert result.path == tmp_path / "weights" / "yolov7x.pt"
