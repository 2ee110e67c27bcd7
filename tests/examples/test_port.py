"""The C++ sketch of a port, compiled, does with raw maps what the runtime does: port_check.py has the last word."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo.artifact import port_check
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.interface import Session
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector import builtin
from edgeyolo.runtime.postprocess import PostprocessConfig, postprocess
from edgeyolo.runtime.preprocess import preprocess

PORT = Path(__file__).parents[2] / "examples/port"
MAIN = """
#include "edgeyolo_decode.hpp"
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
using namespace edgeyolo;
// height width input-height input-width classes channels-last, for each level: file rows columns stride, 6 of anchors
int main(int, char** argv) {
    const auto number = [&](int n) { return std::atoi(argv[n]); };
    const Letterbox box = Letterbox::fit({number(1), number(2)}, {number(3), number(4)});
    std::vector<std::vector<float>> maps;
    std::vector<Level> levels;
    for (int n = 7; argv[n]; n += 10) {
        std::ifstream file(argv[n], std::ios::binary);
        std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
        const float* values = reinterpret_cast<const float*>(bytes.data());
        maps.emplace_back(values, values + bytes.size() / sizeof(float));
        Level level{nullptr, number(n + 1), number(n + 2), number(n + 3), {}};
        for (int a = 0; a < 3; ++a)
            level.anchors.push_back({float(std::atof(argv[n + 4 + 2 * a])), float(std::atof(argv[n + 5 + 2 * a]))});
        levels.push_back(level);
    }
    for (std::size_t i = 0; i < levels.size(); ++i) levels[i].map = maps[i].data();
    const float conf = float(std::atof(std::getenv("CONF")));
    for (Detection d : to_image(suppress(decode(levels, number(5), number(6), conf), 0.45f, 300), box))
        std::printf("%.9g %.9g %.9g %.9g %.9g %d\\n", d.x1, d.y1, d.x2, d.y2, d.confidence, d.class_id);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    folder = tmp_path_factory.mktemp("port")
    (folder / "main.cpp").write_text(MAIN)
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-I", PORT, folder / "main.cpp"]
    subprocess.run([*command, "-o", folder / "port"], check=True)
    return folder / "port"


@pytest.fixture(scope="module")
def trained() -> Iterator[tuple[Artifact, Session]]:
    """The model that comes with the package: a trained one, as random weights give rows of equal confidences."""
    artifact = Artifact.open(builtin.artifact_path())
    session = registry.open_session(artifact)
    yield artifact, session
    session.close()


def ported(
    program: Path,
    artifact: Artifact,
    maps: Mapping[str, NDArray[np.float32]],
    image: NDArray[np.uint8],
    folder: Path,
    *,
    layout: str,
    conf: float,
) -> NDArray[np.float64]:
    """Output of the compiled sketch: rows of x1, y1, x2, y2, confidence, class."""
    output, size = artifact.manifest.output, artifact.manifest.input.size
    arguments: list[object] = [*image.shape[:2], *size, output.classes, int(layout == "NHWC")]
    for name, stride, anchors in zip(output.names, output.strides, output.anchors, strict=True):
        one = maps[name][0]
        (one.transpose(1, 2, 0) if layout == "NHWC" else one).astype("<f4").tofile(folder / f"{name}.bin")
        arguments += [
            folder / f"{name}.bin",
            *one.shape[1:],
            stride,
            *(side for pair in anchors for side in pair),
        ]
    done = subprocess.run(
        [program, *map(str, arguments)], env={"CONF": str(conf)}, capture_output=True, text=True, check=True
    )
    return np.array([line.split() for line in done.stdout.splitlines()], np.float64).reshape(-1, 6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_cpp_sketch_finds_what_the_runtime_finds(
    layout: str, program: Path, trained: tuple[Artifact, Session], tmp_path: Path
) -> None:
    artifact, session = trained
    manifest, found = artifact.manifest, 0
    for seed, size in ((3, (333, 517)), (4, (700, 300))):
        image = make_scene(seed, size).image
        batch, boxes = preprocess([image], manifest.input)
        maps = session.run(batch)
        expected = postprocess(maps, manifest.output, boxes, PostprocessConfig(conf=0.02))[0]
        rows = ported(program, artifact, maps, image, tmp_path, layout=layout, conf=0.02)
        np.testing.assert_allclose(rows[:, :4], expected.xyxy, atol=1e-2)
        np.testing.assert_allclose(rows[:, 4], expected.confidence, atol=1e-5)
        assert rows[:, 5].tolist() == expected.class_id.tolist()
        found += len(rows)
    assert found > 10


def test_a_port_is_judged_by_the_artifact(
    program: Path, trained: tuple[Artifact, Session], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, session = trained
    image = np.load(artifact.path / "golden.npz")["image"]
    maps = session.run(preprocess([image], artifact.manifest.input)[0])
    rows = ported(program, artifact, maps, image, tmp_path, layout="NCHW", conf=0.25)
    parts = {"xyxy": rows[:, :4], "confidence": rows[:, 4], "class_id": rows[:, 5].astype(int)}
    for name, values in {**maps, **parts}.items():
        np.save(tmp_path / f"{name}.npy", values)
    assert port_check.main([str(artifact.path), str(tmp_path)]) == 0
    assert "right: p3, p4, p5, xyxy" in capsys.readouterr().out


def test_the_sketches_say_the_same_formulas() -> None:
    """Swift and Kotlin are not compiled here, so at least the numbers in them are those of the C++ that is."""
    for name in ("edgeyolo_decode.hpp", "EdgeyoloDecode.swift", "EdgeyoloDecode.kt"):
        text = (PORT / name).read_text(encoding="utf-8")
        assert text.count("2 * sigmoid(at(") == 4
        assert text.count("- 0.5") == 2
        assert "> threshold" in text
