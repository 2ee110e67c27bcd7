"""ncnn's two files: a list of layers as text, and their weights one after another.

Sources:
    [param]  https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
    [layers] https://github.com/Tencent/ncnn/wiki/operation-param-weight-table
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

MAGIC = 7767517
_HALF, _INT8 = 0x01306B47, 0x000D4B38  # [param]: what stands before weights of these types; 0 before float32
Setting = int | float | tuple[float, ...]


@dataclass(frozen=True)
class Layer:
    """A layer of a network.

    Attributes:
        kind: ncnn's name of it, such as "Convolution".
        name: its own.
        inputs: the tensors that it takes, by name.
        outputs: those that it gives.
        settings: its parameters by number, see [layers].
        weights: its part of the second file.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: Mapping[int, Setting] = field(default_factory=dict)
    weights: bytes = b""

    def line(self) -> str:
        """The layer in the list."""
        counts = f"{len(self.inputs)} {len(self.outputs)}"
        words = [f"{self.kind:<24}", f"{self.name:<24}", counts, *self.inputs, *self.outputs]
        return " ".join([*words, *(_setting(*each) for each in sorted(self.settings.items()))])


def to_files(layers: Sequence[Layer], outputs: Sequence[str]) -> tuple[str, bytes]:
    """The list of layers as text, and the weights.

    Every tensor has one taker in ncnn: where there are several, and where an output of the network is taken too, a
    layer `Split` hands out copies.
    """
    split = _with_splits(layers, outputs)
    tensors = sum(len(layer.outputs) for layer in split)
    lines = [str(MAGIC), f"{len(split)} {tensors}", *(layer.line() for layer in split)]
    return "\n".join(lines) + "\n", b"".join(layer.weights for layer in split)


def tagged(values: NDArray[np.float32], *, half: bool) -> bytes:
    """Weights with their type before them: float16, or float32."""
    if half:
        return _aligned(_HALF, values.astype("<f2").tobytes())
    return _aligned(0, values.astype("<f4").tobytes())


def tagged_integers(values: NDArray[np.int8]) -> bytes:
    """Weights in int8."""
    return _aligned(_INT8, values.tobytes())


def untagged(values: NDArray[np.float32]) -> bytes:
    """Biases and scales, which are float32 always."""
    return values.astype("<f4").tobytes()


def _aligned(tag: int, data: bytes) -> bytes:
    return tag.to_bytes(4, "little") + data + bytes(-len(data) % 4)


def _setting(number: int, value: Setting) -> str:
    if isinstance(value, tuple):  # an array: its number is told by -23300 less it, its length comes first
        return f"{-23300 - number}={','.join([str(len(value)), *(f'{each:.9e}' for each in value)])}"
    return f"{number}={value:.9e}" if isinstance(value, float) else f"{number}={value}"


def _with_splits(layers: Sequence[Layer], outputs: Sequence[str]) -> list[Layer]:
    takers = Counter(name for layer in layers for name in layer.inputs) + Counter(outputs)
    shared = {name for name, count in takers.items() if count > 1}
    # What is known by its name from outside keeps it: an output is the first copy, the input none.
    first = {name: int(layer.kind == "Input") for layer in layers for name in layer.outputs}
    handed = Counter(first) + Counter(outputs)
    found: list[Layer] = []
    for layer in layers:
        taken = []
        for name in layer.inputs:
            taken.append(_copy(name, handed[name]) if name in shared else name)
            handed[name] += 1
        moved = {name: f"{name}/all" for name in layer.outputs if name in shared and layer.kind != "Input"}
        given = tuple(moved.get(name, name) for name in layer.outputs)
        found.append(replace(layer, inputs=tuple(taken), outputs=given))
        for name in layer.outputs:
            if name in shared:
                copies = tuple(_copy(name, first[name] + number) for number in range(takers[name]))
                found.append(Layer("Split", f"{name}/split", (moved.get(name, name),), copies))
    return found


def _copy(name: str, number: int) -> str:
    return f"{name}/{number}" if number else name
