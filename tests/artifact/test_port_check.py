"""The checker for ports: runs with numpy alone, agrees with the artifact, and names the usual mistakes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeyolo.artifact import port_check
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.runtime.preprocess import preprocess

NUMPY_ONLY = """
import sys, runpy
allowed = set(sys.stdlib_module_names) | {"numpy", "port_check"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} is not numpy")
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def port(small_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a faultless port, made by the runtime itself."""
    folder = tmp_path_factory.mktemp("port")
    artifact = Artifact.open(small_artifact)
    with np.load(small_artifact / "golden.npz") as golden:
        batch, _ = preprocess([golden["image"]], artifact.manifest.input)
        for name in ("xyxy", "confidence", "class_id"):
            np.save(folder / f"{name}.npy", golden[name])
    np.save(folder / "input.npy", batch)
    session = registry.open_session(artifact)
    for name, value in session.run(batch).items():
        np.save(folder / f"{name}.npy", value)
    session.close()
    return folder


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    """As its users run it: a copy of the file, with numpy and nothing else."""
    command = [sys.executable, "-c", NUMPY_ONLY, str(port_check.__file__), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_faultless_port(small_artifact: Path, port: Path) -> None:
    alone = check(small_artifact)
    assert (alone.returncode, alone.stdout) == (0, "right: files\n"), alone.stdout + alone.stderr
    done = check(small_artifact, port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "right: input, p3, p4, p5, xyxy\n"


def test_it_needs_something_to_check(small_artifact: Path, tmp_path: Path) -> None:
    assert "nothing was there" in check(small_artifact, tmp_path).stdout
    assert check(small_artifact, tmp_path).returncode == 1
    assert check().returncode == 2


def stretched(image: Any) -> Any:
    return cv2.resize(image, (96, 96))[..., ::-1]


def cornered(image: Any) -> Any:
    scale = 96 / max(image.shape[:2])
    picture = np.full((96, 96, 3), 114, np.uint8)
    small = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
    picture[: small.shape[0], : small.shape[1]] = small
    return picture[..., ::-1]


def black(image: Any) -> Any:
    return port_check.letterbox(image, 96, 96, 0)[0][..., ::-1]


def nearest(image: Any) -> Any:
    inside = port_check.letterbox(image, 96, 96, 114)
    scale, left, top = inside[1:]
    rows, columns = round(image.shape[0] * scale), round(image.shape[1] * scale)
    picture = inside[0].copy()
    resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_NEAREST)
    picture[top : top + rows, left : left + columns] = resized
    return picture[..., ::-1]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda image: port_check.letterbox(image, 96, 96, 114)[0], "colours are in reverse order"),
        (
            lambda image: port_check.letterbox(image, 96, 96, 114)[0][..., ::-1] / 255,
            "divided by 255 once too often",
        ),
        (stretched, "keep the aspect"),
        (cornered, "centre the image"),
        (black, r"pad with [114, 114, 114]"),
        (nearest, "resize bilinearly"),
    ],
    ids=["colours", "scale", "stretched", "cornered", "black", "nearest"],
)
def test_a_wrong_input_is_named(make: Any, says: str) -> None:
    image = make_scene(0, (120, 192)).image
    golden = port_check.letterbox(image, 96, 96, 114)[0][..., ::-1]
    assert port_check.check_input(golden, golden) == []
    (told,) = port_check.check_input(make(image), golden)
    assert says in told


@pytest.mark.parametrize(
    "wrong",
    [
        ("p4", lambda value: 1 / (1 + np.exp(-value)), "p4: ", "reading its map p4"),
        ("p3", lambda value: value.transpose(0, 2, 3, 1), "in NCHW?", "reading its map p3"),
        ("p5", lambda value: value[:, :3], "too few", "reading its map p5"),
        ("xyxy", lambda value: value + 40, "is not found", "decoding"),
        ("class_id", lambda value: value + 1, "should not be there", "decoding"),
        ("input", lambda value: value[:, ::-1], "reverse order", "preparing the input"),
    ],
)
def test_a_broken_port(small_artifact: Path, port: Path, tmp_path: Path, wrong: Any) -> None:
    name, change, says, stage = wrong
    broken = Path(shutil.copytree(port, tmp_path / "port"))
    np.save(broken / f"{name}.npy", change(np.load(broken / f"{name}.npy")))
    done = check(small_artifact, broken)
    assert done.returncode == 1
    assert says in done.stdout, done.stdout
    assert f"the first stage that differs: {stage}" in done.stdout.replace("running the file, or ", "")


def test_a_fault_is_blamed_on_the_first_stage_it_shows_in(
    small_artifact: Path, port: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(port, tmp_path / "port"))
    for name in ("xyxy", "p5", "p3"):
        np.save(broken / f"{name}.npy", np.load(broken / f"{name}.npy") + 40)
    assert "differs: running the file, or reading its map p3\n" in check(small_artifact, broken).stdout


def test_a_changed_file(small_artifact: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_artifact, tmp_path / "copy"))
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    done = check(copy)
    assert done.returncode == 1
    assert "model.onnx was changed" in done.stdout
    assert "the first stage that differs: the files" in done.stdout


def test_its_letterbox_is_the_one(small_artifact: Path) -> None:
    contract = Artifact.open(small_artifact).manifest.input
    for size in ((60, 90), (97, 61), (200, 333), (96, 96)):
        image = make_scene(1, size).image
        batch, _ = preprocess([image], contract)
        ours = np.rint(batch[0].transpose(1, 2, 0) * 255)
        theirs = port_check.letterbox(image, 96, 96, 114)[0][..., ::-1]
        assert np.abs(ours - theirs).max() <= port_check.PIXEL


def test_its_decoder_divides_boxes_by_their_gain() -> None:
    output = {"strides": [8], "anchors": [[[10.0, 13.0], [16.0, 30.0]]], "layout": "NCHW", "classes": 3}
    cells = np.random.default_rng(0).normal(0, 2, (2, 8, 4, 5))
    gained = cells.copy()
    gained[:, :4] *= 2.5
    expected = port_check.decode([cells.reshape(16, 4, 5)], output)
    found = port_check.decode([gained.reshape(16, 4, 5)], output | {"box_gain": 2.5})
    assert len(expected[0])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other)


def test_its_decoder_finds_the_golden_detections(small_artifact: Path, port: Path) -> None:
    """The reference functions of the file themselves, from raw maps to boxes of the picture."""
    import json

    manifest = json.loads((small_artifact / "manifest.json").read_text())
    maps = [np.load(port / f"{name}.npy")[0] for name in manifest["output"]["names"]]
    xyxy, confidence, class_id = port_check.decode(maps, manifest["output"])
    kept = port_check.suppress(xyxy, confidence, class_id)
    with np.load(small_artifact / "golden.npz") as archive:
        golden = dict(archive)
    _, ratio, left, top = port_check.letterbox(golden["image"], 96, 96, 114)
    boxes = (xyxy[kept] - [left, top, left, top]) / ratio
    height, width = golden["image"].shape[:2]
    boxes = np.clip(boxes, 0, [width, height, width, height])
    solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    rows = np.array(kept)[solid]
    apart = port_check.check_detections(boxes[solid], confidence[rows], class_id[rows], golden)
    # Cells of the padding see the same, so random weights find boxes of equal confidence; any of those may stay.
    assert len(golden["xyxy"]) > 50
    assert len(apart) < 0.15 * (len(golden["xyxy"]) + len(rows))


# --- tolerances ---


@pytest.mark.parametrize(("steps", "right"), [(2, True), (3, False)])
def test_two_resizers_may_differ_by_two_steps(steps: int, right: bool) -> None:
    golden = port_check.letterbox(make_scene(0, (120, 192)).image, 96, 96, 114)[0]
    pixels = golden.astype(np.int64)
    pixels[50, 50, 1] += steps if pixels[50, 50, 1] < 128 else -steps
    assert (port_check.check_input(pixels, golden) == []) is right
    assert port_check.check_input(golden[:-1], golden) != []


@pytest.mark.parametrize(
    ("stated", "off", "right"),
    [
        (None, 0.9e-3, True),
        (None, 1.1e-3, False),
        (1e-4, 0.9e-3, True),
        (0.1, 0.09, True),
        (0.1, 0.11, False),
    ],
)
def test_maps_may_be_off_by_a_thousandth_or_by_what_the_artifact_states(
    stated: float | None, off: float, right: bool, tmp_path: Path
) -> None:
    manifest = {
        "parity": None if stated is None else {"tolerance": stated},
        "output": {"names": ["p3"], "layout": "NCHW"},
    }
    expected = np.float32([-8, 4, 1])
    golden = {"p3.index": np.array([0, 2, 3]), "p3.value": expected}
    np.save(tmp_path / "p3.npy", np.float32([-8, 99, 4, 1 + 8 * off]))
    assert (port_check.check_maps(tmp_path, golden, manifest) == []) is right
    np.save(tmp_path / "p3.npy", np.float32([-8, 99, 4]))
    assert "too few" in port_check.check_maps(tmp_path, golden, manifest)[0]


@pytest.mark.parametrize(
    ("width", "label", "score", "right"),
    [
        (90.5, 1, 0.9, True),
        (89.5, 1, 0.9, False),  # IoU 0.9 is the least
        (100, 2, 0.9, False),
        (100, 2, 0.265, True),  # at the edge of the threshold
        (100, 2, 0.275, False),
    ],
)
def test_detections_of_a_port_meet_the_golden_ones(
    width: float, label: int, score: float, right: bool
) -> None:
    golden = {
        "xyxy": np.float32([[0, 0, 100, 50]]),
        "confidence": np.float32([score]),
        "class_id": np.array([1]),
    }
    found = np.float32([[0, 0, width, 50]]), np.float32([score]), np.array([label])
    assert (port_check.check_detections(*found, golden) == []) is right
