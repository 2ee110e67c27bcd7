"""Exports of one file to several targets read, trace and compare once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export extra")

import torch

from edgeyolo.export import ExportOptions, export, trace
from edgeyolo.export.shared import Shared
from edgeyolo.models import importer

TARGETS = ("cpu-onnx-fp32", "cpu-onnx-fp16")


@pytest.mark.own_trace
def test_targets_share_reading_trace_and_comparison(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    counted(importer, "import_checkpoint")
    counted(trace, "trace")
    passes = []
    remembering = Shared.remembering

    def watched(self: Shared, network: Any) -> Any:
        def run(images: Any) -> Any:
            passes.append(tuple(images.shape))
            return network(images)

        return remembering(self, run)

    monkeypatch.setattr(Shared, "remembering", watched)
    shared = Shared()
    for target in TARGETS:
        export(small_weights, target, tmp_path / target, shared=shared)
    assert calls == {"import_checkpoint": 1, "trace": 1}
    alone = len(passes)
    export(small_weights, TARGETS[0], tmp_path / "alone")
    assert len(passes) == 2 * alone
    assert calls == {"import_checkpoint": 2, "trace": 2}


@pytest.mark.own_trace
def test_another_size_is_traced_and_compared_anew(small_weights: Path, tmp_path: Path) -> None:
    shared = Shared()
    for side in (64, 128):
        made = export(
            small_weights, TARGETS[0], tmp_path / str(side), ExportOptions(size=(side, side)), shared=shared
        )
        assert made.manifest.input.size == (side, side)
    assert {given.size for given in shared.traces} == {(64, 64), (128, 128)}


def test_maps_are_those_of_the_input_and_few_are_kept() -> None:
    calls = []

    def network(images: Any) -> Any:
        calls.append(1)
        return images + 1

    maps = Shared().remembering(network)
    inputs = [torch.full((1, 3, 2, 2), float(value)) for value in range(5)]
    for images in inputs:
        torch.testing.assert_close(maps(images), images + 1)
    assert maps(inputs[0].reshape(1, 3, 4, 1)).shape == (1, 3, 4, 1)
    maps(inputs[4])
    assert len(calls) == 6
    maps(inputs[0])
    assert len(calls) == 7
