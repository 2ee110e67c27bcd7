"""The loss against the published numbers, and where it must be defined although there is nothing to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeyolo.training.loss.loss import ciou, distance_bound  # noqa: E402
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
