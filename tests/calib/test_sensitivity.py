"""Layers in integers one at a time, and the fewest in float for a budget: against the Q/DQ graph, by scripted AP."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("faster_coco_eval", reason="needs the eval extra")

from edgeyolo import Detector  # noqa: E402
from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.artifact.contracts import InputContract  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.backend.registry import open_calibration  # noqa: E402
from edgeyolo.cli import cli  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.errors import DamagedFileError, GateError, UnsupportedTargetError, UsageError  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo.export.options import require_calibration  # noqa: E402
from edgeyolo_calib.choice.budget import (  # noqa: E402
    CANDIDATES,
    Budget,
    require_points,
    require_reached,
    require_something_to_lose,
    search,
)
from edgeyolo_calib.choice.ledger import Ledger  # noqa: E402
from edgeyolo_calib.choice.sensitivity import Sensitivity, measure  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph  # noqa: E402
from edgeyolo_calib.quantize import rules as rules_module  # noqa: E402
from edgeyolo_calib.quantize import schemes  # noqa: E402
from edgeyolo_calib.quantize.qdq import quantize  # noqa: E402
from edgeyolo_calib.quantize.rules import NAIVE_ONNXRUNTIME, NAIVE_TENSORRT, ONNXRUNTIME, TENSORRT, Rules  # noqa: E402
from edgeyolo_calib.quantize.schemes import CANDIDATES as CANDIDATE_SCHEMES  # noqa: E402
from edgeyolo_calib.quantize.schemes import CLEARLY, best_scheme, named, settle_scheme  # noqa: E402
from edgeyolo_calib.quantize.simulate import rounded_weights  # noqa: E402
from edgeyolo_calib.quantize.variants import Compared, Variants, opened  # noqa: E402
from edgeyolo_calib.ranges.measured import ChosenImages  # noqa: E402
from edgeyolo_calib.ranges.observe import observe  # noqa: E402
from edgeyolo_calib.ranges.ranges import Scheme  # noqa: E402

IMAGES = 2  # that errors are measured on


@pytest.fixture(scope="module")
def contract(small_artifact: Path) -> InputContract:
    return Artifact.open(small_artifact).manifest.input


@pytest.fixture(
    scope="module",
    params=[ONNXRUNTIME, pytest.param(TENSORRT, marks=pytest.mark.slow)],
    ids=lambda rules: rules.name,
)
def rules(request: pytest.FixtureRequest) -> Rules:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def variants(
    small_artifact: Path, contract: InputContract, calibration: CalibrationSource, rules: Rules
) -> Variants:
    model = small_artifact / "model.onnx"
    statistics = observe(model, contract, calibration)
    return Variants(Graph(onnx.load(str(model))), statistics, rules, rules.scheme)


@pytest.fixture(scope="module")
def compared(variants: Variants, contract: InputContract, calibration: CalibrationSource) -> Compared:
    return Compared.take(variants.graph, calibration, contract, IMAGES)


@pytest.fixture(scope="module")
def sensitivity(variants: Variants, compared: Compared) -> Sensitivity:
    return measure(variants, compared, None, Ledger(None, {}))


def test_the_simulation_errs_as_the_graph_with_quantizers_does(
    variants: Variants, compared: Compared, rules: Rules
) -> None:
    for floats in ((), variants.layers[:3]):
        made = quantize(variants.graph.model, variants.statistics, rules, floats=floats).model
        assert compared.error(variants.without(floats)) == pytest.approx(compared.error(made), rel=0.25)
    assert compared.error(variants.without(variants.layers)) == pytest.approx(0, abs=1e-6)
    assert compared.error(variants.graph.model) == 0


@pytest.mark.parametrize("naive", [NAIVE_ONNXRUNTIME, NAIVE_TENSORRT], ids=lambda rules: rules.name)
def test_raw_maps_are_rounded_where_the_rules_say_so(
    naive: Rules, variants: Variants, compared: Compared
) -> None:
    whole = Variants(variants.graph, variants.statistics, naive, naive.scheme).without(())
    with opened(whole) as session:
        maps = session.run(compared.batches[0])
    assert list(maps) == list(variants.graph.outputs)
    for name, values in maps.items():
        assert len(np.unique(values)) <= 256, name


def test_every_layer_errs_and_no_one_more_than_all(variants: Variants, sensitivity: Sensitivity) -> None:
    found = sensitivity
    errors = [layer.error for layer in found.layers]
    assert len(errors) == len(variants.layers) > 10
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0
    assert errors[0] < 1.5 * found.whole.error
    assert all(layer.lost is None for layer in found.layers)


class _Scripted:
    """A judge whose losses are given, one for each network that it is shown."""

    def __init__(self, losses: Sequence[float]) -> None:
        self.losses = list(losses)

    def lost(self, _: onnx.ModelProto) -> list[float]:
        points = self.losses.pop(0)
        return [points, points - 0.1, points + 0.1, 0.95]


Searched = Callable[[Sequence[float]], Budget]


@pytest.fixture
def searched(variants: Variants, compared: Compared, sensitivity: Sensitivity) -> Searched:
    """The search for a loss of at most 0.3 points, with losses that are given."""

    def found(losses: Sequence[float]) -> Budget:
        judge: Any = _Scripted(losses)
        return search(variants, compared, judge, Ledger(None, {}), sensitivity=sensitivity, points=0.3)

    return found


def test_layers_are_taken_until_the_budget_is_met(
    variants: Variants, compared: Compared, sensitivity: Sensitivity, searched: Searched
) -> None:
    found = searched([1.0, 0.8, 0.3001, 0.3])
    assert found.reached
    require_reached(found)
    assert [step.lost.points for step in found.steps] == [0.8, 0.3001, 0.3]
    assert len(set(found.floats)) == 3
    errors = [step.error for step in found.steps]
    assert errors == sorted(errors, reverse=True)
    tried = [layer.name for layer in sensitivity.layers][:CANDIDATES]
    assert found.floats[0] == min(tried, key=lambda name: compared.error(variants.without([name])))


@pytest.mark.parametrize(("points", "refused"), [(-0.01, True), (0.0, False), (100.0, False), (100.1, True)])
def test_a_budget_is_a_number_of_ap_points(points: float, refused: bool) -> None:
    with pytest.raises(UsageError, match="from 0 to 100") if refused else nullcontext():
        require_points(points)


@pytest.mark.parametrize(("ap", "refused"), [(0.003, True), (0.0031, False), (None, True)])
def test_a_budget_that_cannot_be_missed_is_refused(ap: float | None, refused: bool) -> None:
    judge = SimpleNamespace(exact=SimpleNamespace(metrics={"AP": ap}), dataset=SimpleNamespace(name="scenes"))
    with pytest.raises(GateError, match="cannot be missed") if refused else nullcontext():
        require_something_to_lose(judge, Ledger(None, {}), 0.3)  # type: ignore[arg-type]


def test_nothing_is_taken_where_nothing_is_lost(searched: Searched) -> None:
    found = searched([0.3])
    assert found.reached
    assert found.floats == ()


@pytest.mark.slow
def test_a_budget_that_cannot_be_met_says_what_was_reached(variants: Variants, searched: Searched) -> None:
    found = searched([1.0] * 100)
    assert not found.reached
    assert len(found.steps) == len(variants.layers) // 3
    with pytest.raises(GateError, match=r"1\.00 points lost with \d+ layers in float, 0\.3 allowed"):
        require_reached(found)


def test_measurements_are_kept_and_only_for_what_they_were_made_on(tmp_path: Path) -> None:
    path, calls = tmp_path / "kept.json", []

    def value() -> float:
        calls.append(1)
        return 0.5

    assert Ledger(path, {"graph": "a"}).of("x", value) == 0.5
    assert Ledger(path, {"graph": "a"}).of("x", value) == 0.5
    assert len(calls) == 1
    assert "x" not in Ledger(path, {"graph": "b"})
    path.write_text("{")
    with pytest.raises(DamagedFileError, match="not JSON"):
        Ledger(path, {})


@pytest.fixture(scope="module")
def labelled(small_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures labelled with what the float network sees: its AP is near 1, and every deviation costs some."""
    folder = tmp_path_factory.mktemp("labelled")
    images, annotations = [], []
    with Detector(small_artifact, conf=0.3) as detector:
        for number, seed in enumerate(range(300, 306)):
            picture = make_scene(seed).image
            cv2.imwrite(str(folder / f"{seed}.png"), picture)
            height, width = picture.shape[:2]
            images.append({"id": number, "file_name": f"{seed}.png", "height": height, "width": width})
            for found in detector(picture):
                x1, y1, x2, y2 = (float(each) for each in found.box)
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": number, "category_id": found.class_id + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0,
                    }
                )  # fmt: skip
    assert annotations
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(("cat", "dog", "bird"))]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(data))
    return folder / "labels.json"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calib")
    for seed in range(200, 204):
        cv2.imwrite(str(folder / f"{seed}.png"), make_scene(seed).image)
    return folder


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.mark.slow
def test_layers_found_for_a_budget_stay_in_float_in_the_artifact(
    small_weights: Path, pictures: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the rules as they are this network loses nothing.
    coarse = replace(rules_module.ONNXRUNTIME, per_channel=False, even_sums=False)
    monkeypatch.setattr(rules_module, "ONNXRUNTIME", coarse)
    common = ("--calib", pictures, "--data", labelled, "--json")
    everything = run(
        "calibrate", small_weights, *common, "--sensitivity", "--ap-layers", 1, "-o", tmp_path / "c"
    )
    whole = json.loads(everything)["sensitivity"]
    assert whole["reference"] > 0.2, whole
    assert whole["layers"][0]["lost"]["points"] is not None
    assert whole["layers"][1]["lost"] is None
    lost = whole["whole"]["lost"]["points"]
    assert lost > 0
    assert (tmp_path / "c" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")

    budget = 0.8 * lost
    try:
        found = json.loads(
            run("calibrate", small_weights, *common, "--ap-budget", budget, "-o", tmp_path / "c")
        )
    except GateError as error:
        pytest.fail(str(error))
    floats = found["sensitivity"]["budget"]["floats"]
    assert floats
    assert found["sensitivity"]["budget"]["lost"]["points"] <= budget
    run(
        "export",
        small_weights,
        "--target",
        "cpu-onnx-int8",
        "--ranges",
        tmp_path / "c/ranges.json",
        "-o",
        tmp_path / "a",
    )
    artifact = Artifact.open(tmp_path / "a")
    assert artifact.manifest.calibration is not None
    assert list(artifact.manifest.calibration["floats"]) == floats
    assert set(floats) <= set(json.loads((tmp_path / "a/calibration.json").read_text())["floats"])
    graph = onnx.load(str(artifact.file(".onnx"))).graph
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    integer = [node for node in convolutions if makers.get(node.input[1]) is not None]
    assert 0 < len(integer) < len(convolutions) - len(floats)

    # The same by one command, and the same bytes.
    run("export", small_weights, "--target", "cpu-onnx-int8", "--calib", pictures, "--data", labelled,
        "--ap-budget", budget, "--max-ap-drop", 100, "-o", tmp_path / "b")  # fmt: skip
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()


@pytest.mark.slow
def test_corrected_labels_are_measured_on_again(
    small_weights: Path, pictures: Path, labelled: Path, tmp_path: Path
) -> None:
    """In the same folder, with the measurements of the run before still in it."""
    folder = Path(shutil.copytree(labelled.parent, tmp_path / "labelled"))

    def lost() -> float:
        report = run(
            "calibrate", small_weights, "--calib", pictures, "--data", folder / labelled.name, "--sensitivity",
            "--ap-layers", 1, "--json", "-o", tmp_path / "c",
        )  # fmt: skip
        return float(json.loads(report)["sensitivity"]["whole"]["lost"]["points"])

    before = lost()
    labels = json.loads(labelled.read_text())
    labels["annotations"] = labels["annotations"][::2]
    (folder / labelled.name).write_text(json.dumps(labels))
    assert lost() != before


def test_a_target_that_would_forget_them_refuses(
    small_weights: Path, pictures: Path, labelled: Path, tmp_path: Path
) -> None:
    from edgeyolo.datasets import load_dataset

    options = ExportOptions(
        calibration=open_calibration(str(pictures), images=4), data=load_dataset(labelled), ap_budget=0.3
    )
    with pytest.raises(UnsupportedTargetError, match="cannot leave single layers in float"):
        export(small_weights, "ane-coreml-int8", tmp_path / "a", options)
    with pytest.raises(UsageError, match="labelled images"):
        run("calibrate", small_weights, "--calib", pictures, "--ap-budget", 1)
    with pytest.raises(UsageError, match="no rules"):
        run("calibrate", small_weights, "--calib", pictures, "--target", "ane-coreml-int8")


def test_the_edge_tpu_says_why_it_has_no_budget(
    small_weights: Path, pictures: Path, labelled: Path, tmp_path: Path
) -> None:
    from edgeyolo.backend.registry import find_target

    reason = "cuts a network once: all behind the first float layer"
    with pytest.raises(UnsupportedTargetError, match=reason) as caught:
        run("calibrate", small_weights, "--calib", pictures, "--target", "edgetpu-tflite-int8",
            "--data", labelled, "--ap-budget", 1, "-o", tmp_path / "c")  # fmt: skip
    assert "cpu-tflite-int8" in (caught.value.hint or "")
    assert not (tmp_path / "c").exists()
    profile, _ = find_target("edgetpu-tflite-int8")
    chosen = ChosenImages(open_calibration(str(pictures), images=4), tmp_path / "ranges.json", ("layer",))
    with pytest.raises(UnsupportedTargetError, match=f"1 layers should stay in float.*{reason}"):
        require_calibration(profile, ExportOptions(calibration=chosen))


def test_arrays_are_taken_apart_by_image(compared: Compared) -> None:
    assert sum(len(batch) for batch in compared.batches) == IMAGES
    assert all(np.isfinite(each).all() for maps in compared.maps for each in maps)


def test_the_method_that_errs_least_is_taken_and_said(  # noqa: PLR0917
    variants: Variants, compared: Compared, rules: Rules, contract: InputContract, calibration: CalibrationSource,
    small_artifact: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rounded: list[Rules] = []
    monkeypatch.setattr(
        schemes, "rounded_weights", lambda *asked: rounded.append(asked[1]) or rounded_weights(*asked)
    )
    best, tried = best_scheme(variants.graph, variants.statistics, rules, compared, 1.0)
    assert len(rounded) == 1  # seconds, and the same for all ways to choose ranges
    assert set(tried) == {named(scheme) for scheme in CANDIDATE_SCHEMES}
    enough = [error <= CLEARLY * min(tried.values()) for error in tried.values()]
    assert list(tried)[enough.index(True)] == named(best)
    fresh = replace(variants.statistics, scheme=None, tried={})
    model = small_artifact / "model.onnx"
    settled = settle_scheme(model, contract, fresh, rules, calibration)
    assert fresh.scheme == settled
    assert fresh.tried
    asked = replace(fresh, scheme=Scheme("minmax"))
    assert settle_scheme(model, contract, asked, rules, calibration) == Scheme("minmax")
    plain = replace(variants.statistics, scheme=None, tried={})
    naive = replace(rules, search=False, scheme=Scheme("entropy"))
    assert settle_scheme(model, contract, plain, naive, calibration) == Scheme("entropy")
    assert not plain.tried


@pytest.mark.slow
def test_nncf_leaves_the_same_layers_in_float(
    small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    pytest.importorskip("nncf")
    ov = pytest.importorskip("openvino")
    layers = ("backbone.0.elan.twins.0.chain.0.act/Mul_14", "backbone.1.elan.twins.0.chain.0.act/Mul_31")

    def integers(floats: tuple[str, ...], name: str) -> int:
        chosen = ChosenImages(calibration, tmp_path / "none.json", floats)
        artifact = export(
            small_weights, "cpu-openvino-int8", tmp_path / name, ExportOptions(calibration=chosen)
        )
        operators = ov.Core().read_model(str(artifact.file(".xml"))).get_ordered_ops()
        constants = [node for node in operators if node.get_type_name() == "Constant"]
        return sum(node.get_element_type() == ov.Type.i8 for node in constants)

    every = integers((), "all")
    assert every > len(layers)
    assert integers(layers, "mixed") == every - len(layers)
    with pytest.raises(UnsupportedTargetError, match="no such tensor"):
        integers(("nowhere",), "none")


@pytest.mark.slow
def test_litert_leaves_the_layers_of_a_budget_in_float(
    small_weights: Path, pictures: Path, labelled: Path, tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch", reason="needs the tflite extra")
    from edgeyolo.datasets import load_dataset
    from edgeyolo_tflite import flatbuffer

    data, images = load_dataset(labelled), open_calibration(str(pictures), images=4)

    def floats(options: ExportOptions, name: str) -> tuple[Artifact, int]:
        artifact = export(small_weights, "cpu-tflite-int8", tmp_path / name, options)
        model = flatbuffer.read(artifact.file(".tflite").read_bytes())
        given = [
            flatbuffer.tensors(model, operator.outputs)[0]
            for kind, operator in flatbuffer.operators(model)
            if kind == "CONV_2D"
        ]
        return artifact, sum(flatbuffer.TYPES[tensor.type] == "FLOAT32" for tensor in given)

    _, heads = floats(ExportOptions(calibration=images, unjudged=True), "whole")
    assert heads == 3
    common = ("--calib", pictures, "--data", labelled, "--target", "cpu-tflite-int8", "--json")
    report = json.loads(
        run("calibrate", small_weights, *common, "--sensitivity", "--ap-layers", 1, "-o", tmp_path / "c")
    )
    lost = report["sensitivity"]["whole"]["lost"]["points"]
    assert lost > 0
    chosen = ExportOptions(calibration=images, data=data, ap_budget=0.8 * lost, max_ap_drop=100)
    mixed, count = floats(chosen, "mixed")
    assert mixed.manifest.calibration is not None
    layers = mixed.manifest.calibration["floats"]
    assert layers
    assert count == heads + len(layers)
    with pytest.raises(GateError, match=r"the AP budget of .* points cannot be missed"):
        floats(replace(chosen, ap_budget=100), "never")
