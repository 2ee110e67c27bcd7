"""A search over runs that are made up: what is proposed, pruned, kept, and found again after any interruption."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("optuna")

from edgeyolo.datasets import Dataset, load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.errors import DamagedFileError, EdgeYoloError, NotFiniteError, UsageError  # noqa: E402
from edgeyolo.support.locks import hold  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.loop.listener import Listener  # noqa: E402
from edgeyolo.training.loop.schedule import Schedule  # noqa: E402
from edgeyolo.training.loop.state import Position  # noqa: E402
from edgeyolo.training.loop.trainer import BEST, LOCK, STATE  # noqa: E402
from edgeyolo.training.recipe import P5, Recipe, read_recipe  # noqa: E402
from edgeyolo.training.search.outcome import Outcome  # noqa: E402
from edgeyolo.training.search.plan import Plan  # noqa: E402
from edgeyolo.training.search.search import Search, SearchListener, begin, go_on, trial_folder  # noqa: E402
from edgeyolo.training.search.space import Range  # noqa: E402
from edgeyolo.training.search.study import FILE, Study  # noqa: E402
from edgeyolo.training.sources import DataSource  # noqa: E402

SPACE = (Range("lr0", 0.001, 0.1, log=True), Range("box", 0.02, 0.2), Range("mosaic", 0.0, 1.0))
CONFIG = TrainConfig(epochs=5, batch_size=2, image_size=64, seed=3)


def quality(recipe: Recipe) -> float:
    """An AP that is best at box = 0.1, and of which mosaic decides nothing."""
    return 0.6 - 20 * (recipe.box - 0.1) ** 2 - 0.2 * (recipe.lr0 - 0.02) ** 2


class Runs:
    """Runs that take no time, in place of `train` and `resume`.

    AP grows over the epochs to `quality`. They write what real ones do where a search looks. before: called with the
    trial's folder and the epoch, to interrupt it.
    """

    def __init__(self) -> None:
        self.made: list[Recipe] = []
        self.before: Callable[[Path, int], None] = lambda folder, epoch: None

    def train(
        self, model: str, training: Dataset, validation: Dataset, folder: Path, *, config: TrainConfig,
        recipe: Recipe, listener: Listener, **_: Any,
    ) -> list[dict[str, Any]]:  # fmt: skip
        self.made.append(recipe)
        return self._run(folder, config, recipe, listener, 0)

    def resume(
        self, folder: Path, training: Dataset, validation: Dataset, *, listener: Listener
    ) -> list[dict[str, Any]]:
        return self._run(folder, CONFIG, self.made[-1], listener, int((folder / STATE).read_text()))

    def _run(
        self, folder: Path, config: TrainConfig, recipe: Recipe, listener: Listener, first: int
    ) -> list[dict[str, Any]]:
        (folder / BEST).parent.mkdir(parents=True, exist_ok=True)
        listener.start(config, Schedule(recipe, config.epochs, 1, config.batch_size), Position(epoch=first))
        history = []
        for epoch in range(config.epochs):
            ap = quality(recipe) * (epoch + 1) / config.epochs
            history.append({"epoch": epoch, "AP": ap, "AP50": ap})
            if epoch < first:
                continue
            self.before(folder, epoch)
            listener.epoch(history[-1], Position(epoch=epoch + 1))
            (folder / STATE).write_text(str(epoch + 1))
            (folder / BEST).write_text("weights")
        return history


@pytest.fixture(autouse=True, scope="module")
def no_disk() -> Iterator[None]:
    """Leave out the waiting for the disk that a loss of power asks for."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def connect(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", connect)
    yield
    event.remove(Engine, "connect", connect)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr("edgeyolo.training.search.search.train", made.train)
    monkeypatch.setattr("edgeyolo.training.search.search.resume", made.resume)
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, str]:
    path = str(write_dataset(tmp_path_factory.mktemp("scenes"), range(2), (64, 64)))
    return load_dataset(path), path


Make = Callable[..., Search]


@pytest.fixture
def make(data: tuple[Dataset, str], tmp_path: Path) -> Make:
    """Maker of a search that is begun in a folder of the test's."""

    def made(name: str = "search", trials: int = 12, **changes: Any) -> Search:
        plan = replace(Plan(trials, SPACE, P5, CONFIG, "yolov7-tiny"), **changes)
        return begin(Search(plan, tmp_path / name, data[0], data[0], DataSource(data[1])))

    return made


def again(search: Search, trials: int | None = None) -> Search:
    """The same search as a new process finds it."""
    return replace(search, plan=go_on(search.folder, trials))


def same(one: Outcome, other: Outcome) -> None:
    def facts(outcome: Outcome) -> list[tuple[Any, ...]]:
        return [(each.values, each.state, each.ap) for each in outcome.tried if each.state != "lost"]

    assert facts(one) == facts(other)
    assert one.importance == other.importance


def test_a_search_finds_better_than_it_began_with(runs: Runs, make: Make) -> None:
    outcome = make(trials=22).run()
    assert outcome.best is not None and outcome.recipe is not None
    first = outcome.tried[0]
    assert first.values == {"lr0": P5.lr0, "box": P5.box, "mosaic": P5.mosaic}  # the recipe itself
    assert outcome.best.ap is not None and first.ap is not None
    assert outcome.best.ap == max(each.ap or 0 for each in outcome.tried if each.state == "complete")
    assert outcome.best.ap > first.ap + 0.03
    assert abs(outcome.recipe.box - 0.1) < 0.02
    for recipe in runs.made:
        assert replace(recipe, lr0=P5.lr0, box=P5.box, mosaic=P5.mosaic, name=P5.name) == P5
        assert all(each.low <= getattr(recipe, each.name) <= each.high for each in SPACE)
    assert max(outcome.importance, key=lambda name: outcome.importance[name]) == "box"
    assert sum(outcome.importance.values()) == pytest.approx(1)


def test_the_best_recipe_is_a_file_for_the_next_run(runs: Runs, make: Make) -> None:
    search = make()
    outcome = search.run()
    assert outcome.recipe is not None
    assert read_recipe(search.folder / "best.yaml") == outcome.recipe
    assert quality(outcome.recipe) == outcome.best.ap  # type: ignore[union-attr]
    kept = [
        folder.name for folder in sorted((search.folder / "trials").iterdir()) if (folder / BEST).exists()
    ]
    assert kept == [f"{outcome.best.number:04d}"]  # type: ignore[union-attr]
    with (search.folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(1, 13))
    assert [float(row["AP"]) for row in rows] == [each.ap for each in outcome.tried]
    assert float(rows[4]["box"]) == outcome.tried[4].values["box"]


def test_trials_worse_than_the_median_are_pruned(runs: Runs, make: Make) -> None:
    outcome = make(trials=14).run()
    pruned = [each for each in outcome.tried if each.state == "pruned"]
    assert pruned and all(each.number > 5 for each in pruned)  # a median of few says little
    for each in pruned:
        last = max(each.epochs)
        assert 1 <= last < CONFIG.epochs - 1  # not in the first fifth, nor where nothing would be saved
        others = sorted(
            other.epochs[last] for other in outcome.tried[: each.number - 1] if other.state == "complete"
        )
        assert each.epochs[last] <= others[len(others) // 2]
    assert outcome.best is not None and outcome.best.state == "complete"


def test_seeds_decide(runs: Runs, make: Make) -> None:
    one, same_seed = make("one").run(), make("two").run()  # the last two are the sampler's own
    other = make("three", trials=2, config=replace(CONFIG, seed=4)).run()
    same(one, same_seed)
    assert other.tried[0].values == one.tried[0].values
    assert other.tried[1].values != one.tried[1].values


class KilledError(BaseException):
    """Ends a search as if its process were gone: nothing that follows is done."""


@pytest.mark.parametrize("where", ["in an epoch", "before a state", "after the run", "while it was proposed"])
def test_an_interrupted_search_ends_as_one_that_was_not(
    runs: Runs, make: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    whole = make("whole", 9).run()
    search = make("stopped", 9)

    def kill(folder: Path, epoch: int) -> None:
        if folder.name in ("0003", "0008") and epoch == (0 if where == "before a state" else 2):
            runs.before = lambda folder, epoch: None
            raise KilledError

    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        if where == "after the run":
            patch.setattr(Study, "finish", killed)
        elif where == "while it was proposed":
            import optuna

            patch.setattr(optuna.trial.Trial, "_suggest", _stop_third(optuna))
        else:
            runs.before = kill
        with pytest.raises(KilledError):
            search.run()
    same(again(search).run(), whole)


def _stop_third(optuna: Any) -> Callable[..., Any]:
    """`Trial._suggest` that is killed at the second value of the third trial."""
    known = optuna.trial.Trial._suggest

    def suggest(trial: Any, name: str, distribution: Any) -> Any:
        if trial.number == 2 and name == "box":
            raise KilledError
        return known(trial, name, distribution)

    return suggest


def test_a_run_that_goes_on_is_gone_on_with(runs: Runs, make: Make) -> None:
    """Only the epochs after the last saved state are made again."""
    seen: list[tuple[str, int]] = []
    search = make(trials=2)

    def kill(folder: Path, epoch: int) -> None:
        seen.append((folder.name, epoch))
        if seen.count(("0002", 3)) == 1 and epoch == 3 and folder.name == "0002":
            raise KeyboardInterrupt

    runs.before = kill
    with pytest.raises(KeyboardInterrupt):
        search.run()
    again(search).run()
    assert seen == [("0001", epoch) for epoch in range(5)] + [("0002", epoch) for epoch in (0, 1, 2, 3, 3, 4)]
    assert len(runs.made) == 2


def test_more_trials_go_on_and_fewer_are_refused(runs: Runs, make: Make) -> None:
    whole, search = make("whole", 8).run(), make("short", 5)
    search.run()
    assert len(again(search).run().tried) == 5 and len(runs.made) == 13  # nothing was left to do
    same(again(search, 8).run(), whole)
    with pytest.raises(UsageError, match="8 trials are made already, more than --search 7"):
        again(search, 7)
    assert go_on(search.folder, None).trials == 8


def test_a_trial_that_diverges_is_the_worst_and_not_the_end(runs: Runs, make: Make) -> None:
    search, told = make(trials=4), list[str]()

    def diverge(folder: Path, epoch: int) -> None:
        if folder.name == "0002":
            raise NotFiniteError("the loss became nan")

    class Heard(SearchListener):
        def note(self, sentence: str) -> None:
            told.append(sentence)

    runs.before = diverge
    outcome = search.run(Heard())
    assert [each.state for each in outcome.tried] == ["complete", "diverged", "complete", "complete"]
    assert outcome.tried[1].ap is None
    assert told == ["the loss became nan"]
    assert "diverged" in (search.folder / "search.html").read_text()


def test_another_error_ends_the_search_and_it_can_go_on(runs: Runs, make: Make) -> None:
    search = make(trials=3)

    def full(folder: Path, epoch: int) -> None:
        if folder.name == "0002":
            raise EdgeYoloError("out of memory")

    runs.before = full
    with pytest.raises(EdgeYoloError, match="out of memory"):
        search.run()
    runs.before = lambda folder, epoch: None
    assert [each.state for each in again(search).run().tried] == ["complete"] * 3


def test_folders_that_hold_something_else(runs: Runs, make: Make, tmp_path: Path) -> None:
    search = make(trials=1)
    with pytest.raises(UsageError, match="holds a search already"):
        make(trials=1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / STATE).write_text("")
    with pytest.raises(UsageError, match="holds a run already"):
        make("run")
    with pytest.raises(UsageError, match="no search to go on with"):
        go_on(tmp_path / "run", None)
    lock = hold(search.folder / LOCK)
    assert lock is not None
    with pytest.raises(UsageError, match="another process is searching there"):
        search.run()
    lock.release()
    search.run()
    other = replace(search, plan=replace(search.plan, space=SPACE[:2]))
    with pytest.raises(UsageError, match="another space: lr0, box, mosaic"):
        other.run()
    (search.folder / FILE).write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
    with pytest.raises(DamagedFileError, match="not the study of a search"):
        search.run()
    (search.folder / "search.json").write_text('{"trials": 1}')
    with pytest.raises(DamagedFileError):
        go_on(search.folder, None)


def test_weights_that_changed_since_are_refused(runs: Runs, make: Make, tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(b"one")
    search = make(trials=1, model=str(file))
    assert go_on(search.folder, None) == search.plan
    file.write_bytes(b"two")
    with pytest.raises(UsageError, match="not the weights that the search was begun with"):
        again(search).run()
    file.unlink()
    with pytest.raises(UsageError, match="are gone"):
        again(search).run()


def test_a_plan_is_read_as_it_was_written(runs: Runs, make: Make) -> None:
    plan = make(space=(*SPACE, Range("paste_in_objects", 2, 9, whole=True)), activation="relu").plan
    folder = make("other", space=plan.space, activation="relu").folder
    assert Plan.read(folder) == plan
    assert all(isinstance(each.paste_in_objects, int) for each in runs.made)


def test_nothing_to_search(make: Make) -> None:
    with pytest.raises(UsageError, match="nothing to search"):
        make(space=())


def test_the_page_shows_every_trial_and_loads_nothing(runs: Runs, make: Make) -> None:
    search = make(trials=8)
    outcome = search.run()
    page = (search.folder / "search.html").read_text()
    for each in outcome.tried:
        assert page.count(f"<title>trial {each.number}, {each.state}: ") == 1 + len(SPACE)
    for name in ("History", "Importance", "Values and AP", "Space", "Trials"):
        assert f"<h2>{name}</h2>" in page
    share = max(outcome.importance.values())
    assert f">{share:.0%}</text>" in page
    assert "://" not in page and "src=" not in page and "url(" not in page
    assert f"AP {outcome.best.ap:.4f}, trial {outcome.best.number}<" in page  # type: ignore[union-attr]
    assert trial_folder(search.folder, outcome.best.number).is_dir()  # type: ignore[union-attr]
