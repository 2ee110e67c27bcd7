"""A compiled forward trains the same network, and one that cannot be compiled runs as it is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.data.batches import Batch  # noqa: E402
from edgeyolo.training.loop.compiled import CompiledForward  # noqa: E402
from edgeyolo.training.loop.processes import Processes  # noqa: E402
from edgeyolo.training.loop.schedule import Schedule  # noqa: E402
from edgeyolo.training.loop.state import Position  # noqa: E402
from edgeyolo.training.loop.step import Stepper  # noqa: E402
from edgeyolo.training.recipe import SHORT  # noqa: E402


def layers() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.SiLU())


def refuse(graph: Any, given: Any) -> Any:
    raise RuntimeError("no C++ compiler")


def test_it_computes_and_learns_what_the_network_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # no compiler needed
    plain, network, images = layers(), layers(), torch.rand(2, 3, 16, 16)
    forward = CompiledForward(network, pytest.fail)
    for each in (plain, forward):
        each(images).sum().backward()
        each(images).sum().backward()
    assert all(
        torch.allclose(a.grad, b.grad) for a, b in zip(plain.parameters(), network.parameters(), strict=True)
    )
    assert torch.equal(plain[1].running_mean, network[1].running_mean)


def test_where_nothing_can_be_compiled_the_network_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=refuse))
    told: list[str] = []
    network, images = layers(), torch.rand(2, 3, 16, 16)
    forward = CompiledForward(network, told.append)
    assert torch.equal(forward(images), layers()(images))
    forward(images)
    assert len(told) == 1
    assert "no C++ compiler" in told[0]


def test_other_errors_are_not_the_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(images: Any) -> Any:
        raise torch.OutOfMemoryError("the memory is full")

    monkeypatch.setattr(torch, "compile", lambda network, **given: full)
    with pytest.raises(torch.OutOfMemoryError):
        CompiledForward(layers(), pytest.fail)(torch.rand(1, 3, 16, 16))


def test_a_step_goes_through_it_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def count(network: Any, **given: Any) -> Any:
        return lambda images: calls.append(images) or network(images)

    monkeypatch.setattr(torch, "compile", count)
    torch.set_num_threads(1)
    recipe, schedule = replace(SHORT, nominal_batch=2), Schedule(SHORT, 1, 2, 2)
    batch = Batch(
        torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.4]]), (0, 1)
    )
    config = TrainConfig(epochs=1, batch_size=2, image_size=64)
    for asked in (False, True):
        stepper = Stepper(
            build("yolov7-tiny", 3), recipe, replace(config, compile=asked), schedule, Processes()
        )
        stepper.train_mode(64)
        stepper(batch, Position())
        assert len(calls) == asked
