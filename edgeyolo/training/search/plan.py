"""The plan of a search: everything that a search which was stopped goes on with."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.models.topology import Activation
from edgeyolo.support.dataclass_json import from_plain, to_plain
from edgeyolo.support.files import atomic_file
from edgeyolo.support.hashes import sha256
from edgeyolo.training.config import TrainConfig, settings_of
from edgeyolo.training.recipe import Recipe
from edgeyolo.training.search.space import Range

FILE = "search.json"


@dataclass(frozen=True)
class Plan:
    """Plan of a search: its space, and where it begins.

    trials: runs to make. space: what they differ in. recipe: of the first trial; the fields outside of `space` are
    the same in all. config: of every run, seed included. model, weights, activation, autoanchor: as for `train`.
    hashes: SHA-256 of the weights files among these, by path.
    """

    trials: int
    space: tuple[Range, ...]
    recipe: Recipe
    config: TrainConfig
    model: str
    weights: str | None = None
    activation: Activation | None = None
    autoanchor: bool = True
    hashes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.space:
            raise UsageError("search: nothing to search, every hyper-parameter is fixed")

    def with_hashes(self) -> Plan:
        """The plan with absolute paths of its weights files, and their hashes."""
        files = [name for name in (self.model, self.weights) if name and Path(name).is_file()]
        whole = {name: str(Path(name).absolute()) for name in files}
        return replace(
            self,
            model=whole.get(self.model, self.model),
            weights=whole.get(self.weights or "", self.weights),
            hashes=tuple((path, sha256(path)) for path in whole.values()),
        )

    def require_files(self) -> None:
        """Raise UsageError where a weights file is not that of the search's beginning."""
        for path, known in self.hashes:
            if not Path(path).is_file():
                raise UsageError(f"{path}: the weights that the search starts from are gone")
            if sha256(path) != known:
                raise UsageError(
                    f"{path}: not the weights that the search was begun with",
                    hint="Begin a new search with these, in another folder.",
                )

    def save(self, folder: Path) -> None:
        """Write it into the folder of its search."""
        values = {
            **{name: to_plain(getattr(self, name)) for name in _PLAIN},
            "recipe": self.recipe.to_dict(),
            "config": self.config.to_dict(),
        }
        with atomic_file(folder / FILE) as draft:
            draft.write_text(json.dumps(values, indent=2), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of the search in `folder`."""
        file = folder / FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(
                f"{folder}: there is no search to go on with, {FILE} is missing",
                hint="--resume takes the folder of a search, such as runs/search/exp.",
            ) from error
        except (OSError, ValueError) as error:
            raise DamagedFileError(f"{file}: expected the plan of a search: {error}") from error
        if not isinstance(values, dict):
            raise DamagedFileError(f"{file}: expected the plan of a search, found {type(values).__name__}")
        plain = from_plain(_Plain, {name: values.get(name) for name in _PLAIN}, str(file))
        config, recipe = settings_of(values)
        return cls(recipe=recipe, config=config, **{name: getattr(plain, name) for name in _PLAIN})


@dataclass(frozen=True)
class _Plain:
    """The part of a plan that is plain JSON."""

    trials: int
    space: tuple[Range, ...]
    model: str
    weights: str | None
    activation: Activation | None
    autoanchor: bool
    hashes: tuple[tuple[str, str], ...]


_PLAIN: tuple[str, ...] = tuple(_Plain.__dataclass_fields__)


def is_search(folder: Path) -> bool:
    """Return True for the folder of a search."""
    return (folder / FILE).is_file()


def recipe_of(plan: Plan, values: dict[str, Any], name: str) -> Recipe:
    """The plan's recipe with the values of a trial."""
    whole = {each.name for each in plan.space if each.whole}
    found: dict[str, Any] = {
        key: int(value) if key in whole else float(value) for key, value in values.items()
    }
    return replace(plan.recipe, name=name, **found)
