"""The names a checkpoint may use, and the inert value each one stands for here.

A pickle names Python objects ("os.system", "models.yolo.Model") and asks for them to be called. Nothing is
ever looked up: a name in this table gives one of our own values, any other name refuses the file. The table
holds what published YOLOv7 checkpoints, those saved during their training and harmless wrappers of both
refer to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from edgeyolo.models.checkpoint import constructors as make
from edgeyolo.models.checkpoint.constructors import Callee
from edgeyolo.models.checkpoint.records import Named, StorageType

_MODULES = {
    "models.yolo": "Model Detect IDetect IAuxDetect",
    "models.common": "Conv Concat MP SP ReOrg DownC Shortcut SPPCSPC RepConv ImplicitA ImplicitM "
    "Bottleneck BottleneckCSPA BottleneckCSPB BottleneckCSPC SPP Stem Res ResCSPB ResCSPC ResXCSPB ResXCSPC",
    "torch.nn.modules.conv": "Conv2d",
    "torch.nn.modules.batchnorm": "BatchNorm2d SyncBatchNorm",
    "torch.nn.modules.pooling": "MaxPool2d",
    "torch.nn.modules.upsampling": "Upsample",
    "torch.nn.modules.container": "Sequential ModuleList",
    "torch.nn.modules.activation": "SiLU LeakyReLU",
    "torch.nn.modules.linear": "Identity",
    "torch.nn.parallel.data_parallel": "DataParallel",
    "torch.nn.parallel.distributed": "DistributedDataParallel",
    "argparse": "Namespace",  # the options of the training, saved along by some
}
_STORAGES = (
    StorageType("DoubleStorage", "float64", 8),
    StorageType("FloatStorage", "float32", 4),
    StorageType("HalfStorage", "float16", 2),
    StorageType("BFloat16Storage", "bfloat16", 2),
    StorageType("LongStorage", "int64", 8),
    StorageType("IntStorage", "int32", 4),
    StorageType("ShortStorage", "int16", 2),
    StorageType("CharStorage", "int8", 1),
    StorageType("ByteStorage", "uint8", 1),
    StorageType("BoolStorage", "bool", 1),
)
_TORCH_DTYPES = "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 bool"
_NUMPY_TYPES = "float16 float32 float64 int8 int16 int32 int64 uint8 bool_ str_"
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"


def allowed_names(rebuild_tensor: Callable[[tuple[Any, ...]], Any]) -> Mapping[tuple[str, str], Any]:
    """(module, name) -> the value it stands for.

    A `Callee`, or a constant such as a storage type.
    """
    calls: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
        ("collections", "OrderedDict"): make.make_dict,
        ("collections", "defaultdict"): make.make_defaultdict,
        ("_codecs", "encode"): make.make_bytes,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): make.make_parameter,
        ("torch", "Size"): make.make_size,
        ("torch", "device"): make.make_device,
        ("datetime", "date"): make.make_date,
        ("numpy", "dtype"): make.make_dtype,
        ("numpy", "ndarray"): make.refuse_call,  # named only as an argument of _reconstruct
    }
    for builtins in ("builtins", "__builtin__"):  # the latter is how protocol 2 writes it
        calls |= {
            (builtins, "set"): make.make_set,
            (builtins, "frozenset"): make.make_set,
            (builtins, "dict"): make.make_dict,
            (builtins, "getattr"): make.make_bound_method,
        }
    for numpy_core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        calls |= {(numpy_core, "scalar"): make.make_scalar, (numpy_core, "_reconstruct"): make.make_array}
    calls |= {
        (module, name): make.make_path for module in ("pathlib", "pathlib._local") for name in _PATHS.split()
    }
    for module, names in _MODULES.items():
        calls |= {(module, name): partial(make.make_object, f"{module}.{name}") for name in names.split()}
    table: dict[tuple[str, str], Any] = {key: Callee(".".join(key), call) for key, call in calls.items()}
    table |= {("torch", storage.name): storage for storage in _STORAGES}
    table |= {("numpy", name): Named(f"numpy.{name}") for name in _NUMPY_TYPES.split()}
    return table | {("torch", name): Named(f"torch.{name}") for name in _TORCH_DTYPES.split()}
