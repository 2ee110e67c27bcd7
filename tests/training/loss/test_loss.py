"""The loss against the published numbers, and where it must be defined although there is nothing to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeyolo.training.loss.assign import Positives  # noqa: E402
from edgeyolo.training.loss.loss import DetectionLoss, ciou, distance_bound  # noqa: E402
from edgeyolo.training.loss.strategy import BOUNDED, COARSE_TO_FINE, SIMPLE, STRATEGIES  # noqa: E402


def test_golden(golden_loss: Any) -> None:
    value = golden_loss.loss(golden_loss.maps, golden_loss.targets)
    value.total.backward()
    assert value.total.item() == pytest.approx(golden_loss.data["loss"].item(), rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(value.items, golden_loss.data["items_box_obj_cls_total"], rtol=1e-5, atol=1e-5)
    for number, head in enumerate(golden_loss.maps):
        expected = golden_loss.data[f"grad{number}"]
        grad = head.grad.unflatten(1, (3, -1)).permute(0, 1, 3, 4, 2).numpy()
        assert np.abs(grad - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format_does_not_matter(channels_last: bool, golden_loss: Any) -> None:
    expected = golden_loss.loss(golden_loss.maps, golden_loss.targets)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maps = [head.detach().contiguous(memory_format=layout).requires_grad_() for head in golden_loss.maps]
    value = golden_loss.loss(maps, golden_loss.targets)
    value.total.backward()
    torch.testing.assert_close(value.items, expected.items)
    assert all(head.grad.is_contiguous(memory_format=layout) for head in maps)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize(
    "counts", [[0, 0], [0, 2], [400, 1]], ids=["no targets", "one empty image", "crowded"]
)
def test_defined_everywhere(
    counts: list[int], classes: int, strategy: Any, scene: Callable[..., Any], make_loss: Any
) -> None:
    maps, targets = scene(counts, classes=classes, heads=2, size=64)
    value = make_loss(classes, size=64, strategy=strategy)(maps, targets)
    value.total.backward()
    assert torch.isfinite(value.total)
    assert all(torch.isfinite(head.grad).all() for head in maps)
    box, objectness, cls, total = value.items.tolist()
    assert objectness > 0
    assert (box > 0) == (sum(counts) > 0)
    assert (cls > 0) == (sum(counts) > 0 and classes > 1)
    assert total == pytest.approx(box + objectness + cls)


def test_targets_on_no_level_and_of_no_size(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, _ = scene([1, 1])
    loss = make_loss()
    nothing = loss(maps, torch.zeros(0, 6)).items
    odd = torch.tensor([[0, 0, 0.5, 0.5, 0.9, 0.001], [0, 1, 0.5, 0.5, 0.0, 0.0], [1, 2, 0.2, 0.2, 1.0, 0.0]])
    torch.testing.assert_close(loss(maps, odd).items, nothing)


def test_saturated_predictions_stay_finite(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([4, 4])
    for sign in (-1, 1):
        extreme = [(torch.ones_like(head) * 200 * sign).requires_grad_() for head in maps]
        value = make_loss()(extreme, targets)
        value.total.backward()
        assert torch.isfinite(value.total)
        assert all(torch.isfinite(head.grad).all() for head in extreme)


def test_order_of_the_labels_matters_only_where_cells_are_shared(
    scene: Callable[..., Any], make_loss: Any
) -> None:
    maps, targets = scene([3, 2, 4], seed=3)
    loss = make_loss()
    torch.testing.assert_close(loss(maps, targets).total, loss(maps, targets.flip(0)).total)


def test_later_positive_of_a_cell_wins(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, _ = scene([1])
    first, second = [0, 1, 0.51, 0.51, 0.10, 0.14], [0, 2, 0.52, 0.52, 0.12, 0.2]
    loss = make_loss(strategy=SIMPLE)
    pair = torch.tensor([first, second])
    forth, back = loss(maps, pair).items, loss(maps, pair.flip(0)).items
    assert forth[1] != back[1]
    torch.testing.assert_close(forth[[0, 2]], back[[0, 2]])


def test_options_change_what_they_should(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([5, 5])
    plain = make_loss()(maps, targets).items
    focal = make_loss(focal_gamma=1.5)(maps, targets).items
    smooth = make_loss(label_smoothing=0.1)(maps, targets).items
    positive = make_loss(obj_pw=2.0)(maps, targets).items
    assert focal[0] == plain[0] and focal[1] < plain[1] and focal[2] < plain[2]
    assert smooth[2] != plain[2] and smooth[1] == plain[1]
    assert positive[1] > plain[1] and positive[2] == plain[2]


def test_auxiliary_weight(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([5, 5], heads=2)
    lead = make_loss(top=20)(maps[:3], targets).items
    items = {weight: make_loss(auxiliary=weight)(maps, targets).items for weight in (0.0, 0.25, 0.5)}
    torch.testing.assert_close(items[0.0], lead)
    torch.testing.assert_close(items[0.5] - lead, 2 * (items[0.25] - lead))


def test_autobalance_follows_the_objectness(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([5, 5])
    loss = make_loss(autobalance=True)
    before = loss.balance.clone()
    loss(maps, targets)
    assert not torch.equal(loss.balance, before)
    assert loss.balance[1] == 1  # stride 16 is the measure
    assert "balance" in loss.state_dict()
    frozen = loss.balance.clone()
    loss.eval()(maps, targets)
    assert torch.equal(loss.balance, frozen)


def test_one_step_of_autobalance_by_hand(make_loss: Any) -> None:
    """balance' = 0.9999 balance + 0.0001 / objectness, relative to stride 16."""
    loss = make_loss(autobalance=True)
    objectness = torch.tensor([0.5, 0.02, 0.1])
    expected = 0.9999 * loss.balance + 0.0001 / objectness
    loss._rebalance(objectness)
    torch.testing.assert_close(loss.balance, expected / expected[1], rtol=0, atol=1e-7)


def test_bound_by_distance(scene: Callable[..., Any], make_loss: Any) -> None:
    offsets = torch.tensor([[0.5, 0.5], [-0.5, 0.5], [1.5, 0.2], [-0.75, 0.5], [4.0, 0.5]])
    torch.testing.assert_close(distance_bound(offsets), torch.tensor([1.0, 1.0, 1.0, 0.75, 0.0]))
    maps, targets = scene([5, 5], heads=2)
    free = make_loss(strategy=COARSE_TO_FINE)(maps, targets).items
    bounded = make_loss(strategy=BOUNDED)(maps, targets).items
    assert bounded[0] == free[0] and bounded[2] == free[2] and bounded[1] != free[1]


def test_half_precision_maps(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([5, 5])
    half = [head.detach().bfloat16().requires_grad_() for head in maps]
    value = make_loss()(half, targets)
    value.total.backward()
    assert value.items.dtype == torch.float32
    assert half[0].grad.dtype == torch.bfloat16
    rounded = [head.detach().float() for head in half]
    torch.testing.assert_close(value.items, make_loss()(rounded, targets).items)


def test_ciou_of_known_boxes() -> None:
    box = torch.tensor([[4.0, 4.0, 4.0, 2.0]])
    assert ciou(box, box).item() == pytest.approx(1)
    beside = torch.tensor([[8.0, 4.0, 4.0, 2.0]])  # touching: IoU 0, centres 4 apart, hull 8 x 2
    assert ciou(box, beside).item() == pytest.approx(-16 / 68)
    turned = torch.tensor([[4.0, 4.0, 2.0, 4.0]])  # IoU 4 / 12, same centre
    shape = 4 / np.pi**2 * (np.arctan(0.5) - np.arctan(2)) ** 2
    iou = 4 / 12
    assert ciou(box, turned).item() == pytest.approx(iou - shape**2 / (shape - iou + 1), abs=1e-6)


def test_maps_that_do_not_fit_are_refused(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([1])
    with pytest.raises(ValueError, match="expected 3 lead maps"):
        make_loss()(maps[:2], targets)
    with pytest.raises(ValueError, match="of 30 channels"):
        make_loss(classes=5)(maps, targets)


# --- options by hand ---


def some_positives(valid: tuple[bool, ...]) -> Positives:
    """Positives of image 0, level 0: as many as `valid` has values, the n-th in row n."""
    zero = torch.zeros(len(valid), dtype=torch.long)
    number = torch.arange(len(valid))
    return Positives(zero, zero, zero, number, zero, number, number, torch.tensor(valid))


def plain_bce(raw: Any, wanted: Any) -> Any:
    p = 1 / (1 + np.exp(-raw.double().numpy()))
    return -(wanted.numpy() * np.log(p) + (1 - wanted.numpy()) * np.log(1 - p))


RAW = torch.tensor([[-2.0, 0.5, 3.0], [1.0, -1.0, 0.0]])
WANTED = torch.tensor([[0.0, 1.0, 0.25], [1.0, 0.0, 0.0]])


def test_focal_loss_by_hand(make_loss: Any) -> None:
    """BCE times alpha (1/4 for what is there, 3/4 for what is not) times (1 - right)^gamma."""
    p = 1 / (1 + np.exp(-RAW.double().numpy()))
    wanted = WANTED.numpy()
    right = wanted * p + (1 - wanted) * (1 - p)
    expected = plain_bce(RAW, WANTED) * (0.25 * wanted + 0.75 * (1 - wanted)) * (1 - right) ** np.float64(1.5)
    found = make_loss(focal_gamma=1.5)._bce(RAW, WANTED, 1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weight_of_positives_by_hand(make_loss: Any) -> None:
    p = 1 / (1 + np.exp(-RAW.double().numpy()))
    wanted = WANTED.numpy()
    for weight in (0.5, 1.0, 2.0):
        expected = -(weight * wanted * np.log(p) + (1 - wanted) * np.log(1 - p))
        np.testing.assert_allclose(make_loss()._bce(RAW, WANTED, weight), expected, rtol=1e-5)


def test_class_loss_by_hand(make_loss: Any) -> None:
    """Smoothing by s asks for 1 - s/2 of the class and s/2 of the others; the mean is over valid positives."""
    for smoothing in (0.0, 0.2):
        loss = make_loss(3, label_smoothing=smoothing)
        low = smoothing / 2
        wanted = torch.tensor([[low, 1 - low, low], [1 - low, low, low]])
        each = plain_bce(RAW, wanted).mean(1)
        for valid, expected in (((True, True), each.mean()), ((False, True), each[1]), ((False, False), 0)):
            losses = loss._class_losses(RAW, torch.tensor([1, 0]))
            found = loss._level_means(losses, some_positives(valid), [2])
            assert found.tolist() == [pytest.approx(float(expected), rel=1e-5)]


def test_means_are_over_the_positives_of_all_processes(make_loss: Any) -> None:
    """With twice as many positives in the mean process, each of ours counts half."""
    loss = make_loss()
    values, found = torch.tensor([1.0, 3.0, 8.0]), some_positives((True, True, False))

    def means(sizes: list[int]) -> list[float]:
        result: list[float] = loss._level_means(values, found, sizes).tolist()
        return result

    assert (means([3]), means([1, 2]), means([2, 0, 1])) == ([2], [1, 3], [2, 0, 0])
    loss.mean_over_processes = lambda value: 2 * value
    assert means([3]) == [1]
    loss.mean_over_processes = lambda value: value / 4  # less than one a process
    assert means([3]) == [8]


@pytest.mark.parametrize(
    ("strides", "balance", "measure"),
    [
        ((8, 16, 32), (4.0, 1.0, 0.4), 1),
        ((16, 32, 8), (4.0, 1.0, 0.4), 0),
        ((8, 32, 64), (4.0, 1.0, 0.4), 0),
        ((8, 16), (4.0, 1.0), 1),
        ((8, 16, 32, 64), (4.0, 1.0, 0.25, 0.06), 1),
        ((4, 8, 16, 32, 64), (4.0, 1.0, 0.25, 0.06, 0.02), 2),
    ],
)
def test_weights_of_levels(strides: tuple[int, ...], balance: tuple[float, ...], measure: int) -> None:
    loss = DetectionLoss([[(8.0, 8.0)]] * len(strides), strides, 2)
    assert loss.balance.tolist() == pytest.approx(list(balance))
    loss._rebalance(torch.full((len(strides),), 0.5))
    assert loss.balance[measure] == 1
    assert (loss.balance == 1).sum() == 1


@pytest.mark.parametrize("levels", [3, 4])
def test_gains_are_scaled_by_levels_classes_and_size(levels: int) -> None:
    strides = (8, 16, 32, 64)[:levels]
    loss = DetectionLoss([[(8.0, 8.0)]] * levels, strides, 20, image_size=1280)
    assert loss.gains == pytest.approx((0.05 * 3 / levels, 0.7 * 4 * 3 / levels, 0.3 * 3 / levels / 4))
    loss.suit(320)
    assert loss.gains[1] == pytest.approx(0.7 / 4 * 3 / levels)
    plain = DetectionLoss([[(8.0, 8.0)]] * 3, (8, 16, 32), 80)
    assert plain.gains == pytest.approx((0.05, 0.7, 0.3))


def test_autobalance_is_off_unless_asked_for_and_of_the_lead_head(
    scene: Callable[..., Any], make_loss: Any
) -> None:
    maps, targets = scene([5, 5], heads=2)
    still = make_loss()
    still(maps, targets)
    assert still.balance.tolist() == pytest.approx([4.0, 1.0, 0.4])
    lead, both = make_loss(autobalance=True, top=20), make_loss(autobalance=True)
    lead(maps[:3], targets)
    both(maps, targets)
    assert torch.equal(lead.balance, both.balance)
    shared = make_loss(autobalance=True)
    shared.mean_over_processes = lambda value: 2 * value
    shared(maps, targets)
    assert not torch.equal(shared.balance, both.balance)


def test_one_step_of_autobalance_without_objectness_stays_finite(make_loss: Any) -> None:
    loss = make_loss(autobalance=True)
    loss._rebalance(torch.zeros(3))
    assert torch.isfinite(loss.balance).all()


@pytest.mark.parametrize(("label", "refused"), [(-1, True), (0, False), (3, False), (4, True)])
def test_classes_of_labels_end_where_the_networks_do(
    label: int, refused: bool, scene: Callable[..., Any], make_loss: Any
) -> None:
    maps, _ = scene([2])
    targets = torch.tensor([[0, 2, 0.5, 0.5, 0.2, 0.2], [0, label, 0.2, 0.2, 0.2, 0.2]])
    if refused:
        with pytest.raises(ValueError, match="expected classes 0 to 3"):
            make_loss()(maps, targets)
    else:
        assert torch.isfinite(make_loss()(maps, targets).total)


def test_as_many_ious_make_up_k_as_the_heads_ask_for(scene: Callable[..., Any], make_loss: Any) -> None:
    """10 without auxiliary heads, 20 with them, where nothing else is asked for."""
    maps, targets = scene([9, 9], heads=2, seed=2)
    assert torch.equal(make_loss()(maps[:3], targets).items, make_loss(top=10)(maps[:3], targets).items)
    assert torch.equal(make_loss()(maps, targets).items, make_loss(top=20)(maps, targets).items)
    assert not torch.equal(make_loss(top=1)(maps, targets).items, make_loss(top=20)(maps, targets).items)


@pytest.mark.parametrize("number", [2, 4, 5, 7])
def test_a_number_of_maps_between_one_head_and_two_is_refused(
    number: int, scene: Callable[..., Any], make_loss: Any
) -> None:
    maps, targets = scene([1], heads=3)
    with pytest.raises(ValueError, match="expected 3 lead maps"):
        make_loss()(maps[:number], targets)


def test_ciou_of_boxes_without_area_is_finite() -> None:
    """Points and lines, alike and apart; their gradients too."""
    boxes = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 2], [1, 1, 2, 0], [1, 1, 0, 0]], requires_grad=True)
    found = ciou(boxes, torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 2], [1, 1, 2, 0], [3, 1, 1, 1]]))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(boxes.grad).all()


def test_ciou_of_boxes_that_overlap_in_part() -> None:
    """Intersection 3 x 1, centres (1, 2) apart, a hull of 5 x 5, one box twice as wide as high and one square."""
    found = ciou(torch.tensor([[2.0, 1.0, 4.0, 2.0]]), torch.tensor([[3.0, 3.0, 4.0, 4.0]])).item()
    inter = (4 - 1) * (2 - 1)
    iou = inter / (8 + 16 - inter)
    shape = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2)) ** 2
    expected = iou - (1 + 4) / (5**2 + 5**2) - shape**2 / (shape - iou + 1)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("offset", "bound"),
    [((0.5, 1.5), 1), ((0.5, 1.75), 0.75), ((-1.0, 0.5), 0.5), ((2.5, 0.5), 0), ((0.5, -1.75), 0)],
)
def test_bound_falls_between_one_cell_and_two(offset: tuple[float, float], bound: float) -> None:
    assert distance_bound(torch.tensor([offset])).tolist() == pytest.approx([bound])
