"""Options of ONNX Runtime on the CPU.

They are set once for all that runs a graph there: what is judged is what is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeyolo.support.machine import integer_instructions

if TYPE_CHECKING:
    import onnxruntime as ort

EXACT_INTEGERS: Mapping[str, str] = {"session.x64quantprecision": "1"}
"""x86 processors without VNNI add two products of uint8 and int8 in 16 bits, which overflow: strong
activations times large weights are cut without a word. With this ONNX Runtime takes another kernel there, which does
not, for weights that are constants of the graph. It is slower, and ONNX Runtime takes it on processors with VNNI too,
where nothing overflows: of 1.8 times the speed of float32 1.05 are left (benchmarks/results/integers-onnx.md)."""


def exact_integers(instructions: frozenset[str] | None = None) -> Mapping[str, str]:
    """Settings by which integer sums are exact on this processor.

    `instructions` are its ones for integers, by default as the system tells.
    """
    found = integer_instructions() if instructions is None else instructions
    return {} if found else EXACT_INTEGERS


def cpu_options(threads: int | None = None, settings: Mapping[str, str] | None = None) -> ort.SessionOptions:
    """Options of a session on the CPU.

    The default is as many threads as ONNX Runtime finds cores, and the settings of `exact_integers`.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # warnings about graph optimisation say nothing a user can act on
    if threads is not None:
        options.intra_op_num_threads = threads
    for key, value in (exact_integers() if settings is None else settings).items():
        options.add_session_config_entry(key, value)
    return options
