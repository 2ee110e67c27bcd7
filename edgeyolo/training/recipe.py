"""Recipes: the hyperparameters of a training run as one frozen value.

It also has ways to change some of them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.support.reading import read_yaml
from edgeyolo.training.loss.strategy import COARSE_TO_FINE, find_strategy

OptimizerName = Literal["sgd", "adamw"]


def _value(default: Any, low: float = 0.0, high: float = math.inf) -> Any:
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a run; the defaults are those of `P5`.

    Learning rates are those of `optimizer` at the nominal batch; `lrf` is the last one as a fraction of `lr0`,
    `momentum` AdamW's first beta. ema_decay: of the averaged weights, reached after some ema_warmup steps. Gains:
    `box`, `obj`, `cls` (see DetectionLoss). `hsv_*`, `scale` and `translate` are fractions, `degrees` and `shear`
    degrees, the rest of the augmentation probabilities (`mosaic9`: that a mosaic is of nine images; `paste_in`: that
    objects are pasted). plain_epochs: the last epochs, without mosaic, mixup and paste-in.
    """

    name: str = "p5"
    optimizer: OptimizerName = "sgd"
    lr0: float = _value(0.01)
    lrf: float = _value(0.1, 0, 1)
    momentum: float = _value(0.937, 0, 1)
    weight_decay: float = _value(0.0005)
    nominal_batch: int = _value(64, 1)
    warmup_epochs: float = _value(3.0)
    warmup_iterations: int = _value(1000)
    warmup_momentum: float = _value(0.8, 0, 1)
    warmup_bias_lr: float = _value(0.1)
    ema_decay: float = _value(0.9999, 0, 1)
    ema_warmup: float = _value(2000.0, 1)
    box: float = _value(0.05)
    cls: float = _value(0.3)
    cls_pw: float = _value(1.0)
    obj: float = _value(0.7)
    obj_pw: float = _value(1.0)
    anchor_t: float = _value(4.0, 1)
    fl_gamma: float = _value(0.0)
    label_smoothing: float = _value(0.0, 0, 1)
    autobalance: bool = _value(False, 0, 1)
    auxiliary: float = _value(0.25)
    strategy: str = COARSE_TO_FINE.name
    hsv_h: float = _value(0.015, 0, 1)
    hsv_s: float = _value(0.7, 0, 1)
    hsv_v: float = _value(0.4, 0, 1)
    degrees: float = _value(0.0, 0, 180)
    translate: float = _value(0.2, 0, 1)
    scale: float = _value(0.9, 0, 1)
    shear: float = _value(0.0, 0, 90)
    perspective: float = _value(0.0, 0, 0.001)
    flipud: float = _value(0.0, 0, 1)
    fliplr: float = _value(0.5, 0, 1)
    mosaic: float = _value(1.0, 0, 1)
    mosaic9: float = _value(0.2, 0, 1)
    mixup: float = _value(0.15, 0, 1)
    mixup_alpha: float = _value(8.0, 0.01)
    copy_paste: float = _value(0.0, 0, 1)
    paste_in: float = _value(0.15, 0, 1)
    paste_in_objects: int = _value(30)
    plain_epochs: int = _value(0)

    def __post_init__(self) -> None:
        find_strategy(self.strategy)
        if self.optimizer not in get_args(OptimizerName):
            known = ", ".join(get_args(OptimizerName))
            raise UsageError(f"recipe: optimizer={self.optimizer!r}: expected one of {known}")
        for item in fields(self):
            if "range" not in item.metadata:
                continue
            (low, high), value = item.metadata["range"], getattr(self, item.name)
            if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
                raise UsageError(f"recipe: {item.name}={value!r}: expected a number from {low:g} to {high:g}")

    def to_dict(self) -> dict[str, Any]:
        """Name to value, as `from_dict` takes them."""
        return asdict(self)


P5 = Recipe()
P6 = replace(P5, name="p6", lrf=0.2)
TINY = replace(
    P5, name="tiny", lrf=0.01, cls=0.5, obj=1.0, translate=0.1, scale=0.5, mixup=0.05, paste_in=0.05
)
CUSTOM = replace(P5, name="custom", scale=0.5, mixup=0.0, paste_in=0.0)
# From scratch in one to three thousand steps: SGD, its warm-up and an average over thousands of steps have hardly begun
# to work by then. Blood cells, 205 pictures at 256 pixels, with flipud=0.5: AP 0.540 after 2,600 such steps; SGD
# at 0.03 had 0.42 after 1,500, and 0.50 after 4,200 on growing pictures.
SHORT = replace(
    TINY, name="short", optimizer="adamw", lr0=0.002, momentum=0.9, weight_decay=0.02, nominal_batch=8,
    warmup_epochs=0.0, warmup_iterations=100, warmup_bias_lr=0.0, ema_decay=0.995, ema_warmup=50.0, mixup=0.0,
    paste_in=0.0, plain_epochs=12,
)  # fmt: skip
# Quantization-aware: the network is trained already, and a change of its weights by a thousandth moves its maps as far
# as the roundings do. Steps are tiny, and pictures nearly those of the camera: roundings of colours that it never sees
# are not worth learning. Gradients of the roundings are large and point anywhere: two epochs of distillation alone took
# SGD at 2e-4 to 1.7 times the distance from the float network that it began with, and AdamW at 1e-5 to 0.9 times (blood
# cells, validation pictures).
QAT = replace(
    P5, name="qat", optimizer="adamw", lr0=1e-5, lrf=0.01, nominal_batch=8, warmup_epochs=0.5, warmup_iterations=0,
    warmup_bias_lr=0.0, ema_decay=0.99, ema_warmup=20.0, hsv_h=0.005, hsv_s=0.2, hsv_v=0.1, scale=0.2, translate=0.1,
    mosaic=0.0, mosaic9=0.0, mixup=0.0, paste_in=0.0,
)  # fmt: skip
RECIPES = (P5, P6, TINY, CUSTOM, SHORT, QAT)

# Keys of published files: one that never had an effect, and one that chooses the assignment.
_WITHOUT_EFFECT = "iou_t"
_DYNAMIC = "loss_ota"


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`: p5, p6, tiny, custom, short or qat."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    known = ", ".join(recipe.name for recipe in RECIPES)
    raise UsageError(f"recipe {name!r}: expected one of {known}, or a YAML file")


def recipe_for(network: str, *, fine_tuning: bool = False) -> Recipe:
    """The recipe that the paper's authors used for a network, by its number of levels."""
    if fine_tuning:
        return CUSTOM
    if "-tiny" in network:
        return TINY
    return P5 if network in specs.known() and specs.find(network).levels == 3 else P6


def change(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some values replaced.

    An unknown name or a value out of range is a UsageError.
    """
    known = {item.name: item for item in fields(Recipe)}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
            raise UsageError(f"recipe: {key!r} is not a hyperparameter", hint=hint)
        values[key] = _convert(known[key], value)
    return replace(recipe, **values)


def change_by_text(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The same from command-line settings such as "box=0.05"."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UsageError(f"setting {setting!r}: expected name=value, for example box=0.05")
        values[key.strip()] = value.strip()
    return change(recipe, values)


def read_recipe(path: str | Path, base: Recipe = P5) -> Recipe:
    """A recipe from a YAML file of name: value lines.

    `base` (also a key of the file) gives what it leaves out.

    Published hyperparameter files work as they are: their `loss_ota: 0` means the strategy "simple".
    """
    file = Path(path)
    content = read_yaml(file, error=UsageError)
    if not isinstance(content, dict):
        raise UsageError(f"recipe {file}: expected lines of name: value, found {type(content).__name__}")
    values = {str(key): value for key, value in content.items() if key != _WITHOUT_EFFECT}
    base = find_recipe(str(values.pop("base"))) if "base" in values else base
    if not values.pop(_DYNAMIC, 1):
        values.setdefault("strategy", "simple")
    values.setdefault("name", file.stem)
    return change(base, values)


def _convert(item: Field[Any], value: Any) -> Any:
    """A value of the field's type from text or YAML; a whole number stays one."""
    kind: Any = type(item.default)
    try:
        if kind is bool:
            return _BOOLEANS[str(value).lower()]
        if kind is int:
            return int(value) if float(value).is_integer() else float("nan")
        if kind is float:
            return float(value)
        return str(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"recipe: {item.name}={value!r}: expected {expected}") from None


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
