"""A damaged state of a run is refused with a sentence, whatever in it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from edgeyolo.errors import DamagedFileError  # noqa: E402
from edgeyolo.training.config import TrainConfig, settings_of  # noqa: E402
from edgeyolo.training.loop.state import Parts, Position, read_facts, restore_state, save_state  # noqa: E402
from edgeyolo.training.recipe import TINY  # noqa: E402

FACTS = {"config": TrainConfig().to_dict(), "recipe": TINY.to_dict(), "network": {}, "class_names": ["a"]}


def make_parts() -> Parts:
    network = nn.Linear(3, 2)
    network(torch.ones(1, 3)).sum().backward()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    return Parts(
        network, nn.Linear(3, 2), optimizer, nn.Linear(1, 1), torch.amp.GradScaler("cpu", enabled=False)
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    save_state(path, make_parts(), Position(epoch=2, history=[{"epoch": 0}, {"epoch": 1}]), FACTS)
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the text parts of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def test_a_whole_state_comes_back(state: Path) -> None:
    assert read_facts(state) == FACTS
    assert restore_state(state, make_parts()).epoch == 2


TEXTS = [
    "",
    "null",
    "[]",
    "3",
    "[" * 100_000,
    "{}",
    '{"config": 1, "recipe": {}, "network": {}, "class_names": []}',
]


@pytest.mark.parametrize("text", [*TEXTS, None], ids=lambda text: str(text)[:20])
def test_damaged_facts(state: Path, text: str | None) -> None:
    edit(state, lambda parts: parts.pop("facts") if text is None else parts.update(facts=text))
    with pytest.raises(DamagedFileError) as error:
        read_facts(state)
    assert str(state) in error.value.message


def position(**changes: Any) -> str:
    return json.dumps({**asdict(Position()), **changes})


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS, None, position(epoch="2"), position(epoch=-1), position(sums=[1.0]), position(sums=["a"] * 4),
        position(history=[3]), position(history=[{}]), position(more=1), position(ap=["a"]), position(seconds=True),
    ],
    ids=lambda text: str(text)[:60],
)  # fmt: skip
def test_a_damaged_position(state: Path, text: str | None) -> None:
    edit(state, lambda parts: parts.pop("position") if text is None else parts.update(position=text))
    with pytest.raises(DamagedFileError):
        restore_state(state, make_parts())


@pytest.mark.parametrize("text", ["", "[]", None])
def test_a_damaged_scaler(state: Path, text: str | None) -> None:
    edit(state, lambda parts: parts.pop("scaler") if text is None else parts.update(scaler=text))
    with pytest.raises(DamagedFileError):
        restore_state(state, make_parts())


@pytest.mark.parametrize(
    "facts",
    [
        {**FACTS, "config": {"nosuch": 1}},
        {**FACTS, "recipe": {"nosuch": 1}},
        {**FACTS, "config": {"freeze": 3}},
    ],
)
def test_settings_of_no_run(facts: dict[str, Any]) -> None:
    with pytest.raises(DamagedFileError):
        settings_of(facts)
