"""The page for the browser: its module against the runtime, then the whole of it in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

pytest.importorskip("websocket", reason="needs the dev extra (websocket-client)")

from edgeyolo import Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.registry import open_session
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import UnsupportedTargetError
from edgeyolo.recipe import write_recipe
from edgeyolo.recipe.web import PAGE, RUNTIME
from edgeyolo.runtime.postprocess import PostprocessConfig, postprocess
from edgeyolo.runtime.preprocess import Letterbox, letterbox, preprocess

from ..bench.browser import Page, chromium, find_chromium

NODE = shutil.which("node")
PROGRAM = find_chromium()
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node.js")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here (Debian: apt install chromium)")

RUN = """
import { readFileSync, writeFileSync } from "node:fs";
const [module, folder] = process.argv.slice(2);
const { decode, fit, prepare, resize, suppress, detect, DISPLAY } = await import(module);
const given = JSON.parse(readFileSync(`${folder}/given.json`));
const bytes = (name) => new Uint8Array(readFileSync(`${folder}/${name}`));
const said = given.map(({ what, ...rest }) => {
  if (what === "fit") return fit(rest.image, rest.size);
  const picture = rest.picture && { ...rest.picture, data: bytes(rest.picture.file) };
  if (what === "resize") {
    writeFileSync(`${folder}/${rest.out}`, resize(picture, rest.rows, rest.columns));
    return null;
  }
  if (what === "prepare") {
    const { tensor, shape } = prepare(picture, rest.input);
    writeFileSync(`${folder}/${rest.out}`, tensor);
    return shape;
  }
  const arrays = Object.fromEntries(Object.entries(rest.arrays).map(([name, file]) => {
    const data = bytes(file);
    return [name, new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4)];
  }));
  const box = fit(rest.image, [rest.manifest.input.height, rest.manifest.input.width]);
  return detect(arrays, rest.manifest, box, { ...DISPLAY, ...rest.limits });
});
console.log(JSON.stringify(said));
"""


def in_node(folder: Path, given: list[dict[str, Any]]) -> list[Any]:
    """Answer of edgeyolo.js."""
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copyfile(PAGE / "edgeyolo.js", folder / "edgeyolo.js")
    (folder / "run.mjs").write_text(RUN)
    (folder / "given.json").write_text(json.dumps(given))
    words = [str(NODE), "run.mjs", "./edgeyolo.js", "."]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def as_picture(folder: Path, name: str, bgr: NDArray[np.uint8]) -> dict[str, Any]:
    rgba = np.concatenate([bgr[..., ::-1], np.full_like(bgr[..., :1], 255)], axis=2)
    np.ascontiguousarray(rgba).tofile(folder / name)
    return {"file": name, "height": bgr.shape[0], "width": bgr.shape[1]}


@needs_node
def test_the_letterbox_is_the_runtimes_to_the_bit(plain: Artifact, tmp_path: Path) -> None:
    rng, given, images = np.random.default_rng(1), [], []
    for number in range(40):
        height, width, rows, columns = (int(side) for side in rng.integers(1, 200, 4))
        if number % 8 == 0:
            height, width = 2 * rows, 2 * columns
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        images.append((image, rows, columns))
        picture = as_picture(tmp_path, f"{number}.in", image)
        given += [
            {"what": "fit", "image": [height, width], "size": [rows, columns]},
            {"what": "resize", "picture": picture, "rows": rows, "columns": columns, "out": f"{number}.out"},
        ]
    said = in_node(tmp_path, given)
    for number, (image, rows, columns) in enumerate(images):
        box = letterbox(image, (rows, columns))[1]
        found = said[2 * number]
        assert [found[each] for each in ("ratio", "rows", "columns", "top", "left")] == [
            box.ratio, *box.resized, box.top, box.left,
        ]  # fmt: skip
        made = np.fromfile(tmp_path / f"{number}.out", np.uint8).reshape(rows, columns, 3)
        wanted = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(made[..., ::-1], wanted)


@needs_node
def test_tensors_are_the_runtimes_to_the_bit(plain: Artifact, tmp_path: Path) -> None:
    image = make_scene(3, (333, 517)).image
    contracts = [plain.manifest.input, plain.manifest.input.of_pixels()]
    plainly = [json.loads(json.dumps(each.__dict__)) for each in contracts]
    picture = as_picture(tmp_path, "in", image)
    given = [
        {"what": "prepare", "picture": picture, "input": each, "out": f"{number}.out"}
        for number, each in enumerate(plainly)
    ]
    shapes = in_node(tmp_path, given)
    for number, contract in enumerate(contracts):
        batch, _ = preprocess([image], contract)
        assert shapes[number] == list(batch.shape)
        assert np.array_equal(np.fromfile(tmp_path / f"{number}.out", batch.dtype), batch.ravel())


@needs_node
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_raw_maps_become_the_boxes_of_the_runtime(layout: str, plain: Artifact, tmp_path: Path) -> None:
    manifest = plain.manifest
    session = open_session(plain)
    said = json.loads(manifest.to_json())
    said["output"]["layout"] = layout
    given, expected = [], []
    for seed, size in ((3, (333, 517)), (4, (700, 300))):
        image = make_scene(seed, size).image
        maps = session.run(preprocess([image], manifest.input)[0])
        box = Letterbox.fit(size, manifest.input.size)
        config = PostprocessConfig(conf=0.002, iou=0.5, max_det=50)
        expected.append(postprocess(maps, manifest.output, [box], config)[0])
        files = {}
        for name, each in maps.items():
            files[name] = f"{seed}-{name}"
            (each[0].transpose(1, 2, 0) if layout == "NHWC" else each[0]).astype("<f4").tofile(
                tmp_path / files[name]
            )
        limits = {"conf": 0.002, "iou": 0.5, "most": 50}
        given.append({"what": "detect", "arrays": files, "manifest": said, "image": size, "limits": limits})
    session.close()
    for found, wanted in zip(in_node(tmp_path, given), expected, strict=True):
        assert len(found) == len(wanted) > 5
        np.testing.assert_allclose([each["box"] for each in found], wanted.xyxy, atol=1e-3)
        np.testing.assert_allclose([each["confidence"] for each in found], wanted.confidence, atol=1e-6)
        assert [each["class_id"] for each in found] == wanted.class_id.tolist()


@needs_node
def test_boxes_that_the_graph_suppressed_are_read(suppressing: Artifact, tmp_path: Path) -> None:
    manifest = suppressing.manifest
    arrays = {
        "count": [3], "boxes": [1, 2, 30, 40, 0, 0, 1, 1, 5, 6, 70, 80], "scores": [0.9, 0.2, 0.5],
        "labels": [2, 0, 1],
    }  # fmt: skip
    for name, values in arrays.items():
        np.array(values, np.float32).tofile(tmp_path / name)
    files = {name: name for name in arrays}
    (found,) = in_node(
        tmp_path,
        [{
            "what": "detect", "arrays": files, "manifest": json.loads(manifest.to_json()),
            "image": manifest.input.size, "limits": {"conf": 0.25},
        }],
    )  # fmt: skip
    assert [(each["box"], each["class_id"]) for each in found] == [([1, 2, 30, 40], 2), ([5, 6, 70, 80], 1)]


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 - the class says so
        **SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm",
    }  # fmt: skip

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def hosted() -> Iterator[Callable[[Path], str]]:
    """Address of a web server for a folder."""
    servers = []

    def serve(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(str(PROGRAM), tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="session")
def ort() -> Path:
    """Files of ONNX Runtime Web, which npm puts beside the Python environment once."""
    npm = shutil.which("npm")
    place = Path(sys.prefix) / "share" / RUNTIME
    files = place / "node_modules/onnxruntime-web/dist"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "lock"):
        if npm and not (files / "ort.wasm.min.mjs").is_file():
            words = [
                npm,
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefix",
                place,
                RUNTIME,
            ]
            subprocess.run(list(map(str, words)), capture_output=True, check=False, timeout=300)
    if not (files / "ort.wasm.min.mjs").is_file():
        pytest.skip(f"needs {RUNTIME}, which npm does not get here")
    return files


@pytest.fixture(scope="module")
def suppressing(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A trained network that takes pixels and suppresses: random weights give rows of equal confidences."""
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.export import ExportOptions, export

    weights = Path(__file__).parents[2] / "benchmarks/weights/scenes.safetensors"
    options = ExportOptions(size=(192, 192), nms=PostprocessConfig(conf=0.01), input="uint8")
    return export(weights, "cpu-onnx-fp32", tmp_path_factory.mktemp("web") / "artifact", options)


STATUS = "document.querySelector('#status').textContent"
WRONG = "document.querySelector('#status').className"


@needs_chromium
def test_without_the_runtime_the_page_says_what_to_do(
    browser: Page, plain: Artifact, hosted: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = write_recipe(plain, "web", tmp_path / "recipe")
    browser.open(hosted(folder))
    assert browser.becomes(WRONG, "wrong")
    assert "ort/" in browser(STATUS) and "config.json" in browser(STATUS)
    done = subprocess.run([folder / "check.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and RUNTIME in done.stderr


@needs_chromium
@pytest.mark.parametrize("kind", ["raw maps", "boxes from pixels"])
def test_the_page_finds_what_the_detector_finds(  # noqa: PLR0917 - fixtures
    kind: str, browser: Page, plain: Artifact, suppressing: Artifact, ort: Path,
    hosted: Callable[[Path], str], tmp_path: Path,
) -> None:  # fmt: skip
    artifact = plain if kind == "raw maps" else suppressing
    folder = write_recipe(artifact, "web", tmp_path / "recipe")
    (folder / "ort").symlink_to(ort)
    subprocess.run([folder / "check.sh"], capture_output=True, check=True)
    scheme, width = ("light", 1000) if kind == "raw maps" else ("dark", 360)
    browser.events.clear()
    browser.open(hosted(folder), scheme=scheme, width=width)
    assert browser.becomes(STATUS, "Ready (wasm)", 60), browser(STATUS)
    assert browser("document.title") == artifact.manifest.model

    browser.click("#check")
    assert browser.becomes(f"{STATUS}.startsWith('golden picture: deviation')", True, 30), browser(STATUS)
    assert browser(WRONG) == ""
    golden = dict(np.load(artifact.path / "golden.npz"))
    prefix, conf = ("weak.", float(golden["weak.conf"])) if "weak.conf" in golden else ("", 0.01)
    found = browser(
        "import('./model.js').then(async ({ Model, pixels }) => {"
        "  const model = await Model.load({ runtime: 'ort/', provider: 'wasm' });"
        "  const image = await createImageBitmap(await (await fetch('golden.png')).blob());"
        f" return model.detect(pixels(image, image.width, image.height), {conf}); }})"
    )
    assert len(found) == len(golden[f"{prefix}xyxy"]) > 5
    # On other kernels the maps differ by 4e-6 of their largest value.
    np.testing.assert_allclose(
        [each["confidence"] for each in found], golden[f"{prefix}confidence"], atol=1e-4
    )
    np.testing.assert_allclose([each["box"] for each in found], golden[f"{prefix}xyxy"], atol=1e-2)
    assert [each["class_id"] for each in found] == golden[f"{prefix}class_id"].tolist()

    image = make_scene(7, (300, 400)).image
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    with Detector(artifact.path, conf=0.05) as detector:
        wanted = detector(image)
    browser("document.querySelector('#conf').value = 0.05")
    browser.choose("#file", tmp_path / "photo.png")
    assert browser.becomes(f"{STATUS}.includes('400 × 300 pixels')", True, 30), browser(STATUS)
    rows = browser("Array.from(document.querySelectorAll('#rows tr'), (row) => row.innerText.split('\\t'))")
    assert len(rows) == len(wanted) > 0
    assert rows[0][0] == wanted[0].name and abs(float(rows[0][1]) - wanted[0].confidence) < 1e-3
    x1, y1, _, y2 = wanted[0].box
    edge = f"{max(round(x1) - 1, 0)}, {round((y1 + y2) / 2)}, 3, 1"  # the middle of the box's left side
    pen = "document.querySelector('#canvas').getContext('2d')"
    pixels = np.reshape(browser(f"[...{pen}.getImageData({edge}).data]"), (3, 4))[:, :3]
    assert np.ptp(pixels, axis=1).max() > 60  # the colour of a box
    assert browser("document.documentElement.scrollWidth <= innerWidth")
    back = np.mean(browser.rgb("body", "backgroundColor"))
    assert back > 200 if scheme == "light" else back < 60
    assert not [event for event in browser.events if event.get("method") == "Runtime.exceptionThrown"]


@needs_chromium
def test_a_camera_is_watched_until_it_is_stopped(
    browser: Page, plain: Artifact, ort: Path, hosted: Callable[[Path], str], tmp_path: Path
) -> None:
    """Chromium's own camera, which shows a moving pattern."""
    folder = write_recipe(plain, "web", tmp_path / "recipe")
    (folder / "ort").symlink_to(ort)
    browser.open(hosted(folder))
    assert browser.becomes(STATUS, "Ready (wasm)", 60)
    browser.click("#camera")
    assert browser.becomes("Number(document.querySelector('#canvas').dataset.frames) >= 3", True, 30)
    assert "pixels" in browser(STATUS)
    browser.click("#camera")
    assert browser.becomes(STATUS, "Stopped")
    assert browser("document.querySelector('#camera').textContent") == "Camera"


@needs_chromium
def test_the_check_of_the_page_notices(
    browser: Page, plain: Artifact, ort: Path, hosted: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = write_recipe(plain, "web", tmp_path / "recipe")
    (folder / "ort").symlink_to(ort)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["input"]["color_order"] = "BGR"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    browser.open(hosted(folder))
    assert browser.becomes(STATUS, "Ready (wasm)", 60)
    browser.click("#check")
    assert browser.becomes(WRONG, "wrong", 30) and "is allowed" in browser(STATUS)


def test_what_a_page_cannot_feed_is_refused(exported: Callable[..., Artifact], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTargetError, match="browser cannot run"):
        write_recipe(exported("gpu-trt-fp16"), "web", tmp_path / "recipe")
