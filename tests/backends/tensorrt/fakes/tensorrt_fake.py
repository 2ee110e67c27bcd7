"""TensorRT over a simulated machine, with the names of a given version's bindings and no others.

The numbers come from ONNX Runtime. What the library's documents call undefined, forbidden or an error is one here.
"""

from __future__ import annotations

from types import ModuleType

from tensorrt_fakes import building, running
from tensorrt_fakes.bound import Bound, bind, make_enum
from tensorrt_fakes.machine import Machine
from tensorrt_fakes.surface import TENSORRT
from tensorrt_fakes.world import ILogger, World


def make_tensorrt(machine: Machine, version: str) -> ModuleType:
    """A module `tensorrt` of a version that surface.json knows."""
    surface = TENSORRT[version]
    module = ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    world = World(machine, version, surface, module)
    for dotted, members in surface["enums"].items():
        name = dotted.rpartition(".")[2]
        setattr(module, name, make_enum(name, members))
    for kind in [ILogger, *classes(building), *classes(running)]:
        if kind.__name__ in surface["classes"]:
            setattr(module, kind.__name__, bind(kind, world, surface["classes"][kind.__name__]))

    def init_libnvinfer_plugins(logger: object, namespace: str) -> bool:
        world.register(logger)
        world.plugins = True
        return True

    module.init_libnvinfer_plugins = init_libnvinfer_plugins  # type: ignore[attr-defined]
    severity = module.__dict__.pop("Severity")
    for name, member in {"Severity": severity, **severity.__members__}.items():
        setattr(module.ILogger, name, member)
    return module


def classes(of: ModuleType) -> list[type]:
    """The classes that a module defines itself."""
    return [
        each
        for each in vars(of).values()
        if isinstance(each, type) and issubclass(each, Bound) and each.__module__ == of.__name__
    ]
