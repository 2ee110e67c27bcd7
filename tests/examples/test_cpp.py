"""The C++ reader of artifacts, compiled, makes of golden pictures the golden input and the golden boxes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo.artifact import port_check
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.backend import registry
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector import builtin
from edgeyolo.runtime.postprocess import PostprocessConfig, postprocess
from edgeyolo.runtime.preprocess import Letterbox, letterbox, preprocess

CPP = Path(__file__).parents[2] / "examples/cpp"
WEIGHTS = CPP.parents[1] / "benchmarks/weights/scenes.safetensors"
SKETCHES = CPP.with_name("port")
STRICT = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
COMPILER = shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")

SMALL = """
#include "edgeyolo.hpp"
using namespace edgeyolo;
extern "C" void resized(const std::uint8_t* bgr, int height, int width, int rows, int columns, std::uint8_t* out) {
    resize({height, width, bgr}, rows, columns, out);
}
extern "C" void fitted(int height, int width, int rows, int columns, double* out) {
    const Letterbox box = Letterbox::fit({height, width}, {rows, columns});
    const double values[] = {box.ratio, double(box.rows), double(box.columns), double(box.top), double(box.left)};
    std::copy(values, values + 5, out);
}
extern "C" unsigned halved(float value) { return half(value); }
extern "C" int parsed(const char* text, char* out, int most) {
    try {
        const Json value = Json::parse(text);
        const std::string said = value.kind() == Json::Kind::text ? value.text() : std::to_string(int(value.kind()));
        std::strncpy(out, said.c_str(), most);
        return 0;
    } catch (const std::runtime_error& error) { std::strncpy(out, error.what(), most); return 1; }
}
extern "C" int kept(const float* scores, int count, int most, float* out) {
    std::vector<Detection> found;
    for (int i = 0; i < count; ++i) found.push_back({float(i), 0, 0, 0, scores[i], 0});
    keep_best(found, most);
    for (std::size_t i = 0; i < found.size(); ++i) out[i] = found[i].x1;
    return int(found.size());
}
"""


def build(folder: Path, source: Path, *flags: object) -> Path:
    command = [COMPILER, *STRICT, "-I", CPP, source, "-o", folder / source.stem, *flags]
    subprocess.run(list(map(str, command)), check=True)
    return folder / source.stem


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("port"), CPP / "port.cpp")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Functions of the header, callable from here."""
    import ctypes

    folder = tmp_path_factory.mktemp("parts")
    (folder / "parts.cpp").write_text(SMALL)
    library = ctypes.CDLL(str(build(folder, folder / "parts.cpp", "-shared", "-fPIC")))
    library.halved.argtypes = [ctypes.c_float]
    return library


@pytest.fixture(scope="module")
def made(
    calibration: CalibrationSource, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Artifact]:
    """The model that comes with the package, or the demo's for a target: random weights give equal confidences."""
    from edgeyolo.export import ExportOptions, export

    @cache
    def artifact(target: str) -> Artifact:
        if target == "builtin":
            return Artifact.open(builtin.artifact_path())
        _, backend = registry.find_target(target.removesuffix(" suppressing"))
        if not (ready := backend.can_compile()).ok:
            pytest.skip(f"{target}: {ready.reason}")
        options = ExportOptions(size=(192, 192), calibration=calibration if "int8" in target else None)
        if target.endswith("suppressing"):
            options = replace(options, nms=PostprocessConfig(conf=0.01))
        name = target.removesuffix(" suppressing")
        return export(WEIGHTS, name, tmp_path_factory.mktemp("cpp") / "artifact", options)

    return artifact


def write_ppm(path: Path, bgr: NDArray[np.uint8]) -> Path:
    head = f"P6\n# a comment\n{bgr.shape[1]} {bgr.shape[0]}\n255\n".encode()
    path.write_bytes(head + bgr[..., ::-1].tobytes())
    return path


def prepared(port: Path, artifact: Artifact, picture: Path) -> NDArray[np.generic]:
    """The input tensor that the port makes of a picture."""
    out = picture.with_suffix(".bin")
    subprocess.run([port, "prepare", artifact.path, picture, out], check=True)
    return np.fromfile(out, artifact.manifest.input.dtype).reshape(artifact.manifest.input.shape())


def stored(maps: dict[str, NDArray[np.float32]], manifest: Manifest) -> dict[str, NDArray[np.generic]]:
    """Arrays as the file gives them: integers where the contract says so."""
    output = manifest.output
    if not isinstance(output, RawMaps) or not output.quantization:
        return {name: each[0].astype("<f4") for name, each in maps.items()}
    pairs = zip(output.names, output.quantization, strict=True)
    return {name: (np.rint(maps[name][0] / q.scale) + q.zero_point).astype(np.int8) for name, q in pairs}


def detected(port: Path, artifact: Artifact, picture: Path, arrays: dict, conf: float) -> NDArray[np.float64]:
    """Rows of x1, y1, x2, y2, confidence, class that the port finds in arrays."""
    files = []
    for name in artifact.manifest.output.names:
        files.append(picture.with_name(f"{name}.bin"))
        np.ascontiguousarray(arrays[name]).tofile(files[-1])
    command = [port, "detect", artifact.path, picture, repr(conf), *files]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    lines = [line.split(" ", 6) for line in done.stdout.splitlines()]
    assert [line[6] for line in lines] == [artifact.manifest.class_names[int(line[5])] for line in lines]
    return np.array([line[:6] for line in lines], np.float64).reshape(-1, 6)


TARGETS = ["builtin", "cpu-onnx-fp32", "cpu-onnx-fp32 suppressing", "edgetpu-tflite-int8", "ane-coreml-fp16"]


@pytest.mark.parametrize("target", TARGETS)
def test_golden_pictures_become_golden_boxes(
    target: str, port: Path, made: Callable[[str], Artifact], tmp_path: Path
) -> None:
    artifact = made(target)
    manifest = artifact.manifest
    with np.load(artifact.path / "golden.npz") as archive:
        golden = dict(archive)
    picture = write_ppm(tmp_path / "picture.ppm", golden["image"])
    tensor = prepared(port, artifact, picture)
    assert np.array_equal(tensor, preprocess([golden["image"]], manifest.input)[0])
    session, _ = registry.open_for_parity(artifact)
    arrays = stored(session.run(tensor), manifest)
    session.close()
    conf = float(golden.get("weak.conf", 0.25))
    for prefix, threshold in (("weak.", conf), ("", 0.25)):
        if f"{prefix}xyxy" not in golden:
            continue
        own = threshold if isinstance(manifest.output, RawMaps) else 0.01
        rows = detected(port, artifact, picture, arrays, own)
        assert rows[:, 5].tolist() == golden[f"{prefix}class_id"].tolist()
        np.testing.assert_allclose(rows[:, 4], golden[f"{prefix}confidence"], atol=1e-5)
        np.testing.assert_allclose(rows[:, :4], golden[f"{prefix}xyxy"], atol=1e-3)
        assert len(rows) or not prefix


@pytest.mark.parametrize("conf", [0.002, 0.0])
def test_other_pictures_become_the_boxes_of_the_runtime(
    port: Path, made: Callable[[str], Artifact], conf: float, tmp_path: Path
) -> None:
    """Odd sizes, padding on either side, thousands of candidates."""
    artifact = made("builtin")
    manifest = artifact.manifest
    session = registry.open_session(artifact)
    for seed, size in ((3, (333, 517)), (4, (700, 300))):
        image = make_scene(seed, size).image
        maps = session.run(preprocess([image], manifest.input)[0])
        boxes = [Letterbox.fit(size, manifest.input.size)]
        expected = postprocess(maps, manifest.output, boxes, PostprocessConfig(conf=conf))[0]
        picture = write_ppm(tmp_path / "picture.ppm", image)
        rows = detected(port, artifact, picture, stored(maps, manifest), conf)
        assert len(rows) == len(expected) > 5
        np.testing.assert_allclose(rows[:, :4], expected.xyxy, atol=1e-3)
        assert rows[:, 5].tolist() == expected.class_id.tolist()
    session.close()


def test_boxes_are_divided_by_their_gain(port: Path, made: Callable[[str], Artifact], tmp_path: Path) -> None:
    artifact = made("builtin")
    image = np.load(artifact.path / "golden.npz")["image"]
    picture = write_ppm(tmp_path / "picture.ppm", image)
    session = registry.open_session(artifact)
    maps = session.run(preprocess([image], artifact.manifest.input)[0])
    session.close()
    expected = detected(port, artifact, picture, stored(maps, artifact.manifest), 0.05)
    output = artifact.manifest.output
    assert isinstance(output, RawMaps) and output.layout == "NCHW"
    gained = Artifact(tmp_path, replace(artifact.manifest, output=replace(output, box_gain=2.5)))
    (tmp_path / "manifest.json").write_text(gained.manifest.to_json())
    gain = np.where(np.arange(5 + output.classes) < 4, np.float32(2.5), np.float32(1))
    scaled = {name: each * np.tile(gain, 3)[:, None, None] for name, each in maps.items()}
    rows = detected(port, gained, picture, stored(scaled, gained.manifest), 0.05)
    assert len(rows) == len(expected) > 0
    np.testing.assert_allclose(rows, expected, atol=1e-3)


def test_a_port_is_judged_by_the_artifact(
    port: Path, made: Callable[[str], Artifact], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = made("builtin")
    image = np.load(artifact.path / "golden.npz")["image"]
    picture = write_ppm(tmp_path / "picture.ppm", image)
    tensor = prepared(port, artifact, picture)
    session = registry.open_session(artifact)
    maps = session.run(tensor)
    session.close()
    rows = detected(port, artifact, picture, stored(maps, artifact.manifest), 0.25)
    saved = {"xyxy": rows[:, :4], "confidence": rows[:, 4], "class_id": rows[:, 5].astype(int)}
    for name, values in {**maps, **saved, "input": tensor}.items():
        np.save(tmp_path / f"{name}.npy", values)
    assert port_check.main([str(artifact.path), str(tmp_path)]) == 0
    assert "right: input, p3, p4, p5, xyxy" in capsys.readouterr().out


def test_the_letterbox_is_opencvs_to_the_bit(parts) -> None:  # type: ignore[no-untyped-def]
    import ctypes

    rng = np.random.default_rng(0)
    for number in range(150):
        height, width, rows, columns = (int(side) for side in rng.integers(1, 300, 4))
        if number % 10 == 0:
            height, width = 2 * rows, 2 * columns
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        out = np.empty((rows, columns, 3), np.uint8)
        addresses = [ctypes.c_void_p(each.ctypes.data) for each in (image, out)]
        parts.resized(addresses[0], height, width, rows, columns, addresses[1])
        assert np.array_equal(out, cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR))
        place = np.empty(5)
        parts.fitted(height, width, rows, columns, ctypes.c_void_p(place.ctypes.data))
        box = letterbox(image, (rows, columns))[1]
        assert place.tolist() == [box.ratio, *box.resized, box.top, box.left]


def test_pixels_become_float16_as_numpy_makes_them(parts) -> None:  # type: ignore[no-untyped-def]
    values = np.arange(256, dtype=np.float32) * np.float32(1 / 255)
    values = np.concatenate([values, values * np.float32(2e-7), values * 200])
    assert [parts.halved(float(v)) for v in values] == values.astype(np.float16).view(np.uint16).tolist()


JSON = {
    r'"a\u00e9\ud83d\ude00\n\"\/"': (0, 'aé😀\n"/'),
    '"é\\u20AC"': (0, "é€"),
    ' {"a": [1, -2.5e3, true, false, null], "b": {}} ': (0, "5"),
    "[]": (0, "4"),
    '{"a": 1, "a": 2}': (1, "twice"),
    "[1, 2": (1, "expected ']'"),
    "1 2": (1, "more than one"),
    '"a': (1, "without an end"),
    r'"\x"': (1, "escape"),
    r'"\u12g4"': (1, "hexadecimal"),
    "nul": (1, "unknown word"),
    "NaN": (1, "expected a value"),
    "1e999": (1, "expected a value"),
    "[" * 100: (1, "too deeply"),
    "": (1, "expected a value"),
}


@pytest.mark.parametrize("text", JSON, ids=lambda text: text[:12])
def test_json_is_read_or_refused(parts, text: str) -> None:  # type: ignore[no-untyped-def]
    import ctypes

    out = ctypes.create_string_buffer(200)
    code = parts.parsed(text.encode(), out, 199)
    wanted, said = JSON[text]
    assert code == wanted
    assert out.value.decode() == said if not wanted else said in out.value.decode()


def test_of_too_many_candidates_the_first_best_stay(parts) -> None:  # type: ignore[no-untyped-def]
    import ctypes

    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.5, 0.8], np.float32)
    out = np.empty(6, np.float32)
    addresses = [ctypes.c_void_p(each.ctypes.data) for each in (scores, out)]
    for most, wanted in ((4, [0, 1, 2, 5]), (2, [1, 5]), (6, [0, 1, 2, 3, 4, 5]), (5, [0, 1, 2, 4, 5])):
        assert out[: parts.kept(addresses[0], 6, most, addresses[1])].tolist() == wanted


def test_what_cannot_be_read_is_said(port: Path, made: Callable[[str], Artifact], tmp_path: Path) -> None:
    artifact = made("builtin")
    picture = write_ppm(tmp_path / "picture.ppm", make_scene(1, (64, 80)).image)
    short = tmp_path / "short.bin"
    short.write_bytes(b"1234")
    (tmp_path / "bad.ppm").write_bytes(picture.read_bytes()[:-1])
    (tmp_path / "manifest.json").write_text('{"schema": "edgeyolo-artifact/9"}')
    for words, told in (
        (("prepare", tmp_path, picture, "out"), "edgeyolo-artifact/1"),
        (("prepare", artifact.path, tmp_path / "bad.ppm", "out"), "PPM"),
        (("prepare", artifact.path, tmp_path / "none.ppm", "out"), "cannot be read"),
        (("detect", artifact.path, picture, "0.2", short, short, short), "values"),
    ):
        done = subprocess.run([port, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 1 and told in done.stderr, done.stderr


def test_the_program_for_onnx_runtime_runs_whole(
    made: Callable[[str], Artifact], port: Path, tmp_path: Path
) -> None:
    """With a stand-in for the library's header: the real one is no part of what the tests install."""
    program = build(tmp_path, CPP / "main.cpp", "-I", Path(__file__).with_name("cpp"))
    artifact = made("builtin")
    image = np.load(artifact.path / "golden.npz")["image"]
    picture = write_ppm(tmp_path / "picture.ppm", image)
    session = registry.open_session(artifact)
    batch = preprocess([image], artifact.manifest.input)[0]
    maps = session.run(batch)
    session.close()
    rows = detected(port, artifact, picture, stored(maps, artifact.manifest), 0.25)  # writes the arrays, too
    done = subprocess.run(
        [program, artifact.path, picture], env=os.environ | {"ARRAYS": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert np.array_equal(np.fromfile(tmp_path / "images.bin", np.float32), batch.ravel())
    names = artifact.manifest.class_names
    assert done.stdout.splitlines() == [
        f"{names[int(row[5])]} {row[4]:.2f}  {row[0]:.1f} {row[1]:.1f} {row[2]:.1f} {row[3]:.1f}"
        for row in rows
    ]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")
def test_cmake_knows_what_it_can_build(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    shutil.copy(Path(__file__).with_name("cpp") / "onnxruntime_cxx_api.h", tmp_path / "include")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libonnxruntime.so").touch()
    words: list[object] = ["cmake", "-S", CPP, "-B", tmp_path / "build"]
    configured = [
        subprocess.run([*words, *more], check=True, capture_output=True, text=True).stdout
        for more in ([], [f"-DONNXRUNTIME={tmp_path}"])
    ]
    assert ["`detect` is left out" in each for each in configured] == [True, False]
    targets = subprocess.run(
        ["cmake", "--build", tmp_path / "build", "--target", "help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "detect" in targets and "port" in targets


def test_the_sketches_say_the_same_formulas() -> None:
    """Swift and Kotlin are not compiled here, so at least the numbers in them are those of the C++ that is."""
    for path in (CPP / "edgeyolo.hpp", SKETCHES / "EdgeyoloDecode.swift", SKETCHES / "EdgeyoloDecode.kt"):
        text = path.read_text(encoding="utf-8")
        assert text.count("2 * sigmoid(at(") == 4
        assert text.count("- 0.5") >= 2
        assert "> threshold" in text
