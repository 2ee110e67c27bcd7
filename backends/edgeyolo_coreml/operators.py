"""Operators of Core ML's programs in torch, after the MIL reference.

Each rule takes the operation's own argument names: tensors as float32 torch tensors, constants as Python values or
tuples. A rule computes in float32; the interpreter rounds the result to the type that the program declares.
What a rule does not know (a padding mode, a further argument) is an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Ints = tuple[int, ...]


def conv(
    *, x: Tensor, weight: Tensor, bias: Tensor | None = None, strides: Ints = (1, 1), pad_type: str = "valid",
    pad: Ints = (0, 0, 0, 0), dilations: Ints = (1, 1), groups: int = 1,
) -> Tensor:  # fmt: skip
    return F.conv2d(_padded(x, pad_type, pad, 0.0), weight, bias, strides, 0, dilations, groups)


def max_pool(
    *, x: Tensor, kernel_sizes: Ints, strides: Ints, pad_type: str, pad: Ints = (0, 0, 0, 0), ceil_mode: bool = False
) -> Tensor:  # fmt: skip
    return F.max_pool2d(_padded(x, pad_type, pad, -torch.inf), kernel_sizes, strides, ceil_mode=ceil_mode)


def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float, scale_factor_width: float) -> Tensor:
    factors = int(scale_factor_height), int(scale_factor_width)
    if factors != (scale_factor_height, scale_factor_width):
        raise ValueError(
            f"upsampling by {scale_factor_height} x {scale_factor_width}: expected whole factors"
        )
    return x.repeat_interleave(factors[0], 2).repeat_interleave(factors[1], 3)


def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    if interleave:
        raise ValueError("interleaved concatenation")
    return torch.cat(values, axis)


def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


def relu(x: Tensor) -> Tensor:
    return F.relu(x)


def relu6(x: Tensor) -> Tensor:
    return F.relu6(x)


def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def cast(x: Tensor, dtype: str) -> Tensor:
    if dtype not in ("fp16", "fp32"):
        raise ValueError(f"a cast to {dtype}")
    return x.float()


def slice_by_index(
    *, x: Tensor, begin: Ints, end: Ints, stride: Ints | None = None, begin_mask: Ints | None = None,
    end_mask: Ints | None = None, squeeze_mask: Ints | None = None,
) -> Tensor:  # fmt: skip
    axes = range(len(begin))
    none = (False,) * len(begin)
    open_begin, open_end, squeeze = begin_mask or none, end_mask or none, squeeze_mask or none
    steps = stride or (1,) * len(begin)
    if min(steps) < 1:
        raise ValueError(f"a slice with the strides {steps}")
    windows = [
        slice(None if open_begin[i] else begin[i], None if open_end[i] else end[i], steps[i]) for i in axes
    ]
    return x[tuple(begin[i] if squeeze[i] else windows[i] for i in axes)]


def reshape(x: Tensor, shape: Ints) -> Tensor:
    return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(shape)])


def transpose(x: Tensor, perm: Ints) -> Tensor:
    return x.permute(perm)


def reduce_max(x: Tensor, axes: Ints, keep_dims: bool = False) -> Tensor:
    return x.amax(axes, keepdim=keep_dims)


RULES: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "conv": conv,
        "max_pool": max_pool,
        "upsample_nearest_neighbor": upsample_nearest_neighbor,
        "concat": concat,
        "leaky_relu": leaky_relu,
        "cast": cast,
        "slice_by_index": slice_by_index,
        "reshape": reshape,
        "transpose": transpose,
        "reduce_max": reduce_max,
        "relu": relu,
        "relu6": relu6,
        "sigmoid": sigmoid,
        "silu": lambda x: x * torch.sigmoid(x),
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "square": lambda x: x * x,
        "greater_equal": lambda x, y: x >= y,
    }
)


def affine_dequantize(
    quantized_data: NDArray[Any], zero_point: NDArray[Any], scale: NDArray[Any], axis: int
) -> NDArray[np.float32]:
    """int8 or uint8 weights -> float32.

    Scale * (q - zero point), along `axis` where they are vectors.
    """
    shape = [1] * quantized_data.ndim
    shape[axis] = -1
    zero, factor = (np.asarray(each, np.float32).reshape(shape) for each in (zero_point, scale))
    return (quantized_data.astype(np.float32) - zero) * factor


def lut_to_dense(indices: NDArray[np.uint8], lut: NDArray[Any], shape: NDArray[Any]) -> NDArray[np.float32]:
    """Packed indices and their table -> float32 weights.

    Index i is bits [i * n, (i + 1) * n), low bit first.
    """
    width = len(lut).bit_length() - 1
    bits = np.unpackbits(indices, bitorder="little")[: int(np.prod(shape)) * width].reshape(-1, width)
    index = bits @ (1 << np.arange(width))
    return lut[index].astype(np.float32).reshape(shape)


DECOMPRESS: Mapping[str, Callable[..., NDArray[np.float32]]] = MappingProxyType(
    {"constexpr_affine_dequantize": affine_dequantize, "constexpr_lut_to_dense": lut_to_dense}
)


def _padded(x: Tensor, pad_type: str, pad: Ints, value: float) -> Tensor:
    if pad_type == "valid" or not any(pad):
        return x
    if pad_type != "custom":
        raise ValueError(f"padding {pad_type!r}")
    top, bottom, left, right = pad
    return F.pad(x, (left, right, top, bottom), value=value)
