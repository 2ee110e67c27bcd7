"""A Detector and several processes: forked with it, or given it pickled."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.backend import registry
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import UsageError

forks = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin", reason="no fork here"
)
IMAGE = make_scene(0).image


def in_a_fork(work: Callable[[], Any]) -> Any:
    """Run `work` in a child that does not `exec`; return its result or error. A hang ends after a minute."""
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()

    def child() -> None:
        try:
            answers.put(work())
        except Exception as error:  # noqa: BLE001 - it is the parent's to see
            answers.put(error)

    process = context.Process(target=child)
    process.start()
    try:
        return answers.get(timeout=60)
    except queue.Empty:
        process.kill()
        raise AssertionError("the child hangs") from None
    finally:
        process.join(10)


@forks
@pytest.mark.parametrize("threads", [None, 2])
@pytest.mark.parametrize("target", ["cpu-onnx-fp32", "cpu-openvino-fp32", "cpu-torch-fp32"])
def test_a_fork_detects_what_its_parent_does(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, threads: int | None
) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path))
    if not registry.find_target(target)[1].can_run().ok:
        pytest.skip("the runtime is not installed")
    detector = Detector(small_weights, target=target, threads=threads, size=96, conf=0.01)
    here = detector(IMAGE)
    there = in_a_fork(lambda: [detector(IMAGE).xyxy, detector(IMAGE).class_id])
    assert not isinstance(there, Exception), there
    assert np.allclose(there[0], here.xyxy, atol=1e-2)
    assert np.array_equal(there[1], here.class_id)
    assert len(detector(IMAGE)) == len(here)  # the parent's session is as it was
    detector.close()


@forks
def test_a_pipeline_that_was_kept_says_so(small_artifact: Path) -> None:
    with Detector(small_artifact) as detector:
        kept = detector.pipeline
        told = in_a_fork(lambda: kept([IMAGE]))
    assert isinstance(told, UsageError)
    assert "a fork of it" in told.message


@forks
def test_a_runtime_that_cannot_live_in_a_fork_says_so(
    small_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Detector(small_artifact) as detector:
        backend = registry.backend_of(detector.artifact)
        monkeypatch.setattr(backend, "unforkable", "its GPU would not have it", raising=False)
        told = in_a_fork(lambda: detector(IMAGE))
        assert len(detector(IMAGE)) >= 0  # the parent may
    assert isinstance(told, UsageError)
    assert "its GPU would not have it" in told.message
    assert "after the fork" in told.hint


@forks
def test_closing_in_a_fork_leaves_the_parent_s_session(small_artifact: Path) -> None:
    with Detector(small_artifact) as detector:
        assert in_a_fork(detector.close) is None
        detector(IMAGE)


def test_pickled_it_is_opened_again(small_artifact: Path) -> None:
    with Detector(small_artifact, conf=0.01, classes=["dog"], max_det=7) as detector:
        expected = detector(IMAGE)
        with pickle.loads(pickle.dumps(detector)) as other:
            assert other is not detector
            assert other.pipeline.config == detector.pipeline.config
            assert other(IMAGE) == expected


def test_a_closed_one_is_not_pickled(small_artifact: Path) -> None:
    detector = Detector(small_artifact)
    detector.close()
    with pytest.raises(UsageError, match="closed"):
        pickle.dumps(detector)
