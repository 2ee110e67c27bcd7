"""The server as a process: a reload and an end that lose nothing, and what stops it from starting."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from edgeyolo import Detector
from edgeyolo.cli.serve_command import command, is_loopback
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError

from .server import Server, running


def test_reload_and_end_lose_no_request(served: Path, detector: Detector, pictures: list[bytes]) -> None:
    wanted = [detector(picture).to_json() for picture in pictures]

    async def talk(server: Server) -> None:
        limits = httpx.Limits(max_connections=4)
        async with httpx.AsyncClient(base_url=server.address, timeout=60, limits=limits) as client:

            async def detect_all(times: int) -> list[httpx.Response]:
                posts = [client.post("/detect", content=each) for _ in range(times) for each in pictures]
                return await asyncio.gather(*posts)

            asked = asyncio.create_task(detect_all(3))
            await asyncio.sleep(0.05)
            server.process.send_signal(signal.SIGHUP)
            answers = await asked
            while 'reloads_total{model="small"} 1.0' not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.05)
            answers += await detect_all(1)
            assert [each.status_code for each in answers] == [200] * 48
            assert [each.json()["detections"] for each in answers] == wanted * 4

        async with httpx.AsyncClient(base_url=server.address, timeout=60) as client:
            last = [asyncio.create_task(client.post("/detect", content=each)) for each in pictures]
            while True:
                text = (await client.get("/metrics")).text
                if 'accepted_images{model="small"} 0.0' not in text or all(each.done() for each in last):
                    break
            server.process.send_signal(signal.SIGTERM)
            ended = await asyncio.gather(*last, return_exceptions=True)
            taken = [each for each in ended if isinstance(each, httpx.Response)]
            assert taken and all(each.status_code == 200 for each in taken)
            # What had not reached the server was refused at its door; nothing was cut off in the middle.
            assert all(isinstance(each, httpx.Response | httpx.ConnectError) for each in ended), ended

    with running(f"small={served}", "--workers", 1, "--max-batch", 2) as server:
        asyncio.run(talk(server))
        assert server.process.wait(30) == 0
    assert "reloaded\n" in server.said and not any("Traceback" in line for line in server.said)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_workers_end_with_a_server_that_is_killed(served: Path) -> None:
    with running(served, "--workers", 1) as server:
        number = server.process.pid
        (children,) = Path(f"/proc/{number}/task").glob(f"{number}/children")
        workers = [
            each
            for each in children.read_text().split()
            if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()
        ]
        assert len(workers) == 1
        server.process.kill()
        server.process.wait(20)
        end = time.monotonic() + 20
        while Path(f"/proc/{workers[0]}").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(f"/proc/{workers[0]}").exists()


def test_json_says_where_it_listens(served: Path) -> None:
    with running(f"cells={served}", "--json") as server:
        assert server.process.stdout is not None
        said = json.loads(os.read(server.process.stdout.fileno(), 10_000))
    assert said == {"address": server.address, "models": ["cells"]}


def test_interrupted(served: Path) -> None:
    with running(served) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 130


def test_a_port_that_is_taken_is_said(served: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [str(served), "--port", str(taken.getsockname()[1])]
        with pytest.raises(EdgeYoloError, match=r"cannot listen on 127\.0\.0\.1"):
            command.main(arguments, standalone_mode=False)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("board", False)],
)
def test_addresses_of_this_machine_are_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeyolo.cli.serve_command._PACKAGES", ("starlette", "no_such_package"))
    with pytest.raises(RuntimeMissingError, match="no_such_package") as raised:
        command.main([], standalone_mode=False)
    assert raised.value.exit_code == 3 and "[serve]" in raised.value.hint


def test_a_model_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeyolo", "serve", "name=nowhere", "--port", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "nowhere" in done.stderr and "Traceback" not in done.stderr
