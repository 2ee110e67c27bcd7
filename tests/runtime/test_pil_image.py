"""Images that are converted strip by strip, and the memory that decoding takes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeyolo.errors import ImageError, UsageError
from edgeyolo.runtime import pil_image
from edgeyolo.runtime.encoded_image import MAX_PIXELS, decode_image, pixel_limit
from edgeyolo.runtime.images import read_image

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16"]


def noise(mode: str) -> Image.Image:
    rng = np.random.default_rng(3)
    if mode in ("I", "I;16"):
        wide = rng.integers(0, 65536, (53, 37)).astype(np.int32 if mode == "I" else np.uint16)
        return Image.fromarray(wide)
    return Image.fromarray(rng.integers(0, 256, (53, 37, 3)).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_strips_give_what_the_whole_gives(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(mode)
    scale = 1 / 257 if mode == "I" else None
    whole = read_image(image, scale=scale)
    monkeypatch.setattr(pil_image, "STRIP", 37 * 4)
    np.testing.assert_array_equal(read_image(image, scale=scale), whole)
    if not mode.startswith("I"):
        np.testing.assert_array_equal(
            whole, cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
        )


def test_the_range_is_that_of_the_image_not_of_a_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first strip alone would pass for values of 8 bits."""
    values = np.full((40, 10), 200, np.uint16)
    values[-1, -1] = 40_000
    monkeypatch.setattr(pil_image, "STRIP", 100)
    assert read_image(Image.fromarray(values)).max() == 40_000 >> 8
    with pytest.raises(ImageError, match="none is above 200"):
        read_image(Image.fromarray(values[:-1]))


def webp(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_still_webp_has_the_pixels_that_pillow_reads(mode: str) -> None:
    data = webp(noise(mode), lossless=True)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))[:, :, ::-1]
    np.testing.assert_array_equal(decode_image(data), expected)


def test_of_an_animated_webp_the_first_picture_is_taken() -> None:
    first, second = noise("RGB"), Image.new("RGB", (37, 53), (9, 9, 9))
    data = webp(first, save_all=True, append_images=[second], lossless=True, duration=100)
    np.testing.assert_array_equal(decode_image(data)[:, :, ::-1], np.asarray(first))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_half_a_webp_is_an_error(part: float) -> None:
    data = webp(noise("RGB"), quality=90)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * part)])


def test_the_limit_can_be_moved_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    noise("RGB").save(stream, "PNG")
    assert pixel_limit(None) == MAX_PIXELS
    monkeypatch.setenv("EDGEYOLO_MAX_PIXELS", "1000")
    with pytest.raises(
        ImageError, match=r"37 x 53 = 1,961 pixels, the limit is 1,000\n.*EDGEYOLO_MAX_PIXELS"
    ):
        decode_image(stream.getvalue())
    assert decode_image(stream.getvalue(), max_pixels=2000).shape == (53, 37, 3)
    monkeypatch.setenv("EDGEYOLO_MAX_PIXELS", "many")
    with pytest.raises(UsageError, match="expected a whole number"):
        decode_image(stream.getvalue())


PEAK = """
import sys
from edgeyolo.runtime.images import read_image
def peak():
    return 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
read_image(sys.argv[1])
before = peak()
pixels = read_image(sys.argv[2])
print((peak() - before) / (pixels.size / 3))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    "kind", ["PNG RGB", "PNG RGBA", "PNG L", "PNG P", "PNG I;16", "WEBP RGB", "JPEG RGB"]
)
def test_decoding_takes_seven_bytes_a_pixel(kind: str, tmp_path: Path) -> None:
    """So that the largest image that is read by default stays under a gigabyte."""
    suffix, mode = kind.split()
    small, large = (tmp_path / f"{name}.{suffix.lower()}" for name in ("small", "large"))
    noise("RGB").save(small)
    Image.new(mode, (5000, 4000)).save(large)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, small, large], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 8
    assert 8 * MAX_PIXELS < 1e9
