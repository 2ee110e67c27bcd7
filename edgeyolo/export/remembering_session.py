"""Session with a memory of its first input."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.backend.interface import Session


class RememberingSession:
    """Session that keeps the outputs of its first input.

    The same input is then not run again.

    The picture of the golden vectors is the first of those that an export is compared on, unless others were given.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._lock = session, Lock()
        self._first: tuple[NDArray[Any], dict[str, NDArray[np.float32]]] | None = None

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Outputs of an input array of the contract, by name."""
        with self._lock:
            if self._first is None:
                self._first = batch.copy(), self._session.run(batch)
            given, outputs = self._first
        if given.dtype == batch.dtype and np.array_equal(given, batch):
            return {name: each.copy() for name, each in outputs.items()}
        return self._session.run(batch)

    def close(self) -> None:
        """Release the runtime's memory."""
        self._session.close()
