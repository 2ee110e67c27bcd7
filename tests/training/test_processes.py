"""Two processes on a CPU come to the weights of one."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.training.processes import join_processes  # noqa: E402

HERE = Path(__file__).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _train(rank: int, count: int, port: int, folder: str, scenes: str) -> None:
    """One of `count` processes; what torchrun does is done by the environment here."""
    import os

    sys.path.insert(0, str(HERE))
    import test_loop

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    processes, _ = join_processes("cpu", 4)
    # SimOTA chooses, and a choice turns rounding into another positive; every candidate does not.
    recipe = replace(test_loop.RECIPE, strategy="simple")
    data = test_loop.write_scenes(Path(scenes), 8)
    run = test_loop.trainer(Path(folder), data, processes=processes, recipe=recipe)
    run.run()
    if processes.leads:
        torch.save(run.position.history, Path(folder) / "history.pt")
    if count > 1:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    states, losses = [], []
    for count in (1, 2):
        folder = tmp_path / str(count)
        arguments: tuple[Any, ...] = (count, _free_port(), str(folder), str(tmp_path / "scenes"))
        torch.multiprocessing.spawn(_train, arguments, nprocs=count)
        from edgeyolo.models import weights

        states.append(weights.load(folder / "last.safetensors").network.state_dict())
        losses.append([row["loss"] for row in torch.load(folder / "history.pt")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-4, msg=key)


def test_batch_must_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="expected a multiple of the 3 processes"):
        join_processes("cpu", 16)
