"""Trace of a torch network as a list of operations.

It takes one pass over shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.op_graph import Graph, Operation

Attributes = dict[str, Any]
_Pair = tuple[int, int]  # height, width


def trace(network: nn.Module, contract: InputContract) -> Graph:
    """The operations of `network`, each named by its module.

    The input is of `contract` (an NCHW float32 one).

    Nothing is computed, whatever the sizes; weights, where there are any, are read for the largest of them only.
    """
    # On the meta device, not with fake tensors: those import torch's compiler, which takes longer than the trace.
    state = {
        name: each.detach().to("meta")
        for name, each in (*network.named_parameters(), *network.named_buffers())
    }
    recorder = _Recorder(contract.name, state)
    with torch.no_grad(), module_names(network, recorder.modules):
        images = torch.empty(contract.shape(), device="meta")
        recorder.name(images, contract.name)
        with recorder:
            maps = functional_call(network, state, (images,))
    return Graph(
        input=contract.name,
        input_shape=tuple(contract.shape()),
        operations=tuple(recorder.operations),
        outputs=tuple(recorder.names[id(each)] for each in maps),
        parameters=sum(each.numel() for each in network.parameters()),
        largest_weight=max((_largest(each) for each in network.parameters()), default=0.0),
    )


def _largest(values: Tensor) -> float:
    return 0.0 if values.is_meta or not values.numel() else float(values.detach().abs().max())


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation between tensors that were computed."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch that its compiler never sees this mode.

        Otherwise it is imported here.
        """
        return False

    def __init__(self, given: str, state: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: dict[int, str] = {}
        self.state = {id(each): name for name, each in state.items()}
        self.kept: list[Any] = []  # an object's id is its own for as long as the object lives
        self.operations: list[Operation] = []
        self.modules: list[str] = [given]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        called = func.overloadpacket.__name__
        result = EMPTY[called](*args) if called in EMPTY else None
        if result is None:
            result = func(*args, **(kwargs or {}))
        given = [self.names[id(each)] for each in _tensors(args) if id(each) in self.names]
        output = result[0] if isinstance(result, tuple) else result
        if not given or not isinstance(output, Tensor):
            return result
        rule = RULES.get(called, _Rule((f"aten::{called}",)))
        if rule.skip(args):
            self.name(output, given[0])
            return result
        made, read = "", tuple(self.state[id(each)] for each in _tensors(args) if id(each) in self.state)
        for kind in rule.kinds:
            inputs = (
                (given[0], made) if made else tuple(given)
            )  # the second of two takes what the first made, too
            attributes = rule.attributes(args, output)
            made = self._note(Operation(kind, self.modules[-1], inputs, "", _shape(output), attributes, read))
        self.name(output, made)
        return result

    def _note(self, operation: Operation) -> str:
        """Keep an operation under a name for what it gives, and return the name."""
        name = f"{operation.name}/{operation.kind}_{len(self.operations)}"
        self.operations.append(replace(operation, output=name))
        return name

    def name(self, value: Tensor, name: str) -> None:
        self.names[id(value)] = name
        self.kept.append(value)


@contextmanager
def module_names(network: nn.Module, running: list[str]) -> Iterator[None]:
    """Keep in `running` the names of the modules that run, innermost last."""
    handles = []
    for name, module in network.named_modules():
        if not name:
            continue

        def enter(module: nn.Module, args: Any, name: str = name) -> None:
            running.append(name)

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            running.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shape(output: Tensor) -> tuple[int, ...]:
    return tuple(int(side) for side in output.shape)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _no_attributes(args: tuple[Any, ...], output: Tensor) -> Attributes:
    return {}


def _never(args: tuple[Any, ...]) -> bool:
    return False


@dataclass(frozen=True)
class _Rule:
    """Rule that maps an operation of torch to ONNX.

    It gives one operator or two and their attributes, or none at all.
    """

    kinds: tuple[str, ...]
    attributes: Callable[[tuple[Any, ...], Tensor], Attributes] = field(default=_no_attributes)
    skip: Callable[[tuple[Any, ...]], bool] = field(default=_never)


def _pair(value: Any) -> _Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _conv(args: tuple[Any, ...], output: Tensor) -> Attributes:
    weight, strides, pads, dilations, group = args[1], args[3], args[4], args[5], args[8]
    return {
        "kernel_shape": _pair(weight.shape[2:]),
        "strides": _pair(strides),
        "pads": _pair(pads),
        "dilations": _pair(dilations),
        "group": int(group),
        "weights": tuple(weight.shape),
    }


def _pool(args: tuple[Any, ...], output: Tensor) -> Attributes:
    kernel = _pair(args[1])
    strides = _pair(args[2]) if len(args) > 2 and args[2] else kernel
    pads = _pair(args[3]) if len(args) > 3 else (0, 0)
    return {"kernel_shape": kernel, "strides": strides, "pads": pads}


def _resize(args: tuple[Any, ...], output: Tensor) -> Attributes:
    before, after = args[0].shape[-2:], output.shape[-2:]
    return {"scales": tuple(large / small for small, large in zip(before, after, strict=True))}


def _slice(args: tuple[Any, ...], output: Tensor) -> Attributes:
    axis, start, end, step = (*args[1:], *(None,) * 4)[:4]
    return {"axis": axis or 0, "start": start or 0, "end": end, "steps": step or 1}


def _keeps_all(args: tuple[Any, ...]) -> bool:
    axis, start, end, step = (*args[1:], *(None,) * 4)[:4]
    return not start and (end is None or end >= args[0].shape[axis or 0]) and (step or 1) == 1


def _broadcast(values: Tensor, other: Tensor | float, **_: Any) -> Tensor:
    return values.new_empty(np.broadcast_shapes(values.shape, getattr(other, "shape", ())))


def _alike(values: Tensor, *_: Any) -> Tensor:
    return values.new_empty(values.shape)


def _joined(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[axis] = sum(each.shape[axis] for each in tensors)
    return tensors[0].new_empty(shape)


def _convolved(images: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor | None:
    strides, pads, dilations, transposed = rest[:4]
    if transposed or images.ndim != 4:
        return None
    sides = _window_places(images, _pair(weight.shape[2:]), _pair(strides), _pair(pads), _pair(dilations))
    return images.new_empty(images.shape[0], weight.shape[0], *sides)


def _pooled(images: Tensor, *rest: Any) -> tuple[Tensor, Tensor] | None:
    if len(rest) > 3 or images.ndim != 4:  # dilated, or rounded up
        return None
    window = _pool((images, *rest), images)
    shape = (*images.shape[:2], *_window_places(images, *window.values()))
    return images.new_empty(shape), images.new_empty(shape, dtype=torch.int64)


def _window_places(
    images: Tensor, kernel: _Pair, strides: _Pair, pads: _Pair, dilations: _Pair = (1, 1)
) -> tuple[int, ...]:
    """Places of a window along the height and the width of a map."""
    sides = zip(images.shape[2:], kernel, strides, pads, dilations, strict=True)
    return tuple(
        (side + 2 * pad - wide * (size - 1) - 1) // step + 1 for side, size, step, pad, wide in sides
    )


def _enlarged(images: Tensor, size: Sequence[int], *_: Any) -> Tensor:
    return images.new_empty(*images.shape[:2], *size)


# torch finds the shapes of these in Python, and imports its compiler or sympy for it: 0.5 s. None leaves it to torch.
EMPTY: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "add": _broadcast,
        "cat": _joined,
        "convolution": _convolved,
        **dict.fromkeys(("hardtanh", "leaky_relu", "relu", "sigmoid", "silu"), _alike),
        "max_pool2d_with_indices": _pooled,
        "mul": _broadcast,
        "upsample_nearest2d": _enlarged,
    }
)

RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "convolution": _Rule(("Conv",), _conv),
        "silu": _Rule(("Sigmoid", "Mul")),
        "sigmoid": _Rule(("Sigmoid",)),
        "mul": _Rule(("Mul",)),
        "add": _Rule(("Add",)),
        "relu": _Rule(("Relu",)),
        "hardtanh": _Rule(
            ("Clip",), lambda args, _: dict(zip(("min", "max"), (*args[1:], -1.0, 1.0), strict=False))
        ),
        "leaky_relu": _Rule(("LeakyRelu",), lambda args, _: {"alpha": args[1] if len(args) > 1 else 0.01}),
        "max_pool2d_with_indices": _Rule(("MaxPool",), _pool),
        "upsample_nearest2d": _Rule(("Resize",), _resize),
        "cat": _Rule(("Concat",), lambda args, _: {"axis": args[1] if len(args) > 1 else 0}),
        "slice": _Rule(("Slice",), _slice, skip=_keeps_all),
        "detach": _Rule((), skip=lambda args: True),
        "alias": _Rule((), skip=lambda args: True),
    }
)
