"""The batch size of `--batch auto`: from memory that is made up, with real steps, and from this machine's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.datasets import Dataset, load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.errors import EdgeYoloError, UsageError  # noqa: E402
from edgeyolo.models import specs  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.network import Network  # noqa: E402
from edgeyolo.models.scaling import scale_width  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.loop.batch_size import HostMemory, Need, memory_of, round_batch, settle_batch  # noqa: E402
from edgeyolo.training.loop.processes import Processes  # noqa: E402
from edgeyolo.training.loop.step import Stepper  # noqa: E402
from edgeyolo.training.recipe import TINY  # noqa: E402

MB = 10**6
AUTO = TrainConfig(epochs=1, batch_size=0, image_size=64)


class FakeMemory:
    """Memory in which a picture takes `each` MB, as seen in the steps that are really made."""

    def __init__(self, patch: pytest.MonkeyPatch, *, free: float, fixed: float, each: float) -> None:
        self._free, self._fixed, self._each = free, fixed, each
        self.seen: list[int] = []
        call = Stepper.__call__

        def step(stepper: Stepper, batch: Any, position: Any) -> Any:
            self.seen.append(len(batch.images))
            if self._needed() > self._free:
                raise torch.OutOfMemoryError("CUDA out of memory")
            updates = stepper.ema.updates
            items = call(stepper, batch, position)
            assert stepper.ema.updates == updates + 1  # the optimiser made a step
            return items

        patch.setattr(Stepper, "__call__", step)

    def _needed(self) -> float:
        return self._fixed + self._each * self.seen[-1]

    def free(self) -> int:
        return int(self._free * MB)

    def peak(self, work: Callable[[], object]) -> int:
        level, made = 700 * MB, len(self.seen)  # what is in use anyway
        work()
        return level if len(self.seen) == made else level + int(self._needed() * MB)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(write_dataset(tmp_path_factory.mktemp("scenes"), range(5), (96, 96)))


@pytest.fixture
def network(data: Dataset) -> Network:
    return build(scale_width(specs.get("yolov7-tiny"), 1 / 16), len(data.class_names))


def many(data: Dataset, count: int = 1000) -> Dataset:
    return replace(data, images=(data.images * count)[:count])


MADE_UP = {  # free, fixed and for a picture, MB
    "24 by memory": (400, 50, 10),  # (0.8 * 400 - 50) / 10 = 27
    "4 by memory": (400, 50, 38),  # 7.1
    "1 by memory": (100, 10, 60),
    "64 by the recipe's nominal batch": (9000, 50, 10),
}


@pytest.mark.parametrize("case", MADE_UP)
def test_memory_decides_up_to_the_nominal_batch(
    data: Dataset, network: Network, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    free, fixed, each = MADE_UP[case]
    chosen, why = case.split(" ", maxsplit=1)
    memory, said = FakeMemory(monkeypatch, free=free, fixed=fixed, each=each), list[str]()
    config = settle_batch(network, many(data), TINY, AUTO, Processes(), tell=said.append, memory=memory)
    assert config == replace(AUTO, batch_size=int(chosen))
    assert set(memory.seen) <= {1, 2, 4}
    assert len(said) == 1 and said[0].startswith(f"batch {chosen}: a step takes ")
    assert said[0].endswith(f"limited {why}")
    if each < 60:  # of which two fit, so that there is a line
        waiting = 4e-6 * sum(value.numel() for value in network.parameters())
        needed = (waiting + fixed + int(chosen) * each) / 1000
        assert f"{needed:.2f} GB of the {free / 1000:.2f} GB" in said[0]


def test_the_number_of_pictures_is_a_limit_too(
    data: Dataset, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, said = FakeMemory(monkeypatch, free=9000, fixed=1, each=1), list[str]()
    config = settle_batch(network, data, TINY, AUTO, Processes(), tell=said.append, memory=memory)
    assert config.batch_size == 4 and "the number of pictures" in said[0]


def test_a_picture_that_does_not_fit(
    data: Dataset, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = FakeMemory(monkeypatch, free=100, fixed=83, each=4)
    with pytest.raises(EdgeYoloError, match=r"one picture of 64 pixels takes 8\d MB, more than 80%"):
        settle_batch(network, data, TINY, AUTO, Processes(), tell=print, memory=memory)
    memory = FakeMemory(monkeypatch, free=100, fixed=70, each=40)
    with pytest.raises(EdgeYoloError, match="out of memory with batch 1"):
        settle_batch(network, data, TINY, AUTO, Processes(), tell=print, memory=memory)


def test_a_batch_that_failed_when_measured_is_not_taken(
    data: Dataset, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pictures would fit, of which the line through the measured ones does not tell."""
    memory, said = FakeMemory(monkeypatch, free=350, fixed=1, each=100), list[str]()
    config = settle_batch(network, many(data), TINY, AUTO, Processes(), tell=said.append, memory=memory)
    assert config.batch_size == 2


def test_sizes_that_change_are_measured_at_the_largest(
    data: Dataset, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []
    call = Stepper.__call__

    def step(stepper: Stepper, batch: Any, position: Any) -> Any:
        sides.append(batch.images.shape[-1])
        return call(stepper, batch, position)

    monkeypatch.setattr(Stepper, "__call__", step)
    config = replace(AUTO, multi_scale=True)
    settle_batch(network, data, TINY, config, Processes(), tell=print, memory=HostMemory())
    assert set(sides) == {96}


def test_measuring_changes_neither_the_network_nor_chance(data: Dataset, network: Network) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    settle_batch(network, data, TINY, AUTO, Processes(), tell=print)
    assert torch.equal(torch.rand(3), expected)
    after = network.state_dict()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
    assert all(value.grad is None for value in network.parameters())


def test_a_number_stays_as_it_is(data: Dataset, network: Network) -> None:
    config = replace(AUTO, batch_size=7)
    assert settle_batch(network, data, TINY, config, Processes(), tell=pytest.fail) is config


def test_a_device_that_does_not_tell() -> None:
    with pytest.raises(UsageError, match="mps does not tell"):
        memory_of("mps")


def test_processes_share_the_memory_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeyolo.training.loop.batch_size.available_memory", lambda: 900)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert HostMemory().free() == 300


def test_the_line_and_the_rounding() -> None:
    need = Need.fit(100, {2: 160, 4: 200}, free=1000, least=1)
    assert (need.fixed, need.each, need.most) == (20, 20, 39)
    assert Need.fit(100, {2: 160, 4: 160}, free=1000, least=5).each == 5  # noise must not make room for ever
    assert [round_batch(most) for most in (1, 2, 3, 7, 8, 15, 16, 63)] == [1, 2, 2, 4, 8, 8, 16, 56]


@pytest.mark.slow
def test_the_choice_is_kept_by_the_run(data: Dataset, tmp_path: Path) -> None:
    from edgeyolo.training.loop.state import read_facts
    from edgeyolo.training.loop.trainer import STATE
    from edgeyolo.training.run import resume, train

    weights_of(tmp_path / "w.safetensors", data)
    train(tmp_path / "w.safetensors", data, None, tmp_path / "run", config=AUTO)
    assert read_facts(tmp_path / "run" / STATE)["config"]["batch_size"] == 4
    resume(tmp_path / "run", data, None, epochs=2)
    assert read_facts(tmp_path / "run" / STATE)["config"]["batch_size"] == 4


def weights_of(file: Path, data: Dataset) -> None:
    from edgeyolo.models import weights

    network = build(scale_width(specs.get("yolov7-tiny"), 1 / 16), len(data.class_names))
    weights.save(file, network, data.class_names, {})
