"""Decoding ahead: in order, bounded, and stopped when nobody listens any more."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from edgeyolo.evaluation import feed
from edgeyolo.evaluation.feed import decode_ahead
from edgeyolo.evaluation.rectangular import square_batches


@pytest.fixture
def paths(tmp_path):
    found = [tmp_path / f"{i}.png" for i in range(40)]
    for i, path in enumerate(found):
        Image.new("RGB", (8, 6), (i, 0, 0)).save(path)
    return found


def decoders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_in_order_with_pixels_and_times(paths):
    seen = []
    for batch, images in decode_ahead(paths, square_batches(40, 3, (8, 8))):
        assert len(images) == len(batch.images)
        for i, image in zip(batch.images, images, strict=True):
            np.testing.assert_array_equal(image.pixels, np.full((6, 8, 3), (0, 0, i)))
            assert image.milliseconds > 0
            seen.append(i)
    assert seen == list(range(40))
    assert not decoders()


def test_a_damaged_image_is_reported_in_its_place(paths):
    paths[1].write_bytes(b"no image")
    (_, images), *_ = decode_ahead(paths, square_batches(40, 3, (8, 8)))
    assert [image.pixels is None for image in images] == [False, True, False]
    assert "1.png" in images[1].error


def test_no_more_than_three_batches_are_in_memory(paths, monkeypatch):
    decoded = []
    real = feed.read_image
    monkeypatch.setattr(feed, "read_image", lambda path: decoded.append(path) or real(path))
    stream = decode_ahead(paths, square_batches(40, 4, (8, 8)))
    for taken in range(1, 4):
        next(stream)
        time.sleep(0.05)  # long enough to decode everything, were it not held back
        assert len(decoded) <= (taken + 2) * 4
    stream.close()


def test_stopping_early_leaves_no_thread(paths):
    stream = decode_ahead(paths, square_batches(40, 4, (8, 8)))
    next(stream)
    assert decoders()
    stream.close()
    assert not decoders()
