"""Facts of accelerators beside CPU and GPU.

Coral's edge TPU, the Neural Compute Stick, Apple's Neural Engine, NPUs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeyolo_bench.facts.machine import Machine
from edgeyolo_bench.values.device import Accelerator

# A Coral stick shows the first id until something has been loaded onto it, then the second.
USB = {
    "1a6e:089a": ("edge-tpu", "Coral USB accelerator, not yet initialised"),
    "18d1:9302": ("edge-tpu", "Coral USB accelerator"),
    "03e7:2485": ("ncs", "Neural Compute Stick 2 (Myriad X)"),
    "03e7:2150": ("ncs", "Neural Compute Stick (Myriad 2)"),
    "03e7:f63b": ("ncs", "Myriad X, booted"),
}


def read_accelerators(machine: Machine) -> tuple[Accelerator, ...]:
    """Everything found on the USB and PCI buses, and what the system itself has."""
    found = [Accelerator(*USB[name], where) for name, where in _usb(machine) if name in USB]
    found += [
        Accelerator("edge-tpu", "Coral PCIe accelerator", path) for path in machine.glob("/dev/apex_[0-9]*")
    ]
    found += [
        Accelerator("npu", "NPU of the processor", path) for path in machine.glob("/dev/accel/accel[0-9]*")
    ]
    if machine.system == "Darwin" and machine.processor == "arm64":
        found.append(Accelerator("ane", "Apple Neural Engine", "macOS on Apple silicon"))
    return tuple(found)


def _usb(machine: Machine) -> Iterator[tuple[str, str]]:
    """`vendor:product` and where, from sysfs; from lsusb where there is no sysfs."""
    files = list(machine.glob("/sys/bus/usb/devices/*/idVendor"))
    for file in files:
        folder = file.rpartition("/")[0]
        yield f"{machine.read(file)}:{machine.read(f'{folder}/idProduct')}", folder
    if not files:
        for line in (machine.run(["lsusb"]) or "").splitlines():
            if match := re.match(r"(Bus \d+ Device \d+): ID ([0-9a-f]{4}:[0-9a-f]{4})", line):
                yield match[2], match[1]
