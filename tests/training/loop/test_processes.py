"""Two processes on a CPU come to the weights of one."""

from __future__ import annotations

import random
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from edgeyolo.datasets.scenes import CLASS_NAMES  # noqa: E402
from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.training.loop.processes import join_processes  # noqa: E402

HERE = Path(__file__).parent


def _free_port() -> int:
    """A port that nobody uses, below those that systems give to whoever asks for any: none is given away meanwhile."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("100 ports are in use")


def _train(rank: int, count: int, port: int, folder: str, scenes: str) -> None:
    """One of `count` processes; what torchrun does is done by the environment here."""
    import os

    sys.path.insert(0, str(HERE))
    import test_trainer

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    processes = join_processes("cpu", 4)
    assert processes.least(7 + rank) == 7
    # SimOTA chooses, and a choice turns rounding into another positive; taking every candidate does not.
    recipe = replace(test_trainer.RECIPE, strategy="simple", warmup_iterations=0)
    data = test_trainer.write_scenes(Path(scenes), 8)
    # Two steps: each multiplies the rounding by some ten to forty, which parts 0.0004 after these and 0.014 after four.
    run = test_trainer.trainer(Path(folder), data, processes=processes, recipe=recipe, epochs=1)
    run.run()
    if processes.leads:
        torch.save(run.position.history, Path(folder) / "history.pt")
    if count > 1:
        torch.distributed.barrier()  # the first process keeps the store, and goes last
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    states, losses = [], []
    for count in (1, 2):
        folder = tmp_path / str(count)
        arguments: tuple[Any, ...] = (count, _free_port(), str(folder), str(tmp_path / "scenes"))
        torch.multiprocessing.spawn(_train, arguments, nprocs=count)
        states.append(load_file(folder / "state.safetensors"))
        losses.append([row["loss"] for row in torch.load(folder / "history.pt")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.manual_seed(0)
    sys.path.insert(0, str(HERE))
    import test_trainer

    fresh = build(test_trainer.NANO, len(CLASS_NAMES)).state_dict()
    keys = [key for key, value in fresh.items() if value.is_floating_point()]
    one, two = (torch.cat([state[f"network/{key}"].flatten() for key in keys]) for state in states)
    start = torch.cat([fresh[key].flatten() for key in keys])
    assert (one - two).norm() < 0.01 * (one - start).norm()


def test_batch_must_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="expected a multiple of the 3 processes"):
        join_processes("cpu", 16)
