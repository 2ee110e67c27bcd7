"""Moving average, schedules over a run, and parameter groups of the optimiser."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.network import Network  # noqa: E402
from edgeyolo.training.loop.ema import Ema  # noqa: E402
from edgeyolo.training.loop.optimizer import freeze, hold_frozen_norms, make_optimizer, set_rates  # noqa: E402
from edgeyolo.training.loop.schedule import Schedule  # noqa: E402
from edgeyolo.training.recipe import P5, TINY  # noqa: E402


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("yolov7-tiny", 2)


def test_ema_follows_all_floating_state(network: Network) -> None:
    ema = Ema(network, decay=0.9, warmup=2.0)
    before = {name: value.clone() for name, value in ema.network.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(1)
    ema.update(network)
    d = 0.9 * (1 - math.exp(-1 / 2))
    for name, value in ema.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, before[name] + (1 - d))
    assert ema.updates == 1
    assert not ema.network.training
    assert not any(value.requires_grad for value in ema.network.parameters())


def test_schedule_warms_up_and_follows_the_cosine() -> None:
    schedule = Schedule(replace(P5, warmup_iterations=100), epochs=100, batches=50, batch_size=16)
    assert schedule.warmup == 150
    assert (schedule.accumulate, schedule.steps) == (4, 100 * 50 // 4)
    assert schedule.weight_decay == P5.weight_decay
    start, middle, end = schedule.at(0), schedule.at(75), schedule.at(150)
    assert (start.lr, start.bias_lr, start.momentum, start.accumulate) == (0, 0.1, 0.8, 1)
    assert middle.lr == pytest.approx(0.01 / 2, rel=0.01)
    assert middle.momentum == pytest.approx((0.8 + 0.937) / 2)
    assert middle.accumulate == 2
    assert end.lr == end.bias_lr
    assert end.lr == pytest.approx(0.01, rel=0.01)
    assert end.accumulate == 4
    halfway = schedule.at(50 * 50)
    assert halfway.lr == pytest.approx(0.01 * (0.5 * 0.9 + 0.1))
    assert schedule.at(99 * 50).lr == pytest.approx(0.001, rel=0.01)


def test_warmup_leaves_half_of_a_short_run() -> None:
    assert Schedule(P5, epochs=10, batches=5, batch_size=16).warmup == 25
    assert Schedule(P5, epochs=300, batches=7393, batch_size=16).warmup == 3 * 7393
    assert Schedule(P5, epochs=300, batches=100, batch_size=16).warmup == 1000


def test_weight_decay_of_batches_that_do_not_divide() -> None:
    schedule = Schedule(P5, epochs=1, batches=1, batch_size=48)
    assert schedule.accumulate == 1
    assert schedule.weight_decay == pytest.approx(P5.weight_decay * 48 / 64)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_groups(network: Network, name: str) -> None:
    schedule = Schedule(replace(TINY, optimizer=name), 10, 10, 64)
    optimizer = make_optimizer(network, schedule)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert sum(len(group["params"]) for group in groups.values()) == len(list(network.parameters()))
    assert all(value.ndim == 4 and value.shape[0] > 1 for value in groups["decayed"]["params"])
    assert [group["weight_decay"] for group in groups.values()] == [0, schedule.weight_decay, 0]
    shapes = [tuple(value.shape) for value in groups["plain"]["params"]]
    assert (1, 128, 1, 1) in shapes  # an implicit vector
    set_rates(optimizer, schedule.at(0))
    assert (groups["bias"]["lr"], groups["decayed"]["lr"]) == (0.1, 0)
    momentum = groups["plain"]["momentum"] if name == "sgd" else groups["plain"]["betas"][0]
    assert momentum == 0.8


def test_freeze(network: Network) -> None:
    freeze(network, ["stem", "backbone"])
    network.train()
    hold_frozen_norms(network)
    assert not any(value.requires_grad for value in network.backbone.parameters())
    assert all(value.requires_grad for value in network.outputs.parameters())
    assert not network.stem[0].branch.norm.training
    assert network.lead[0].branch.norm.training
    count = sum(value.requires_grad for value in network.parameters())
    optimizer = make_optimizer(network, Schedule(TINY, 1, 1, 1))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == count
    with pytest.raises(UsageError, match="no module begins with that"):
        freeze(network, ["back"])
    freeze(network, [name for name, child in network.named_children() if list(child.parameters())])
    with pytest.raises(UsageError, match="every parameter is frozen"):
        make_optimizer(network, Schedule(TINY, 1, 1, 1))
