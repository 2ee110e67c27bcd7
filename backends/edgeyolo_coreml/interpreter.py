"""A MIL interpreter: what a package computes, without Core ML.

It reads the finished file back and runs it operation by operation: every result is rounded to the type that the
program declares, sums are wider than float16. That is the arithmetic of the neural engine as far as it is known
([guide] chapter 3 in `neural_engine`): float16 tensors, an accumulator of the float32 class. It serves to compare a
package with torch on machines that have no Core ML, and to test sessions; it is no runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo_coreml.operators import DECOMPRESS, RULES
from edgeyolo_coreml.package import read
from edgeyolo_coreml.suppressed import contracted, names_in_file, suppress


@dataclass(frozen=True)
class Step:
    """One operation of the program.

    It has a rule, the names of its variable arguments, and its constant ones.
    """

    kind: str
    name: str
    half: bool  # the program declares a float16 result
    variables: Mapping[str, str | list[str]]
    constants: Mapping[str, Any]
    last_use: tuple[str, ...]  # variables that nothing reads afterwards


class Interpreter:
    """A pymil program that several threads may run."""

    def __init__(self, program: Any) -> None:
        function = program.functions["main"]
        self.inputs = {name: tuple(variable.shape) for name, variable in function.inputs.items()}
        self.outputs = tuple(variable.name for variable in function.outputs)
        self._steps = _steps(function)

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Map float32 inputs to float32 outputs, both by name."""
        values: dict[str, Tensor] = {}
        for name, shape in self.inputs.items():
            values[name] = torch.from_numpy(np.ascontiguousarray(inputs[name], np.float32))
            if values[name].shape != shape:
                raise ValueError(f"input {name!r}: expected {shape}, got {tuple(values[name].shape)}")
        for step in self._steps:
            values[step.name] = _execute(step, values)
            for name in step.last_use:
                del values[name]
        return {name: values[name].numpy() for name in self.outputs}


class InterpretedSession:
    """An artifact's package run by the interpreter.

    It takes one image of uint8 (height, width, 3) RGB at a time.
    """

    def __init__(self, package: Path, input: InputContract, output: OutputContract) -> None:
        spec, program = read(package)
        try:
            interpreter = Interpreter(program)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{package}: the program cannot be interpreted: {error}") from error
        models = spec.pipeline.models
        self._suppression = models[1] if len(models) > 1 else None
        given = [item.name for item in spec.description.output]
        if missing := set(names_in_file(output)) - set(given):
            raise DamagedFileError(
                f"{package}: the program gives {given}, the manifest expects also {sorted(missing)}"
            )
        self._interpreter: Interpreter | None = interpreter
        self._package, self._input, self._output = package, input, output

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map (n, height, width, 3) uint8 to the outputs by name."""
        interpreter = self._interpreter
        if interpreter is None:
            raise EdgeYoloError(f"{self._package}: the session is closed")
        self._input.check(batch)
        planes = batch.transpose(0, 3, 1, 2)
        found = [interpreter.run({self._input.name: planes[i : i + 1]}) for i in range(len(planes))]
        if self._suppression is not None:
            found = [suppress(self._suppression, each) for each in found]
        return contracted(found, self._output, self._input.size)

    def close(self) -> None:
        """Release the weights."""
        self._interpreter = None


def _execute(step: Step, values: Mapping[str, Tensor]) -> Tensor:
    arguments = dict(step.constants)
    for argument, names in step.variables.items():
        arguments[argument] = values[names] if isinstance(names, str) else [values[name] for name in names]
    result = RULES[step.kind](**arguments)
    return result.half().float() if step.half else result


def _steps(function: Any) -> tuple[Step, ...]:
    """The operations in order; constants are decompressed and widened to float32 once."""
    dense: dict[str, Tensor] = {}
    steps: list[Step] = []
    for operation in function.operations:
        kind = operation.op_type
        if kind in DECOMPRESS:
            dense[operation.outputs[0].name] = _decompress(operation)
        elif kind != "const":
            if kind not in RULES:
                raise KeyError(f"no rule for the operator {kind}")
            steps.append(_step(operation, dense))
    return _with_last_uses(steps, {variable.name for variable in function.outputs})


def _step(operation: Any, dense: Mapping[str, Tensor]) -> Step:
    variables: dict[str, str | list[str]] = {}
    constants: dict[str, Any] = {}
    for argument, given in operation.inputs.items():
        if given is None:
            continue
        if isinstance(given, (list, tuple)):
            variables[argument] = [variable.name for variable in given]
        elif given.name in dense:
            constants[argument] = dense[given.name]
        elif given.op is not None and given.op.op_type == "const":
            constants[argument] = _constant(given.val)
        else:
            variables[argument] = given.name
    (result,) = operation.outputs
    return Step(operation.op_type, result.name, result.dtype.__name__ == "fp16", variables, constants, ())


def _with_last_uses(steps: list[Step], outputs: set[str]) -> tuple[Step, ...]:
    """Note with each step the variables that are no longer needed.

    Memory then holds the live ones only.
    """
    seen = set(outputs)
    noted = []
    for step in reversed(steps):
        read: set[str] = set()
        for names in step.variables.values():
            read.update([names] if isinstance(names, str) else names)
        last = tuple(sorted(read - seen))
        seen |= read
        noted.append(Step(step.kind, step.name, step.half, step.variables, step.constants, last))
    return tuple(reversed(noted))


def _decompress(operation: Any) -> Tensor:
    arguments = {name: given.val for name, given in operation.inputs.items() if given is not None}
    weights = torch.from_numpy(np.ascontiguousarray(DECOMPRESS[operation.op_type](**arguments)))
    return weights.half().float() if operation.outputs[0].dtype.__name__ == "fp16" else weights


def _constant(value: Any) -> Any:
    """A constant as a rule takes it.

    Float arrays as tensors, other arrays as tuples, scalars as Python values.
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return (
            torch.from_numpy(value.astype(np.float32)) if value.dtype.kind == "f" else tuple(value.tolist())
        )
    return value.item() if hasattr(value, "item") else value
