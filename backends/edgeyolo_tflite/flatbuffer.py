"""TFLite files as objects.

Reading, writing, and the few questions that every part asks of them.

A model is the tree of `ai_edge_litert.schema_py_generated`: model.subgraphs[0].operators and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgeyolo.errors import DamagedFileError

OPERATORS: Mapping[int, str] = MappingProxyType(
    {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
)
TYPES: Mapping[int, str] = MappingProxyType(
    {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
)


def read(data: bytes, where: str = "the TFLite model") -> Any:
    """Parse a flatbuffer; DamagedFileError where it is none, or not one graph."""
    if data[4:8] != b"TFL3":
        raise DamagedFileError(f"{where}: expected a TFLite flatbuffer, found {data[:8]!r} at its start")
    try:
        model = flatbuffer_utils.read_model_from_bytearray(data)
    except Exception as error:  # offsets that point anywhere show as any kind of error
        raise DamagedFileError(
            f"{where}: not a whole TFLite flatbuffer: {type(error).__name__}: {error}"
        ) from error
    if len(model.subgraphs or []) != 1:
        raise DamagedFileError(f"{where}: expected one graph, found {len(model.subgraphs or [])}")
    return model


def write(model: Any) -> bytes:
    """Serialise; equal models give equal bytes."""
    for buffer in model.buffers:
        if buffer.data is not None:  # arrays are copied, anything else is written byte by byte
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def kind(model: Any, operator: Any) -> str:
    """An operator's name, such as CONV_2D; a custom one's is its own."""
    code = model.operatorCodes[operator.opcodeIndex]
    name = OPERATORS.get(flatbuffer_utils.get_builtin_code_from_operator_code(code), "?")
    return code.customCode.decode() if name == "CUSTOM" and code.customCode else name


def operators(model: Any) -> Iterator[tuple[str, Any]]:
    """Every operator in the order of execution, with its kind."""
    for operator in model.subgraphs[0].operators:
        yield kind(model, operator), operator


def tensors(model: Any, indices: Any) -> list[Any]:
    """The tensors at `indices`; an absent optional one (-1) is left out."""
    table = model.subgraphs[0].tensors
    return [table[index] for index in indices if index >= 0]


def is_constant(model: Any, tensor: Any) -> bool:
    """Return True if the tensor's values are in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def activations(model: Any) -> set[str]:
    """The names of the tensors that are computed, the input among them."""
    return {name(each) for each in model.subgraphs[0].tensors if not is_constant(model, each)}


def name(entry: Any) -> str:
    """The name of a tensor, or of an entry of the signature."""
    return text(entry.name)


def text(value: bytes | str) -> str:
    """A string of the file; parsed ones are bytes."""
    return value.decode() if isinstance(value, bytes) else value


def integers(model: Any, tensor: Any) -> list[int]:
    """The values of a constant int32 tensor."""
    return [int(value) for value in np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int32)]
