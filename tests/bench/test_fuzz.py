"""The fuzz job: inputs follow from their seeds, and what fails is found, counted and told."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import fuzz
import fuzz_inputs
import pytest

from edgeyolo.errors import DatasetError


def test_an_input_follows_from_its_seed() -> None:
    good = json.dumps({"a": [1, 2, {"b": "c"}], "d": 0.5}).encode()
    for damage in (fuzz_inputs.flip, fuzz_inputs.change_json):
        made = [damage(good, random.Random(seed)) for seed in range(200)]
        assert made == [damage(good, random.Random(seed)) for seed in range(200)]
        assert len(set(made)) > 100 and sum(each != good for each in made) > 150


def test_every_kind_of_data_is_tried(tmp_path: Path) -> None:
    kinds = fuzz_inputs.data_kinds(tmp_path)
    assert tuple(kinds) == fuzz.DATA or set(kinds) == set(fuzz.DATA)
    for name, kind in kinds.items():
        if name == "recipe":
            pytest.importorskip("torch")
        assert fuzz._attempt(kind, kind.good) == ("accepted", ""), name


def raising(error: BaseException) -> fuzz_inputs.Kind:
    def read(data: bytes) -> None:
        raise error

    return fuzz_inputs.Kind(b"", fuzz_inputs.flip, read)


def test_outcomes_of_a_fuzzed_file() -> None:
    assert fuzz._attempt(raising(DatasetError("a sentence")), b"") == ("refused", "")
    outcome, why = fuzz._attempt(raising(RecursionError("deep")), b"")
    assert outcome == "failed" and why.startswith("RecursionError: deep (test_fuzz.py:")


def worker(folder: Path, body: str) -> str:
    """A stand-in for the script's own worker."""
    file = folder / "worker.py"
    tell = "def tell(**what): print(json.dumps(what), flush=True)"
    file.write_text(
        f"import json, os, sys, time\n{tell}\nfirst, last = map(int, sys.argv[3:])\ntell(ready=True)\n{body}\n"
    )
    return str(file)


GOOD = "tell(seed=seed, outcome='refused', why='', seconds=0.1, mb=seed)"


def test_a_worker_that_dies_or_hangs_is_one_failed_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "_PATIENCE_S", 1.0)
    for last_words in ("os._exit(9)", "time.sleep(60)"):
        body = f"for seed in range(first, last):\n    if seed == 3: {last_words}\n    {GOOD}"
        monkeypatch.setattr(fuzz, "__file__", worker(tmp_path, body))
        begin = time.monotonic()
        tally = fuzz.run("coco", 6, 0)
        assert time.monotonic() - begin < 30
        assert (tally.inputs, tally.refused, tally.failed, tally.most_mb) == (6, 5, 1, 5)
        assert [failure["seed"] for failure in tally.failures] == [3]


def test_a_worker_that_does_not_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text("raise SystemExit(2)")
    monkeypatch.setattr(fuzz, "__file__", str(tmp_path / "worker.py"))
    with pytest.raises(SystemExit, match="did not start"):
        fuzz.run("coco", 6, 0)


def test_a_slow_and_a_hungry_input_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = fuzz_inputs.Kind(b"x", fuzz_inputs.flip, lambda data: None)
    monkeypatch.setattr(fuzz_inputs, "data_kinds", lambda folder: {"coco": kind})
    used = iter([0, 0, 0, 2 << 20])
    monkeypatch.setattr(fuzz, "_used_kb", lambda: next(used))
    ticks = iter([0.0, 1.0, 1.0, 12.0, 12.0, 13.0])
    monkeypatch.setattr(fuzz.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    fuzz.work("coco", 0, 9)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()][1:]
    assert [(each["outcome"], each["why"]) for each in told] == [
        ("accepted", ""), ("failed", "11.0 s"), ("failed", "2048 MB"),
    ]  # fmt: skip
