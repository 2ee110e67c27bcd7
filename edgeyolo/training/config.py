"""Configuration of a training run besides the recipe.

It is a frozen value that goes into its state and its weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.training.data.pictures import Cache
from edgeyolo.training.recipe import Recipe

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainConfig:
    """A run's settings.

    batch_size: images of an iteration, all processes together; 0 to choose it by memory when the run begins (see
    settle_batch). image_size: pixels, a multiple of the largest stride. precision: of the forward pass; weights and
    loss stay float32. clip: largest norm of the gradient, 0 for no limit. freeze: beginnings of module names.
    multi_scale: image sizes from 0.5 to 1.5 of image_size. image_weights: draw pictures of weak classes more often.
    class_aware: draw a class first, all alike, then one of its pictures. patience: epochs without a better fitness
    until the run ends, 0 for never. rect: validate in rectangular batches. rect_train: learn in such batches too,
    without mosaics, from pictures of like shapes. save_minutes: how much a crash may cost; each epoch's end is saved
    anyway. first_size: pictures grow from this to image_size over the run (see Phases), 0 for one size; validation is
    at image_size. albumentations: a file with a pipeline that every picture goes through too
    (`load_albumentations`), "" for none. compile: torch.compile the network; see CompiledForward for what that costs.
    """

    epochs: int = 300
    batch_size: int = 16
    image_size: int = 640
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "fp32"
    channels_last: bool = True
    workers: int = 0
    cache: Cache = "none"
    clip: float = 0.0
    freeze: tuple[str, ...] = ()
    multi_scale: bool = False
    image_weights: bool = False
    class_aware: bool = False
    patience: int = 0
    rect: bool = False
    rect_train: bool = False
    validate_every: int = 1
    save_minutes: float = 10.0
    first_size: int = 0
    albumentations: str = ""
    compile: bool = False

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 0), ("image_size", 1), ("validate_every", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)}: expected at least {least}")
        if self.image_weights and self.class_aware:
            raise UsageError("image_weights and class_aware: expected one way of drawing pictures, got two")
        if self.rect_train and self.multi_scale:
            raise UsageError("rect_train and multi_scale: expected one way of choosing sizes, got two")
        for name, known in (("precision", Precision), ("cache", Cache)):
            if getattr(self, name) not in get_args(known):
                raise UsageError(
                    f"{name}={getattr(self, name)!r}: expected one of {', '.join(get_args(known))}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "freeze": list(self.freeze)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`."""
        return cls(**{**values, "freeze": tuple(values["freeze"])})


def settings_of(facts: dict[str, Any]) -> tuple[TrainConfig, Recipe]:
    """The configuration and recipe that a state or a weights file tells of.

    DamagedFileError where it does not tell of them.

    Files from before optimisers were the recipe's name theirs in the configuration.
    """
    try:
        config, recipe = dict(facts["config"]), dict(facts["recipe"])
        if "optimizer" in config:
            recipe["optimizer"] = config.pop("optimizer")
        return TrainConfig.from_dict(config), Recipe(**recipe)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"the settings of the run cannot be read: {error}") from error
