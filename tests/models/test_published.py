"""Published state dicts, recognised by their shapes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.errors import DamagedFileError, EdgeYoloError  # noqa: E402
from edgeyolo.models import specs  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.published import recognise  # noqa: E402

State = dict[str, Any]


@pytest.fixture
def published(published_shapes: Callable[..., Any]) -> Callable[..., State]:
    """(model, form, classes) -> a published state dict without weights (on "meta"), anchors filled in."""

    def make(name: str, form: str, classes: int = 80) -> State:
        state: State = {}
        for key, shape in published_shapes(name, form).items():
            sized = tuple(3 * (5 + classes) if side == 255 else side for side in shape)
            state[key] = torch.empty(sized, device="meta")
        spec = specs.get(name)
        pixels = torch.tensor(spec.anchors)
        head = next(key for key in state if key.endswith(".anchors")).removesuffix(".anchors")
        state[f"{head}.anchor_grid"] = pixels.reshape(spec.levels, 1, 3, 1, 1, 2)
        state[f"{head}.anchors"] = pixels / torch.tensor(spec.strides).reshape(-1, 1, 1)
        return state

    return make


def _fused(state: State) -> State:
    """Remains of the published code's own fusion: convolutions with bias under their old names."""
    fused: State = {}
    for key, value in state.items():
        if ".rbr_dense.0." in key:
            stem = key.partition(".rbr_dense")[0]
            fused |= {f"{stem}.rbr_reparam.weight": value, f"{stem}.rbr_reparam.bias": value[:, 0, 0, 0]}
        elif key.endswith("conv.weight"):
            fused |= {key: value, key.replace("weight", "bias"): value[:, 0, 0, 0]}
        elif ".bn." not in key and ".rbr_" not in key:
            fused[key] = value
    return fused


@pytest.mark.parametrize("classes", [1, 365])
def test_every_model_form_and_class_count_is_recognised(
    case: tuple[str, str], classes: int, published: Callable[..., State]
) -> None:
    name, form = case
    found = recognise(published(name, form, classes), activation=specs.get(name).act)
    assert (found.spec, found.form, found.classes) == (specs.get(name), form, classes)
    network = build(found.spec, found.classes, found.form, device="meta")
    learned = {key: value.shape for key, value in network.state_dict().items() if "num_batches" not in key}
    assert {key: value.shape for key, value in found.state.items()} == learned


def test_recognising_takes_less_than_two_seconds(published: Callable[..., State]) -> None:
    state = published("yolov7-e6e", "training")
    start = time.process_time()
    recognise(state)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("name", ["yolov7-tiny", "yolov7", "yolov7-e6"])
def test_a_fused_state_dict_is_the_plain_form(name: str, published: Callable[..., State]) -> None:
    found = recognise(_fused(published(name, "deploy", 20)))
    assert (found.spec, found.form, found.classes) == (specs.get(name), "plain", 20)


def test_order_and_prefix_do_not_matter(case: tuple[str, str], published: Callable[..., State]) -> None:
    """Each entry is one number repeated, so that a mix-up of entries of equal shape would show."""
    items = list(published(*case).items())
    numbered = {
        key: torch.tensor(float(number)).expand(value.shape) if value.is_meta else value
        for number, (key, value) in enumerate(items)
    }
    random.Random(0).shuffle(items)
    shuffled = {f"module.{key}": numbered[key] for key, _ in items}
    expected, found = recognise(numbered), recognise(shuffled)
    assert found.spec == expected.spec
    assert {k: v.flatten()[0].item() for k, v in found.state.items()} == {
        k: v.flatten()[0].item() for k, v in expected.state.items()
    }


def test_values_become_float32(filled: Callable[..., State]) -> None:
    state = filled("yolov7-tiny", "training")
    expected = recognise(state).state
    for dtype in (torch.float16, torch.float64):
        found = recognise({key: value.to(dtype) for key, value in state.items()}).state
        assert {value.dtype for value in found.values()} == {torch.float32}
        assert all(torch.equal(found[key], value.to(dtype).float()) for key, value in expected.items())


def test_networks_of_equal_shapes_are_told_by_their_activation(published: Callable[..., State]) -> None:
    state = published("yolov7-tiny", "deploy")
    assert recognise(state).spec.name == "yolov7-tiny"
    assert recognise(state, activation="leaky_relu").spec.name == "yolov7-tiny"
    assert recognise(state, activation="silu").spec.name == "yolov7-tiny-silu"


def test_an_unusual_activation_is_kept(published: Callable[..., State]) -> None:
    found = recognise(published("yolov7", "deploy"), activation="leaky_relu")
    assert (found.spec.name, found.spec.act) == ("yolov7", "leaky_relu")


@pytest.mark.parametrize("kind", ["anchor_grid", "anchors"])
def test_the_anchors_are_the_files(kind: str, published: Callable[..., State]) -> None:
    state = {k: v for k, v in published("yolov7-w6", "deploy").items() if "anchor" not in k}
    pixels = torch.arange(1, 25, dtype=torch.float32).reshape(4, 3, 2) * 2
    if kind == "anchors":
        state["model.118.anchors"] = (pixels / torch.tensor([8, 16, 32, 64]).reshape(-1, 1, 1)).half()
    else:
        state["model.118.anchor_grid"] = pixels.reshape(4, 1, 3, 1, 1, 2).half()
    anchors = recognise(state).anchors
    assert anchors == tuple(tuple((w, h) for w, h in level) for level in pixels.tolist())


def test_without_anchors_the_networks_own_are_taken(published: Callable[..., State]) -> None:
    state = {k: v for k, v in published("yolov7", "training").items() if "anchor" not in k}
    assert recognise(state).anchors == specs.get("yolov7").anchors


def test_another_number_of_anchors(published: Callable[..., State]) -> None:
    state = published("yolov7-tiny", "deploy")
    state = {
        key: torch.empty((2 * 85, *value.shape[1:]), device="meta") if value.shape[:1] == (255,) else value
        for key, value in state.items()
    }
    state["model.77.anchor_grid"] = torch.ones(3, 1, 2, 1, 1, 2)
    found = recognise(state)
    assert (found.classes, found.anchors) == (80, (((1.0, 1.0),) * 2,) * 3)


@pytest.mark.parametrize("values", [torch.zeros(3, 3, 2), torch.full((3, 3, 2), torch.nan), torch.ones(3, 3)])
def test_anchors_that_cannot_be_are_refused(values: Any, published: Callable[..., State]) -> None:
    state = {k: v for k, v in published("yolov7", "deploy").items() if "anchor" not in k}
    with pytest.raises(DamagedFileError, match="anchors"):
        recognise(state | {"model.105.anchors": values})


def _cut(state: State) -> State:
    return {key: value for key, value in state.items() if key != "model.105.m.2.bias"}


def _wider(state: State) -> State:
    return state | {"model.24.conv.weight": torch.empty(48, 8, 1, 1, device="meta")}


def _longer(state: State) -> State:
    return state | {"model.200.conv.weight": torch.empty(8, 8, 1, 1, device="meta")}


def _renamed(state: State) -> State:
    return {
        key.replace("model.30.bn.running_mean", "model.30.bn.mean"): value for key, value in state.items()
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _wider,
            r"nearest is yolov7 in training form.*model\.24\.conv\.weight is \(48, 8, 1, 1\), expected a weight",
        ),
        (_cut, r"nearest is yolov7 in training form.*it ends after \d+ entries, expected"),
        (
            _longer,
            r"nearest is yolov7 in training form.*model\.200\.conv\.weight is .* expected nothing more",
        ),
        (_renamed, r"nearest is yolov7 in training form.*model\.30\.bn\.mean"),
    ],
)
def test_foreign_network_is_refused_by_its_first_difference(
    change: Callable[[State], State], message: str, published: Callable[..., State]
) -> None:
    with pytest.raises(EdgeYoloError, match=message) as caught:
        recognise(change(published("yolov7", "training")))
    assert "edgeyolo models" in caught.value.hint


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "no detection output"),
        ({"layer1.0.conv1.weight": (64, 64, 3, 3)}, "no detection output"),
        (
            {"backbone.weight": (64, 64, 3, 3)},
            r"'backbone\.weight': expected keys such as model\.0\.conv\.weight",
        ),
        ({"model.9.m.0.weight": (16, 64, 1, 1)}, r"expected 3 \* \(5 \+ classes\) channels, found 16"),
        ({"model.9.m.0.weight": (15, 64, 1, 1)}, r"expected 3 \* \(5 \+ classes\) channels, found 15"),
        ({"model.9.m.0.weight": (3 * 10**6, 64, 1, 1)}, "found 3000000"),
    ],
)
def test_other_networks_are_refused(state: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(EdgeYoloError, match=message):
        recognise({key: torch.empty(shape, device="meta") for key, shape in state.items()})
