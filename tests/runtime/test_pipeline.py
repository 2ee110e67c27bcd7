"""The pipeline: batches, padding, threads and stage times, on a session that computes from its input."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import MAX_BATCH, InputContract, RawMaps
from edgeyolo.errors import EdgeYoloError
from edgeyolo.runtime.pipeline import Pipeline, StageTimes
from edgeyolo.runtime.postprocess import PostprocessConfig, postprocess
from edgeyolo.runtime.preprocess import preprocess

OUTPUT = RawMaps(("p3",), (8,), (((16.0, 16.0),),), 2)
NAMES = ("dark", "bright")


@dataclass
class GreySession:
    """Objectness is +6 where the input's 8 x 8 cell is brighter than the padding, -6 elsewhere; maps depend on the
    input alone, so mixing up two images or two threads changes the result."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        with self.lock:
            self.shapes.append(batch.shape)
        n, _, height, width = batch.shape
        mean = batch.mean(axis=1).reshape(n, height // 8, 8, width // 8, 8).mean(axis=(2, 4))
        maps = np.zeros((n, 7, height // 8, width // 8), np.float32)
        maps[:, 2:4] = (mean - 0.5)[:, None]
        maps[:, 4] = np.where(mean > 0.55, 3 + mean, -6)
        maps[:, 6] = 4 * mean
        return {"p3": maps}

    def close(self) -> None:
        self.shapes.clear()


def image(seed: int) -> NDArray[np.uint8]:
    """A dark picture of its own size with some bright squares."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 40, (40 + 3 * seed, 70 - seed, 3), np.uint8)
    for _ in range(4):
        y, x = rng.integers(0, 24, 2)
        picture[y : y + 16, x : x + 16] = rng.integers(170, 255)
    return picture


def pipeline(**contract: Any) -> Pipeline:
    return Pipeline(GreySession(), InputContract(64, 64, **contract), OUTPUT, NAMES)


IMAGES = [image(seed) for seed in range(7)]
ALONE = [pipeline()([each])[0] for each in IMAGES]


def test_the_images_differ() -> None:
    assert all(len(each) for each in ALONE)
    assert len({each.xyxy.tobytes() for each in ALONE}) == len(ALONE)
    assert [each.image_size for each in ALONE] == [each.shape[:2] for each in IMAGES]


def test_it_is_its_three_stages() -> None:
    whole = pipeline()
    batch, boxes = whole.preprocess(IMAGES[:1])
    assert np.array_equal(batch, preprocess(IMAGES[:1], whole.input)[0])
    maps = whole.infer(batch)
    assert whole.postprocess(maps, boxes) == ALONE[:1]
    (raw,) = postprocess(maps, OUTPUT, boxes)
    assert np.array_equal(raw.xyxy, ALONE[0].xyxy)


@pytest.mark.parametrize(
    ("contract", "rows"),
    [
        ({"batch": 1}, [1] * 7),
        ({"batch": 3}, [3, 3, 3]),  # the last batch holds one image and two rows of padding
        ({"batch": 8}, [8]),
        ({"dynamic_batch": True}, [7]),
    ],
)
def test_any_number_of_images_in_batches_of_the_artifact(contract: dict[str, Any], rows: list[int]) -> None:
    whole = pipeline(**contract)
    assert whole(IMAGES) == ALONE
    assert isinstance(whole.session, GreySession)
    assert [shape[0] for shape in whole.session.shapes] == rows
    assert whole([]) == []


def test_a_dynamic_batch_has_an_upper_end() -> None:
    whole = pipeline(dynamic_batch=True)
    found = whole(IMAGES[:2] * MAX_BATCH)
    assert found == ALONE[:2] * MAX_BATCH
    assert [shape[0] for shape in whole.session.shapes] == [MAX_BATCH, MAX_BATCH]


def test_eight_threads_give_the_results_of_one() -> None:
    whole = pipeline(batch=2)

    def work(index: int) -> bool:
        start = index % len(IMAGES)
        turned, expected = IMAGES[start:] + IMAGES[:start], ALONE[start:] + ALONE[:start]
        return all(whole(turned) == expected for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_other_thresholds_on_the_same_session() -> None:
    whole = pipeline()
    conf = float(np.median(ALONE[0].confidence))
    strict = whole.with_config(PostprocessConfig(conf=conf))
    assert strict.session is whole.session
    (few,) = strict(IMAGES[:1])
    assert 0 < len(few) < len(ALONE[0])
    assert few == ALONE[0][ALONE[0].confidence > conf]
    assert whole(IMAGES[:1]) == ALONE[:1]


def test_stage_times() -> None:
    found, times = pipeline().timed(IMAGES)
    assert found == ALONE
    assert min(times.preprocess, times.inference, times.postprocess) > 0
    assert times.total == pytest.approx(times.preprocess + times.inference + times.postprocess)
    assert StageTimes(1, 2, 3) + StageTimes(4, 5, 6) == StageTimes(5, 7, 9)


def test_a_session_that_breaks_its_contract_is_found_out() -> None:
    class Wrong(GreySession):
        def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
            return {"p3": super().run(batch)["p3"][:, :, :4]}

    whole = Pipeline(Wrong(), InputContract(64, 64), OUTPUT, NAMES)
    with pytest.raises(EdgeYoloError, match=r"'p3': expected the shape \(1, 7, 8, 8\)"):
        whole(IMAGES[:1])


def test_submitted_images_give_what_called_ones_give() -> None:
    """On a session that knows no other way the future is ready; what fails in it is the future's to raise."""
    whole = pipeline()
    futures = [whole.submit([image(seed)]) for seed in range(3)]
    assert all(future.done() for future in futures)
    for seed, future in enumerate(futures):
        (expected,), (found,) = whole([image(seed)]), future.result()
        assert len(expected) > 0
        assert np.array_equal(found.xyxy, expected.xyxy)

    class Failing(GreySession):
        def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
            raise EdgeYoloError("the device is gone")

    failing = Pipeline(Failing(), InputContract(64, 64), OUTPUT, NAMES).submit([image(0)])
    with pytest.raises(EdgeYoloError, match="the device is gone"):
        failing.result()
