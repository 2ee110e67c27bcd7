"""Every kind of image in one form, and every kind of damage an error."""

from __future__ import annotations

import importlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeyolo.datasets.image_size import read_image_size
from edgeyolo.errors import ImageError, UsageError
from edgeyolo.runtime.encoded_image import MAX_PIXELS
from edgeyolo.runtime.images import find_images, list_images, read_image

ODD = {
    "dispose_bgnd_rgba.gif": (100, 100),
    "exif.png": (512, 512),
    "g4_orientation_6.tif": (88, 590),
    "hopper.webp": (128, 128),
    "hopper_16bit.pgm": (128, 128),
    "hopper_bad_exif.jpg": (500, 500),
    "hopper_gray.jpg": (128, 128),
    "hopper_orientation_6.jpg": (128, 128),
    "mode_16bit.png": (64, 128),
    "palette_wedge.png": (128, 128),
    "pil123rgba.png": (150, 162),
    "pil_sample_cmyk.jpg": (100, 100),
    "tiff_16bit_RGB.tiff": (40, 100),
    "transparent.webp": (150, 200),
}


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """(90, 120, 3) BGR uint8: smooth, so that JPEG keeps it; no two corners alike."""
    small = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(cv2.resize(small, (120, 90), interpolation=cv2.INTER_CUBIC), np.uint8)


def pil(picture: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# --- sources ---


def test_the_same_picture_from_every_source(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    data = encoded(pil(picture), "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    sources = (
        path,
        str(path),
        data,
        bytearray(data),
        memoryview(data),
        pil(picture),
        picture,
        Image.open(path),
    )
    for source in sources:
        assert np.array_equal(read_image(source), picture), type(source)
        assert read_image(source).dtype == np.uint8
        assert read_image(source).flags.c_contiguous


def test_jpeg_pixels_are_those_of_opencv(shared: Path) -> None:
    paths = sorted((shared / "data/bccd/JPEGImages").glob("*.jpg"))[:4]
    for path in [*paths, shared / "data/images/odd/hopper_orientation_6.jpg"]:
        assert np.array_equal(read_image(path), cv2.imread(str(path))), path.name


def test_jpeg_from_pillow_and_opencv_are_equal_here(shared: Path) -> None:
    """PIL images come from Pillow's decoder, files from OpenCV's; both are libjpeg-turbo, equally set."""
    path = sorted((shared / "data/bccd/JPEGImages").glob("*.jpg"))[0]
    difference = np.abs(read_image(path).astype(int) - read_image(Image.open(path)))
    assert difference.max() <= 2
    assert difference.mean() < 0.05


def test_an_array_that_fits_is_not_copied(picture: NDArray[np.uint8]) -> None:
    assert read_image(picture) is picture


def test_grey_alpha_and_sixteen_bit_arrays(picture: NDArray[np.uint8]) -> None:
    grey = picture[..., 0]
    assert np.array_equal(read_image(grey), np.stack([grey] * 3, axis=2))
    assert np.array_equal(read_image(grey[..., None]), np.stack([grey] * 3, axis=2))
    assert np.array_equal(read_image(np.dstack([picture, grey])), picture)
    assert np.array_equal(read_image(picture.astype(np.uint16) * 257), picture)
    assert np.array_equal(read_image(picture[:, ::-1]), np.ascontiguousarray(picture[:, ::-1]))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"float32.*\n.*255"),
        (np.zeros((8, 8), bool), "bool"),
        (np.full((8, 8), -1, np.int32), "-1"),
        (np.full((8, 8), 70000, np.int32), "to 70000; int32 does not say"),
        (np.zeros((3, 8, 9), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((8, 8, 2), np.uint8), "expected"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"detector\.batch\(array\)"),
        (np.zeros(8, np.uint8), "expected"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
    ],
)
def test_arrays_that_are_no_image(array: NDArray[np.generic], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(array)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (None, "numpy.asarray(image)"),
        (3, "detector.stream(0)"),
        (["a.jpg"], "detector.batch(images)"),
        (io.BytesIO(b"x"), "file.read()"),
        (object(), "numpy.asarray(image)"),
    ],
)
def test_things_that_are_no_image(source: object, hint: str) -> None:
    with pytest.raises(UsageError, match="expected a path, bytes") as refused:
        read_image(source)  # type: ignore[arg-type]
    assert hint in refused.value.hint


def test_the_function_that_a_hint_names_is_there() -> None:
    with pytest.raises(ImageError) as refused:
        read_image(np.zeros((8, 8, 3), np.float32))
    module, name = refused.value.hint.partition("they mean: ")[2].partition("(")[0].rpartition(".")[::2]
    assert getattr(importlib.import_module(module), name) is read_image


# --- orientation ---


def test_all_eight_orientations_give_the_same_upright_picture(shared: Path) -> None:
    folder = shared / "data/images/exif"
    upright = read_image(folder / "Landscape_0.jpg").astype(np.int16)
    assert upright.shape == (1200, 1800, 3)
    for orientation in range(1, 9):
        path = folder / f"Landscape_{orientation}.jpg"
        image = read_image(path)
        assert np.array_equal(image, cv2.imread(str(path)))
        for other in (image, read_image(path.read_bytes()), read_image(Image.open(path))):
            assert other.shape == upright.shape
            assert np.abs(other - upright).mean() < 5, "each file was compressed on its own"
    for wrong in (upright[::-1], upright[:, ::-1]):
        assert np.abs(wrong - upright).mean() > 20, "a wrong orientation would be seen"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_in_every_format(picture: NDArray[np.uint8], orientation: int, kind: str) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored so that a quarter turn clockwise makes it upright
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = pil(picture).transpose(turns[orientation]) if orientation > 1 else pil(picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    image = read_image(encoded(stored, kind, exif=exif, **lossless))
    assert image.shape == picture.shape
    if kind == "JPEG":
        assert np.abs(image.astype(int) - picture).mean() < 3
    else:
        assert np.array_equal(image, picture)


def test_a_pil_image_is_not_changed(shared: Path) -> None:
    image = Image.open(shared / "data/images/odd/hopper_orientation_6.jpg")
    read_image(image)
    assert image.getexif()[0x0112] == 6


# --- kinds ---


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read(shared: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = shared / "data/images/odd" / name
    image = read_image(path)
    assert image.shape == (*ODD[name], 3)
    assert image.dtype == np.uint8
    assert image.std() > 5, "there is a picture"
    theirs = cv2.imread(str(path))
    if theirs is not None and "hopper_16bit" not in name:  # OpenCV clips that one
        assert np.abs(image.astype(int) - theirs).max() <= 2
    assert capfd.readouterr().out == "", "standard output belongs to results"


def test_sixteen_bits_keep_the_high_byte(picture: NDArray[np.uint8]) -> None:
    grey = picture[..., 1]
    wide = (grey.astype(np.uint16) << 8) + 77
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(read_image(encoded(Image.fromarray(wide), kind))[..., 0], grey)
    assert np.array_equal(read_image(Image.fromarray(wide))[..., 2], grey)
    old = Image.fromarray(wide.astype(np.int32))  # as older Pillows open a PNG of 16 bits
    old.format = "PNG"
    assert np.array_equal(read_image(old)[..., 0], grey)


@pytest.mark.parametrize("kind", ["int16", "int32", "int64", "uint32", "uint64"])
def test_integers_in_0_to_255_are_taken_as_they_are_and_others_are_not_guessed(
    picture: NDArray[np.uint8], kind: str
) -> None:
    assert np.array_equal(read_image(picture.astype(kind)), picture)
    with pytest.raises(ImageError, match=rf"from \d+ to 510; {kind} does not say.*\n.*scale="):
        read_image(picture.astype(kind) * 2)
    assert np.array_equal(
        read_image(Image.fromarray(picture[..., 0].astype(np.int32)))[..., 1], picture[..., 0]
    )


def test_sixteen_bits_that_would_all_be_black_are_refused(picture: NDArray[np.uint8]) -> None:
    narrow = picture[..., 0].astype(np.uint16)
    for source in (narrow, Image.fromarray(narrow), encoded(Image.fromarray(narrow), "PNG")):
        with pytest.raises(ImageError, match=r"16 bits, but none is above \d+.*\n.*scale=1\)"):
            read_image(source)
        assert np.array_equal(read_image(source, scale=1)[..., 0], picture[..., 0])
    assert not read_image(np.zeros((8, 8), np.uint16)).any(), "a black picture is one"


@pytest.mark.parametrize(
    ("kind", "most"), [("uint16", 1023), ("int32", 4095), ("float32", 1.0), ("float64", 100.0)]
)
def test_a_scale_says_what_values_mean(picture: NDArray[np.uint8], kind: str, most: float) -> None:
    wide = (picture.astype(np.float64) * most / 255).round(0 if kind[0] in "ui" else 9).astype(kind)
    assert np.abs(read_image(wide, scale=255 / most).astype(int) - picture).max() <= 1
    assert read_image(wide, scale=1e9).max() == 255, "clipped, not wrapped"
    assert read_image(picture, scale=1 / 16) is picture, "8-bit values need none"
    for scale in (0, -1, float("nan")):
        with pytest.raises(ImageError, match="a scale above 0"):
            read_image(wide, scale=scale)
    with pytest.raises(ImageError, match="not finite"):
        read_image(np.full((8, 8), np.inf), scale=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_every_mode_of_pillow(picture: NDArray[np.uint8], mode: str) -> None:
    source = pil(picture)
    image = source.convert("LA").convert("PA") if mode == "PA" else source.convert(mode)
    expected = np.asarray(image.convert("RGB"))[..., ::-1]
    assert np.array_equal(read_image(image), expected)


def test_float_images_have_no_range(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="float32"):
        read_image(pil(picture).convert("F"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several(picture: NDArray[np.uint8], kind: str) -> None:
    first, second = pil(picture), pil(255 - picture)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert np.abs(read_image(data).astype(int) - picture).mean() < 12, "GIF has 256 colours"


def test_two_jpegs_in_one_file(picture: NDArray[np.uint8]) -> None:
    data = encoded(pil(picture), "MPO", save_all=True, append_images=[pil(255 - picture)])
    assert np.abs(read_image(data).astype(int) - picture).mean() < 3


def test_cmyk_jpeg(picture: NDArray[np.uint8]) -> None:
    """Photoshop's way, which Pillow writes too: values inverted and an Adobe marker."""
    cmyk = pil(picture).convert("CMYK")
    data = encoded(cmyk, "JPEG", quality=95, subsampling=0)
    assert b"Adobe" in data
    assert np.abs(read_image(data).astype(int) - read_image(cmyk)).mean() < 3


# --- damage ---


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated_jpeg.jpg", "truncated JPEG"),
        ("truncated_image.png", "truncated"),
        ("broken.png", "begins like a PNG image, but its header is damaged"),
    ],
)
def test_damaged_files_are_named_with_the_reason(
    shared: Path, name: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = shared / "data/images/odd" / name
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    with pytest.raises(ImageError):
        read_image(path.read_bytes())
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("PPM", {}),
    ],
)
def test_half_a_file_is_an_error_not_half_a_picture(
    picture: NDArray[np.uint8], kind: str, options: dict[str, object], share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    data = encoded(pil(noise), kind, **options)
    assert read_image(data).shape == picture.shape
    with pytest.raises(ImageError):
        read_image(data[: int(len(data) * share)])


def test_a_thumbnails_end_is_not_the_pictures_end(picture: NDArray[np.uint8]) -> None:
    """An EXIF thumbnail is a JPEG of its own, end marker included."""
    exif = Image.Exif()
    exif[0x010E] = encoded(pil(picture).resize((16, 12)), "JPEG").decode("latin-1")
    data = encoded(pil(picture), "JPEG", exif=exif, quality=95)
    assert read_image(data).shape == picture.shape
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(data[: len(data) - 50])


def test_a_jpeg_filled_up_with_zeros_is_truncated(picture: NDArray[np.uint8]) -> None:
    """Remains of a broken-off download in a file of reserved space."""
    data = encoded(pil(picture), "JPEG")
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(data[: len(data) // 2] + bytes(len(data) // 2))


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(picture: NDArray[np.uint8]) -> None:
    data = encoded(pil(picture), "JPEG")
    assert np.array_equal(read_image(data + b"camera maker's own data"), read_image(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>\n<html>404</html>", "text, not an image; it begins with '<!DOCTYPE html>'"),
        ("größer als gedacht".encode(), "text, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "git lfs pull"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIF"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "video"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(40), "video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (bytes(range(200, 256)), "not an image format known here"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(path) in caught.value.message


def test_an_image_larger_than_memory_is_refused_by_its_header(picture: NDArray[np.uint8]) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="pixels"):
        read_image(bomb)
    assert MAX_PIXELS < 60_000 * 60_000
    data = encoded(pil(picture), "PNG")
    with pytest.raises(ImageError, match=r"120 x 90 = 10,800 pixels, the limit is 5,000\n.*max_pixels"):
        read_image(data, max_pixels=5_000)
    with pytest.raises(ImageError, match="limit is 5,000"):
        read_image(pil(picture), max_pixels=5_000)


def test_missing_files_and_folders(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    pil(picture).save(tmp_path / "photo.png")
    with pytest.raises(ImageError, match=r"there is no such file\nDid you mean .*photo\.png"):
        read_image(tmp_path / "phota.png")
    with pytest.raises(ImageError, match="nor the folder"):
        read_image(tmp_path / "nowhere" / "photo.png")
    with pytest.raises(ImageError, match=r"a folder, not an image\n.*list_images"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="Download"):
        read_image("https://example.org/photo.jpg")
    for impossible in ("photo\0.png", "x" * 5000):
        with pytest.raises(ImageError):
            read_image(impossible)


# --- folders and patterns ---


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "c.txt", "._d.jpg", "below/e.jpeg", "below/deep/f.tif", "empty/readme.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_list_a_folder(tree: Path) -> None:
    assert names(tree, list_images(tree)) == ["a.PNG", "b.jpg"]
    everything = ["a.PNG", "b.jpg", "below/deep/f.tif", "below/e.jpeg"]
    assert names(tree, list_images(str(tree), recursive=True)) == everything


def test_list_a_file_and_a_pattern(tree: Path) -> None:
    assert names(tree, list_images(tree / "c.txt")) == ["c.txt"], "what is named is taken"
    assert names(tree, list_images(f"{tree}/*.jp*g")) == ["b.jpg"]
    assert names(tree, list_images(f"{tree}/**/*")) == ["a.PNG", "b.jpg", "below/deep/f.tif", "below/e.jpeg"]
    (tree / "odd[1].jpg").write_bytes(b"x")
    assert names(tree, list_images(f"{tree}/odd[1].jpg")) == ["odd[1].jpg"], (
        "a name that exists is no pattern"
    )


def test_files_left_out_are_listed(tree: Path) -> None:
    assert find_images(tree).sentences() == [f"1 x hidden: {tree / '._d.jpg'}"]
    with pytest.raises(ImageError, match=r"no image found; left out: 1 x hidden"):
        find_images(f"{tree}/.*.jpg")


def test_only_regular_files_are_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, kind in ((tmp_path / "pipe.jpg", "a pipe"), (Path("/dev/zero"), "a character device")):
        with pytest.raises(ImageError, match="not a regular file"):
            list_images(path)
        with pytest.raises(ImageError, match=f"{kind}, expected a regular file"):
            read_image(path)
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_size(tmp_path / "pipe.jpg")


def test_list_several_without_repeating(tree: Path) -> None:
    found = list_images([tree / "below" / "e.jpeg", tree, tree / "b.jpg"])
    assert names(tree, found) == ["below/e.jpeg", "a.PNG", "b.jpg"]


def test_nothing_found_is_an_error(tree: Path) -> None:
    with pytest.raises(ImageError, match="no image found"):
        list_images(tree / "empty")
    with pytest.raises(ImageError, match="no image found"):
        list_images(f"{tree}/*.bmp")
    with pytest.raises(ImageError, match="there is no such file"):
        list_images(tree / "missing.jpg")
    with pytest.raises(ImageError, match="no image was given"):
        list_images([])
    with pytest.raises(ImageError, match="Search recursively"):
        (tree / "a.PNG").unlink()
        (tree / "b.jpg").unlink()
        list_images(tree)
