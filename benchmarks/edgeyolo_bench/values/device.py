"""Facts of the measured machine as values.

`edgeyolo_bench.facts` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeyolo.support.machine import INTEGERS


@dataclass(frozen=True)
class CpuFacts:
    """Facts of the processor.

    `cores` are logical ones of the machine, `available` those this process may use (affinity and container
    quota); clocks in MHz, one mean over the available cores; None and "" where the system does not tell.
    `features` are the instruction sets that decide about speed (avx2, avx512f, avx512_vnni, amx_int8, asimddp
    ...).
    """

    model: str
    architecture: str
    cores: int
    available: float
    physical: int | None = None
    governor: str = ""
    mhz_before: float | None = None
    mhz_after: float | None = None
    mhz_max: float | None = None
    turbo: bool | None = None
    features: tuple[str, ...] = ()

    @property
    def multiplies_integers(self) -> bool | None:
        """Return True for instructions on sums of products of 8-bit integers.

        Without them INT8 gains less; None where the system does not tell.
        """
        return bool(INTEGERS & set(self.features)) if self.features else None


@dataclass(frozen=True)
class GpuFacts:
    """Facts of one GPU.

    Clocks in MHz, power in W, memory in bytes, temperature in degrees Celsius, `power_mode` as its tool words
    it (a Jetson's nvpmodel), `throttling` the reasons that were active.
    """

    name: str
    driver: str = ""
    memory: int | None = None
    clock: float | None = None
    clock_max: float | None = None
    memory_clock: float | None = None
    power: float | None = None
    power_limit: float | None = None
    power_mode: str = ""
    temperature: float | None = None
    utilization: float | None = None
    throttling: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accelerator:
    """Something that runs networks beside CPU and GPU.

    `kind` is "edge-tpu", "ncs", "npu" or "ane"; `where` is the device node, the bus address or the tool that
    named it.
    """

    kind: str
    name: str
    where: str = ""


@dataclass(frozen=True)
class Interference:
    """Load of the machine by others during a measurement.

    Shares are of all cores together, 0..1: `others` of other processes, `steal` taken by the hypervisor.
    `load` is the one-minute load average before the run, `preemptions` how often the kernel took the core
    away from us per second, `throttled` how often a container's quota stopped us. `busy` says in words why
    the figures are not a quiet machine's; empty for a quiet one.
    """

    load: float | None = None
    others: float | None = None
    steal: float | None = None
    preemptions: float | None = None
    throttled: int | None = None
    busy: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceFacts:
    """One machine. `temperatures` in degrees Celsius by sensor, before and after.

    `throttling` says what slowed it down meanwhile; `runtimes` and `packages` map names to versions; `memory`
    in bytes.
    """

    name: str
    system: str
    cpu: CpuFacts
    memory: int | None = None
    memory_available: int | None = None
    python: str = ""
    board: str = ""
    power_mode: str = ""
    container: str = ""
    runtimes: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[GpuFacts, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    temperatures_before: Mapping[str, float] = field(default_factory=dict)
    temperatures_after: Mapping[str, float] = field(default_factory=dict)
    throttling: tuple[str, ...] = ()
    interference: Interference = Interference()
