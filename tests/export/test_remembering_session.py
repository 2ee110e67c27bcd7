"""The first input of a session is run once, every other as often as it is asked for."""

from __future__ import annotations

import numpy as np

from edgeyolo.export.remembering_session import RememberingSession


class Counting:
    """Gives the sum of its input."""

    def __init__(self) -> None:
        self.runs, self.closed = 0, False

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        self.runs += 1
        return {"sum": np.asarray([batch.sum()], np.float32)}

    def close(self) -> None:
        self.closed = True


def test_only_the_first_input_is_remembered() -> None:
    inner = Counting()
    session = RememberingSession(inner)
    first, other = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)
    assert [session.run(each)["sum"][0] for each in (first, other, first, other)] == [2, 0, 2, 0]
    assert inner.runs == 3
    session.close()
    assert inner.closed


def test_neither_the_input_nor_the_outputs_are_shared_with_the_caller() -> None:
    session = RememberingSession(Counting())
    batch = np.ones((1, 2), np.float32)
    session.run(batch)["sum"][:] = 7
    batch[:] = 3
    assert session.run(batch)["sum"] == 6
    assert session.run(np.ones((1, 2), np.float32))["sum"] == 2


def test_equal_numbers_of_another_type_or_shape_are_another_input() -> None:
    inner = Counting()
    session = RememberingSession(inner)
    for batch in (np.ones((1, 2), np.float32), np.ones((1, 2), np.uint8), np.ones((2, 1), np.float32)):
        session.run(batch)
    assert inner.runs == 3
