"""Sessions of ONNX Runtime by what they are made for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.interface import Hint
from edgeyolo_onnxruntime import OnnxruntimeBackend, throughput
from edgeyolo_onnxruntime.session import OnnxruntimeSession

SPINNING = "session.intra_op.allow_spinning"


@pytest.mark.parametrize(
    ("hint", "spins", "threads"), [("latency", True, 9), ("shared", False, 9), ("throughput", False, 2)]
)
def test_threads_and_how_they_wait(small_artifact: Path, hint: Hint, spins: bool, threads: int) -> None:
    artifact = Artifact.open(small_artifact)
    with closing(OnnxruntimeBackend().tuned(hint).open(artifact, threads=9)) as session:
        assert isinstance(session, OnnxruntimeSession) and session._session is not None
        options = session._session.get_session_options()
        assert options.intra_op_num_threads == threads
        if spins:  # what was not set cannot be asked for
            with pytest.raises(RuntimeError):
                options.get_session_config_entry(SPINNING)
        else:
            assert options.get_session_config_entry(SPINNING) == "0"


def test_the_buffer_may_be_refilled_after_submitting(small_artifact: Path) -> None:
    artifact = Artifact.open(small_artifact)
    batch = np.random.default_rng(0).random(artifact.manifest.input.shape(), np.float32)
    with closing(OnnxruntimeBackend().tuned("throughput").open(artifact, threads=2)) as session:
        expected = session.run(batch)
        futures = []
        for _ in range(8):  # more than are in flight: it waits for a free thread
            buffer = batch.copy()
            futures.append(session.submit(buffer))  # type: ignore[attr-defined]
            buffer[:] = 0
        for future in futures:
            assert all(np.array_equal(values, expected[name]) for name, values in future.result(20).items())


@pytest.mark.parametrize(
    ("threads", "free", "count"),
    [(4, 64 << 30, 4), (16, 64 << 30, 8), (4, 4 << 30, 4), (8, 4 << 30, 5), (8, 1 << 20, 1), (16, None, 8)],
)
def test_batches_at_once_fit_into_memory(
    threads: int, free: int | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "available_memory", lambda: free)
    assert throughput.batches_at_once(threads, InputContract(640, 640)) == count
