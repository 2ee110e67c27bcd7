"""Facts of the machine that is measured: read before the run, completed after it."""

from __future__ import annotations

import platform
import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from edgeyolo.backend import registry
from edgeyolo.version import __version__
from edgeyolo_bench.facts.accelerators import read_accelerators
from edgeyolo_bench.facts.cpu import clock, read_cpu
from edgeyolo_bench.facts.gpu import power_mode, read_gpus
from edgeyolo_bench.facts.heat import temperatures, throttle_counters, throttling
from edgeyolo_bench.facts.load import load_average
from edgeyolo_bench.facts.machine import Machine
from edgeyolo_bench.values.device import DeviceFacts, Interference

__all__ = ["Machine", "Watch", "read_device"]

PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "pillow", "torch")


class Watch:
    """Reads the device's facts as it is made, and again when the run is over.

    `finish` gives both.
    """

    def __init__(self, machine: Machine, name: str = "") -> None:
        self._machine = machine
        self.load = load_average(machine)
        self._throttles = throttle_counters(machine)
        self.device = read_device(machine, name)
        self._after: DeviceFacts | None = None

    def look_again(self) -> None:
        """Read clocks, temperatures and throttling, while the machine is still warm."""
        gpus = read_gpus(self._machine) or self.device.gpus
        slowed = [*throttling(self._machine, self._throttles)]
        slowed += [f"{gpu.name}: {words}" for gpu in gpus for words in gpu.throttling]
        self._after = replace(
            self.device,
            cpu=replace(self.device.cpu, mhz_after=clock(self._machine)),
            gpus=gpus,
            temperatures_after=temperatures(self._machine),
            throttling=tuple(slowed),
        )

    def finish(self, interference: Interference) -> DeviceFacts:
        """The facts before and after the run."""
        if self._after is None:  # it was interrupted
            self.look_again()
        return replace(self._after or self.device, interference=interference)


def read_device(machine: Machine, name: str = "") -> DeviceFacts:
    """Everything that is known of a machine before it is measured.

    `name` is what reports call it.
    """
    cpu, gpus = read_cpu(machine), read_gpus(machine)
    board = machine.read("/proc/device-tree/model") or ""
    whole, free = _memory(machine)
    return DeviceFacts(
        name=name or board or _short(cpu.model),
        system=platform.platform() if machine.system == platform.system() else machine.system,
        cpu=cpu,
        memory=whole,
        memory_available=free,
        python=platform.python_version(),
        board=board,
        power_mode=power_mode(machine),
        container=_container(machine),
        runtimes=_runtimes(),
        packages={"edgeyolo": __version__, **_packages()},
        gpus=gpus,
        accelerators=read_accelerators(machine),
        temperatures_before=temperatures(machine),
    )


def _short(model: str) -> str:
    """`Intel(R) Xeon(R) Processor @ 2.80GHz` -> `Intel Xeon Processor`."""
    return re.sub(r"\((R|TM)\)|@.*$", "", model, flags=re.IGNORECASE).strip()


def _memory(machine: Machine) -> tuple[int | None, int | None]:
    """Bytes in all and bytes free for use."""
    text = machine.read("/proc/meminfo") or ""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    if found:
        free = found.get("MemAvailable")
        return int(found["MemTotal"]) * 1024, int(free) * 1024 if free else None
    told = (machine.run(["sysctl", "-n", "hw.memsize"]) or "").strip() if machine.system == "Darwin" else ""
    return (int(told) if told.isdigit() else None), None


def _container(machine: Machine) -> str:
    if machine.exists("/.dockerenv"):
        return "docker"
    return "podman" if machine.exists("/run/.containerenv") else ""


def _runtimes() -> dict[str, str]:
    """Versions of the runtimes that can run here, by backend."""
    found = {name: backend.can_run() for name, backend in registry.backends().items()}
    return {name: state.version for name, state in found.items() if state.ok}


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
