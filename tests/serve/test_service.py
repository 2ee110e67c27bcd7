"""A service over HTTP with workers that are slow, or that are processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from edgeyolo import Detector
from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.serve import service as service_module
from edgeyolo.serve.service import Service
from edgeyolo.serve.settings import Limits, Model, Settings, read_tokens
from edgeyolo.serve.worker import Answer, Job, LocalWorker
from edgeyolo.serve.worker_process import ProcessWorker, WorkerLostError

from .serving import ask, served_by, settings


class Slow(LocalWorker):
    """A worker that takes half a second for a batch."""

    def run(self, jobs: Sequence[Job]) -> Answer:
        time.sleep(0.5)
        return super().run(jobs)


def test_overload_is_503_and_lateness_504(
    served: Path, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "LocalWorker", Slow)

    async def talk(client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(client.post("/detect", content=pictures[0]) for _ in range(6)))
        refused = [each for each in answers if each.status_code == 503]
        assert len(refused) == 2 and all(int(each.headers["retry-after"]) >= 1 for each in refused)
        late = [each for each in answers if each.status_code == 504]
        assert late and all(each.json()["error"]["message"].startswith("not answered") for each in late)
        assert len([each for each in answers if each.status_code == 200]) == 4 - len(late) >= 1

    ask(settings(served, limits=Limits(queue=4, timeout=0.9), max_batch=1), talk)


def test_a_worker_process_answers_as_the_detector_and_says_when_it_is_lost(
    served: Path, detector: Detector, pictures: list[bytes]
) -> None:
    worker = ProcessWorker(Model("small", served, {"threads": 1}), 30)
    try:
        jobs = [Job(picture, 10_000_000) for picture in pictures[:2]]
        found = worker.run([*jobs, Job(b"hello", 1)]).found
        assert [each.detections for each in found[:2]] == detector.batch(pictures[:2])  # type: ignore[union-attr]
        assert "hello" in str(found[2])
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)  # a terminal's Ctrl-C goes to all processes
        os.kill(worker.pid, signal.SIGTERM)
        assert len(worker.run(jobs).found) == 2
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerLostError, match="-9"):
            worker.run(jobs)
    finally:
        worker.close()


def test_errors_of_opening_come_from_the_process_as_they_are(served: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no class is called") as raised:
        ProcessWorker(Model("small", served, {}, ("nothing_of_the_kind",)), 30)
    assert raised.value.hint


def test_a_killed_worker_costs_its_requests_and_is_replaced(served: Path, pictures: list[bytes]) -> None:
    async def run() -> None:
        service = Service(settings(served, workers=1, max_delay=0.0))
        async with served_by(service) as client:
            assert (await client.post("/detect", content=pictures[0])).status_code == 200
            (worker,) = service.find("small")._workers
            assert isinstance(worker, ProcessWorker) and worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            lost = await client.post("/detect", content=pictures[0])
            assert lost.status_code == 503 and lost.json()["error"]["kind"] == "WorkerLostError"
            assert not service.ready and (await client.get("/v2/health/ready")).status_code == 503
            assert (await client.post("/detect", content=pictures[0])).status_code == 200
            assert 'edgeyolo_workers_lost_total{model="small"} 1.0' in (await client.get("/metrics")).text

    asyncio.run(run())


def test_several_models(served: Path, pictures: list[bytes]) -> None:
    few = Model("few", served, {"max_det": 3})

    async def talk(client: httpx.AsyncClient) -> None:
        first = await client.post("/detect", content=pictures[0])
        assert len(first.json()["detections"]) > 3
        second = await client.post("/detect?model=few", content=pictures[0])
        assert second.json()["detections"] == first.json()["detections"][:3]

    ask(Settings((Model("small", served), few)), talk)


def test_a_model_that_cannot_be_opened_stops_the_start(served: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(served, tmp_path / "damaged")
    (tmp_path / "damaged/golden.npz").write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"golden\.npz"):
        Service(Settings((Model("small", served), Model("damaged", tmp_path / "damaged"))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Model("a b", Path("x")),
        lambda: Settings(()),
        lambda: Settings((Model("a", Path("x")), Model("a", Path("y")))),
        lambda: Settings((Model("a", Path("x")),), max_batch=0),
        lambda: Settings((Model("a", Path("x")),), max_batch=33),
        lambda: Settings((Model("a", Path("x")),), max_delay=31.0),
        lambda: Settings((Model("a", Path("x")),), workers=-1),
        lambda: Limits(queue=0),
        lambda: Limits(timeout=0.0),
    ],
)
def test_settings_that_make_no_sense(make: object) -> None:
    with pytest.raises(UsageError, match=r"got|expected"):
        make()  # type: ignore[operator]


def test_tokens_are_read_from_lines(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# of the team\n first \n\nsecond\n")
    assert read_tokens(file) == {"first", "second"}
    for text in ("", "# none\n", "two words\n", "töken\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match="token"):
            read_tokens(file)
    with pytest.raises(UsageError):
        read_tokens(tmp_path / "missing")
