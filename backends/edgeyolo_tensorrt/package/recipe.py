"""The build recipe.

`build.json`, which tells the device how to make its engine, and from which ONNX file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.errors import DamagedFileError
from edgeyolo_tensorrt.facts import GENERATIONS, MINIMUM, version_text

if TYPE_CHECKING:
    import onnx

    from edgeyolo.artifact.contracts import InputContract

SCHEMA = "edgeyolo-tensorrt-build/2"
FILE = "build.json"
GRAPH = "model.onnx"
TYPED = "typed.onnx"  # the strongly typed form, where it is another file


@dataclass(frozen=True)
class Recipe:
    """Recipe of an engine.

    `types` are the element types that are computed in ("float32", "float16", "int8"). TensorRT 10 and newer read them
    from the graph `typed` itself (strong typing), older versions build `graph` and need a builder flag for each but
    float32. Both are one file, but for integers, as old versions read no float16 beside them. `broken_fusions`
    counts the quantizers in the way of fused kernels. `batch` is the smallest, the usual and the largest number of
    images; equal where the graph's batch is fixed. `plugins` are the operators of TensorRT's plugin library (trtexec
    loads it unasked). `workspace_mib` limits TensorRT's scratch memory. `tf32` lets float32 convolutions round their
    inputs to 10 bits of mantissa, which TensorRT does by default and parity does not bear. `tensorrt_below` is ""
    where no version is too new for the target's GPU, `reason` then says nothing either.
    """

    target: str
    precision: str
    types: tuple[str, ...]
    input: str
    image: tuple[int, int, int]  # as the graph takes it: channels first, or last for uint8
    batch: tuple[int, int, int]  # smallest, usual, largest
    graph: str = GRAPH
    typed: str = GRAPH
    broken_fusions: int = 0
    plugins: tuple[str, ...] = ()
    workspace_mib: int = 2048
    tf32: bool = False
    tensorrt_from: str = version_text(MINIMUM)
    tensorrt_below: str = ""
    reason: str = ""
    schema: str = SCHEMA

    @property
    def dynamic(self) -> bool:
        """Return True if the batch varies.

        TensorRT then needs an optimization profile.
        """
        return self.batch[0] != self.batch[2]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The input's smallest, usual and largest shape."""
        return tuple((count, *self.image) for count in self.batch)

    def to_json(self) -> str:
        """The recipe as JSON.

        It has the limits of GPUs and `trtexec` commands for people who build without edgeyolo.
        """
        limits = [
            {
                "gpus": item.name,
                "compute_capability": [version_text(item.lowest), version_text(item.highest)],
                "tensorrt_below": version_text(item.removed),
                "source": item.source,
            }
            for item in GENERATIONS
        ]
        data = asdict(self) | {"gpu_limits": limits, "trtexec": self.trtexec()}
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def trtexec(self, engine: str = "model.engine") -> dict[str, str]:
        """The command by the first number of TensorRT's version."""
        shapes = ""
        if self.dynamic:
            texts = ["x".join(str(side) for side in shape) for shape in self.shapes()]
            options = zip(("minShapes", "optShapes", "maxShapes"), texts, strict=True)
            shapes = "".join(f" --{name}={self.input}:{text}" for name, text in options)
        common = f"--saveEngine={engine} --memPoolSize=workspace:{self.workspace_mib}"
        common += shapes + ("" if self.tf32 else " --noTF32")
        flags = {"float16": " --fp16", "int8": " --int8"}
        typed = "".join(flags.get(kind, "") for kind in self.types)
        return {
            "8": f"trtexec --onnx={self.graph} {common}{typed}",
            "10": f"trtexec --onnx={self.typed} {common} --stronglyTyped",
            "11": f"trtexec --onnx={self.typed} {common}",
        }

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read `build.json`.

        Anything missing, unknown or of another schema raises DamagedFileError.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DamagedFileError(f"{path}: not JSON ({error})") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise DamagedFileError(
                f"{path}: schema {schema!r}, this version of edgeyolo reads {SCHEMA!r}",
                hint="Export the weights again with this version.",
            )
        known = {item.name for item in fields(cls)}
        given: dict[str, Any] = {
            key: value for key, value in data.items() if key not in ("gpu_limits", "trtexec")
        }
        if set(given) != known:
            raise DamagedFileError(
                f"{path}: missing fields {sorted(known - set(given))}, unknown {sorted(set(given) - known)}"
            )
        settled: dict[str, Any] = {
            key: tuple(item) if isinstance(item, list) else item for key, item in given.items()
        }
        return cls(**settled)


def graph_types(model: onnx.ModelProto) -> tuple[str, ...]:
    """The element types that the graph computes in.

    "int8" where it holds QuantizeLinear nodes.
    """
    import onnx

    names = {int(onnx.TensorProto.FLOAT): "float32", int(onnx.TensorProto.FLOAT16): "float16"}
    found = {names[tensor.data_type] for tensor in model.graph.initializer if tensor.data_type in names}
    found |= {names[kind] for value in model.graph.input if (kind := _kind(value)) in names}
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        found.add("int8")
    return tuple(sorted(found))


def graph_plugins(model: onnx.ModelProto) -> tuple[str, ...]:
    """The operators that are none of ONNX's own: TensorRT's plugins."""
    return tuple(sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")}))


def _kind(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def batch_range(contract: InputContract) -> tuple[int, int, int]:
    """Smallest, usual and largest batch of an input contract."""
    return (1, contract.batch, contract.max_batch) if contract.dynamic_batch else (contract.batch,) * 3
