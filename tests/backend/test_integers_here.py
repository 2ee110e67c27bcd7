"""Advice on INT8 by the processor's instructions."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeyolo.artifact.target import Target
from edgeyolo.backend.integers_here import gain_here, gain_remark, integers_here
from edgeyolo.support.machine import integer_instructions

ONNX, OPENVINO = Target("cpu", "onnx", "int8"), Target("cpu", "openvino", "int8")
VNNI, NONE = frozenset({"avx512_vnni"}), frozenset[str]()


def test_instructions_are_those_of_the_first_processor(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor : 1\nflags : fpu\n")
    assert integer_instructions(told) == VNNI
    told.write_text("processor : 0\nFeatures\t: fp asimd asimddp\n")
    assert integer_instructions(told) == {"asimddp"}
    told.write_text("flags : fpu avx2\n")
    assert integer_instructions(told) == NONE
    told.write_text("processor : 0\n")
    assert integer_instructions(told) is None
    assert integer_instructions(tmp_path / "none") is None


def test_only_openvino_pays_without_vnni() -> None:
    without, having = (integers_here("x86_64", found) for found in (NONE, VNNI))
    assert "without VNNI" in without and without.endswith("by onnx it is not worth its AP")
    assert "with VNNI" in having and "not worth" not in having


@pytest.mark.parametrize("found", [frozenset({"asimddp"}), NONE])
def test_nothing_was_measured_on_arm(found: frozenset[str]) -> None:
    assert "x the speed" not in integers_here("aarch64", found)
    assert gain_here(OPENVINO, "aarch64", found) is None


def test_remark_is_for_what_gains_little() -> None:
    assert "cpu-openvino-int8" in gain_remark(ONNX, "x86_64", NONE)
    assert not gain_remark(OPENVINO, "x86_64", NONE)
    assert not gain_remark(ONNX, "x86_64", VNNI)
    assert not gain_remark(Target("jetson", "trt", "int8"), "x86_64", NONE)
    assert not gain_remark(Target("cpu", "onnx", "fp32"), "x86_64", NONE)
