"""The command line as users meet it: JSON on standard output and nothing else, exit codes, nothing half-written."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeyolo.datasets import load_dataset
from edgeyolo.datasets.scenes import make_scene


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def edgeyolo(*arguments: object, cwd: Path) -> Done:
    """Run the command line in this process, in the folder `cwd`: torch is imported once for all tests."""
    from edgeyolo.cli import main

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setenv("EDGEYOLO_CACHE", str(cwd / "cache"))
        patch.setattr(sys, "argv", ["edgeyolo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return Done(ended.value.code, out.getvalue(), err.getvalue())


def process(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as its users do."""
    command = [sys.executable, "-c", "from edgeyolo.cli import main; main()", *map(str, arguments)]
    variables = os.environ | {"EDGEYOLO_CACHE": str(cwd / "cache")} | environment
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, env=variables)


def parsed(done: Done | subprocess.CompletedProcess[str]) -> object:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), make_scene(1, (120, 160)).image)
    return path


def test_models(tmp_path: Path) -> None:
    listed = parsed(edgeyolo("models", "--json", cwd=tmp_path))
    assert isinstance(listed, list)
    assert [item["name"] for item in listed][2] == "yolov7"
    assert {"name", "params", "params_training", "gflops", "imgsz", "strides"} <= set(listed[2])
    assert listed[2]["params"] == 36905341
    assert "yolov7-e6e" in edgeyolo("models", cwd=tmp_path).stdout


def test_targets_and_doctor(tmp_path: Path) -> None:
    targets = parsed(edgeyolo("targets", "--json", cwd=tmp_path))
    assert {"cpu-onnx-fp32", "cpu-torch-fp32"} <= {item["target"] for item in targets}
    report = parsed(edgeyolo("doctor", "--json", cwd=tmp_path))
    assert any(item["name"] == "onnxruntime" and item["ok"] for item in report["runtimes"])
    for command in ("targets", "doctor"):
        assert "onnx" in edgeyolo(command, cwd=tmp_path).stdout


def test_import_export_verify_detect(tmp_path: Path, small_weights: Path, photo: Path) -> None:
    imported = parsed(
        edgeyolo("import", small_weights, "-o", "copy.safetensors", "--half", "--json", cwd=tmp_path)
    )
    assert imported["class_names"] == ["cat", "dog", "bird"]
    done = parsed(
        edgeyolo(
            "export", "copy.safetensors", "--target", "cpu-onnx-fp32", "-o", "art", "--json", cwd=tmp_path
        )
    )
    assert done["parity"] <= done["tolerance"]
    assert parsed(edgeyolo("verify", "art", "--json", cwd=tmp_path))["deviation"] <= 1e-4
    found = parsed(edgeyolo("detect", "art", photo, "--conf", "0.001", "--json", cwd=tmp_path))
    assert found[0]["image"] == str(photo)
    assert found[0]["detections"]
    first = found[0]["detections"][0]
    assert set(first) == {"box", "confidence", "class_id", "name"}
    assert not (tmp_path / "runs").exists()


def test_import_refuses_to_overwrite(tmp_path: Path, small_weights: Path) -> None:
    (tmp_path / "there.safetensors").write_text("mine")
    done = edgeyolo("import", small_weights, "-o", "there.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (tmp_path / "there.safetensors").read_text() == "mine"


def test_detect_writes_pictures_labels_and_json(tmp_path: Path, small_artifact: Path, photo: Path) -> None:
    options = ("--conf", "0.001", "--save-txt", "--save-json")
    for run in ("exp", "exp2"):
        done = edgeyolo("detect", small_artifact, photo, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "runs" / "detect" / run
        drawn = cv2.imread(str(folder / "photo.png"))
        assert drawn.shape == (120, 160, 3)
        assert (drawn != cv2.imread(str(photo))).any()
        saved = json.loads((folder / "detections.json").read_text())
        labels = (folder / "labels" / "photo.txt").read_text().splitlines()
        assert len(labels) == len(saved[0]["detections"]) > 0
        assert all(0 <= float(value) <= 1 for line in labels for value in line.split()[1:])
        assert {len(line.split()) for line in labels} == {5}


def test_labels_of_detect_are_labels_of_train(tmp_path: Path, small_artifact: Path, photo: Path) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    shutil.copy(photo, tmp_path / "images" / "train" / photo.name)
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat, dog, bird]\n")
    done = edgeyolo(
        "detect",
        small_artifact,
        photo,
        "--conf",
        "0.01",
        "--save-txt",
        "-o",
        tmp_path / "out",
        "--json",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "labels").mkdir()
    shutil.copytree(tmp_path / "out" / "labels", tmp_path / "labels" / "train")
    dataset = load_dataset(tmp_path / "data.yaml")
    assert {problem.kind for problem in dataset.problems} <= {"duplicate label"}, (
        "boxes clipped to the whole picture"
    )
    (sample,) = dataset.images
    (found,) = json.loads(done.stdout)
    read = {
        (k, *box) for k, box in zip(sample.class_id.tolist(), sample.boxes.round(1).tolist(), strict=True)
    }
    rows = [(item["class_id"], *np.float32(item["box"]).round(1).tolist()) for item in found["detections"]]
    assert read == set(rows)
    done = edgeyolo(
        "detect",
        small_artifact,
        photo,
        "--conf",
        "0.01",
        "--save-conf",
        "-o",
        tmp_path / "more",
        cwd=tmp_path,
    )
    lines = (tmp_path / "more" / "labels" / f"{photo.stem}.txt").read_text().splitlines()
    confidence = [item["confidence"] for item in found["detections"]]
    np.testing.assert_allclose([float(line.split()[5]) for line in lines], confidence, atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_names_that_are_not_utf8_cost_nothing(tmp_path: Path, small_artifact: Path, photo: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in (b"a.png", b"x\xff.png"):
        shutil.copy(photo, tmp_path / "in" / os.fsdecode(name))
    done = edgeyolo(
        "detect",
        small_artifact,
        tmp_path / "in",
        "--save-json",
        "--save-txt",
        "-o",
        tmp_path / "out",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "out" / "detections.json").read_text(encoding="utf-8"))
    assert [Path(each["image"]).name for each in saved] == ["a.png", "x\\xff.png"]
    assert "x\\xff.png" in done.stdout


def test_detect_on_weights_exports_once(tmp_path: Path, small_weights: Path, photo: Path) -> None:
    first = edgeyolo("detect", "--weights", small_weights, photo, "--json", cwd=tmp_path)
    again = edgeyolo("detect", "--weights", small_weights, photo, "--json", cwd=tmp_path)
    assert parsed(first) == parsed(again)
    assert "compiling" in first.stderr
    assert "compiling" not in again.stderr
    assert len(list((tmp_path / "cache" / "artifacts").glob("small-*"))) == 1


def test_a_broken_image_among_good_ones(tmp_path: Path, small_artifact: Path, photo: Path) -> None:
    (tmp_path / "a_broken.png").write_bytes(photo.read_bytes()[:200])
    done = edgeyolo("detect", small_artifact, tmp_path, "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "a_broken.png" in done.stderr
    broken, good = json.loads(done.stdout)
    assert [Path(item["image"]).name for item in (broken, good)] == ["a_broken.png", "photo.png"]
    assert broken["detections"] == []
    assert broken["error"] in done.stderr
    assert "error" not in good
    edgeyolo("detect", small_artifact, tmp_path, "--save-json", "-o", "out", cwd=tmp_path)
    assert json.loads((tmp_path / "out/detections.json").read_text()) == [broken, good]


def test_val(tmp_path: Path, small_artifact: Path) -> None:
    from edgeyolo.datasets.scenes import CLASS_NAMES, write_dataset

    data = write_dataset(tmp_path / "data", range(3), (96, 96))
    done = edgeyolo("val", small_artifact, "--data", data, "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        CLASS_NAMES[0] in done.stderr
    )  # the model knows cats and dogs: the message names what does not match
    described = json.loads(data.read_text())
    described["categories"] = [
        {"id": n, "name": name} for n, name in enumerate(("cat", "dog", "bird"), start=1)
    ]
    described["annotations"] = [
        a | {"category_id": a["category_id"] % 3 + 1} for a in described["annotations"]
    ]
    data.write_text(json.dumps(described))
    numbers = parsed(edgeyolo("val", small_artifact, "--data", data, "--json", "-o", "out", cwd=tmp_path))
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"} <= set(
        numbers
    )
    assert {"PR_curve.png", "F1_curve.png", "confusion_matrix.png"} <= {
        f.name for f in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["export", "nothing.pt", "--target", "cpu-onnx-fp32"], 2, "nothing.pt"),
        (["export", "SMALL", "--target", "cpu-onnx-fp33"], 2, "cpu-onnx-fp32"),
        (["export", "SMALL", "--target", "cpu-onnx-fp32", "--imgsz", "100"], 2, "96x96"),
        (
            ["export", "SMALL", "--target", "cpu-onnx-fp32", "--imgsz", "\u00b2"],
            2,
            "expected a number of pixels",
        ),
        (
            ["export", "SMALL", "--target", "cpu-onnx-fp32", "--batch", "9" * 5000],
            2,
            "expected a number of images",
        ),
        (
            ["export", "SMALL", "--target", "cpu-onnx-fp32", "--imgsz", "big"],
            2,
            "expected a number of pixels",
        ),
        (["export", "SMALL", "--target", "cpu-onnx-fp32", "--batch", "0"], 2, "dynamic"),
        (["detect", "SMALL"], 2, "at least one image"),
        (["detect", "ARTIFACT", "nothing.jpg"], 2, "nothing.jpg"),
        (["detect", "ARTIFACT", "photo.png", "--conf", "2"], 2, "conf"),
        (["detect", "ARTIFACT", "photo.png", "--classes", "cow"], 2, "cow"),
        (["detect", "ARTIFACT", "photo.png", "--imgsz", "64"], 2, "96x96"),
        (["detect", "ARTIFACT", "photo.png", "--hint", "speed"], 2, "throughput"),
        (["val", "ARTIFACT", "--data", "nothing.yaml"], 2, "nothing.yaml"),
        (["import", "photo.png"], 6, "photo.png"),
        (["verify", "photo.png"], 2, "artifact"),
        (["fly"], 2, "fly"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_say_what_to_do_and_have_their_codes(  # noqa: PLR0917
    tmp_path: Path,
    small_weights: Path,
    small_artifact: Path,
    photo: Path,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    names = {"SMALL": str(small_weights), "ARTIFACT": str(small_artifact)}
    before = sorted(tmp_path.rglob("*"))
    done = edgeyolo(*(names.get(word, word) for word in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_artifact_has_exit_code_6(tmp_path: Path, small_artifact: Path, photo: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(small_artifact, tmp_path / "copy"))
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert edgeyolo("detect", copy, photo, "--json", cwd=tmp_path).returncode == 6
    assert edgeyolo("verify", copy, cwd=tmp_path).returncode == 6


def test_a_failed_gate_leaves_nothing(tmp_path: Path, small_weights: Path) -> None:
    """A backend whose files compute something else: exit code 4, a table, and no artifact."""
    site = tmp_path / "site"
    (site / "wrong-1.0.dist-info").mkdir(parents=True)
    (site / "wrong-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: wrong\nVersion: 1.0\n"
    )
    (site / "wrong-1.0.dist-info" / "entry_points.txt").write_text(
        "[edgeyolo.backends]\nwrong = wrong:Wrong\n"
    )
    (site / "wrong.py").write_text(
        "from dataclasses import replace\n"
        "from edgeyolo_onnxruntime import OnnxruntimeBackend\n"
        "from edgeyolo.artifact.target import Target\n"
        "class Wrong(OnnxruntimeBackend):\n"
        "    name = 'wrong'\n"
        "    profiles = (replace(OnnxruntimeBackend().profiles[0], target=Target('cpu', 'wrong', 'fp32')),)\n"
        "    def open(self, artifact, *, threads=None):\n"
        "        session = super().open(artifact, threads=threads)\n"
        "        run = session.run\n"
        "        session.run = lambda batch: {n: m * 1.01 for n, m in run(batch).items()}\n"
        "        return session\n"
    )
    done = process(
        "export", small_weights, "--target", "cpu-wrong-fp32", "-o", "out", cwd=tmp_path, PYTHONPATH=str(site)
    )
    assert done.returncode == 4, done.stderr
    assert "p3" in done.stderr
    assert "outside" in done.stderr
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "site"] == []


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        signal.SIGTERM,
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_an_export_that_is_ended_leaves_nothing(
    tmp_path: Path, small_weights: Path, how: signal.Signals
) -> None:
    code = "from edgeyolo.cli import main; main()"
    words = ["export", str(small_weights), "--target", "cpu-onnx-fp32", "-o", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "compiling" in line:
            break
    time.sleep(0.1)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    assert not (tmp_path / "out").exists()
    assert how == signal.SIGKILL or not list(tmp_path.iterdir())
    # What a killed process could not remove is a hidden workspace, which the next export to the place clears away.
    again = edgeyolo(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'from edgeyolo.cli import main; main()' models --json | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == "["
    assert done.stderr == ""


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    for command in ("import", "export", "detect", "val"):
        done = edgeyolo(command, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert f"edgeyolo {command} " in done.stdout


def test_standard_output_is_clean_json_while_weights_are_exported(
    tmp_path: Path, small_weights: Path
) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((50, 70), 90, np.uint8))
    assert parsed(process("detect", small_weights, tmp_path / "grey.png", "--json", cwd=tmp_path))


def test_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from edgeyolo.cli.console import print_table, steps

    print_table(("install",), [("pip install 'edgeyolo[export]'",)])
    with steps() as step:
        step("reading [bold]")
    printed = capsys.readouterr()
    assert "edgeyolo[export]" in printed.out
    assert "[bold]" in printed.err


def test_a_published_name_offline_says_where_to_put_the_file(tmp_path: Path, photo: Path) -> None:
    nowhere = {"EDGEYOLO_WEIGHTS_URL": "http://127.0.0.1:9/"}  # the discard port: nothing listens
    done = process("detect", "--weights", "yolov7-tiny", photo, "--json", cwd=tmp_path, **nowhere)
    assert done.returncode == 1
    assert str(tmp_path / "cache") in done.stderr
    assert "yolov7-tiny.pt" in done.stderr
    assert "Traceback" not in done.stderr
