"""Facts of machines that are not here: recorded /proc and /sys trees, recorded outputs of tools."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edgeyolo_bench.facts import Machine, Watch, read_device
from edgeyolo_bench.facts.accelerators import read_accelerators
from edgeyolo_bench.facts.cpu import available_cores, clock, read_cpu
from edgeyolo_bench.facts.gpu import power_mode, read_gpus
from edgeyolo_bench.facts.heat import temperatures, throttle_counters, throttling
from edgeyolo_bench.facts.load import Spent, between, judge, read_counters
from edgeyolo_bench.facts.machine import run_command
from edgeyolo_bench.values.device import Interference


def recorded(
    root: Path, files: Mapping[str, str] = {}, commands: Mapping[str, str] = {}, system: str = "Linux",
    processor: str = "x86_64",
) -> Machine:  # fmt: skip
    """A machine of these files below `root`, whose commands (by the whole line) print these texts."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(command: Sequence[str]) -> str | None:
        return next((text for line, text in commands.items() if " ".join(command).startswith(line)), None)

    return Machine(root, run, system, processor)


CORES = "".join(
    f"processor\t: {number}\nmodel name\t: Intel(R) Core(TM) i5-1340P\ncpu MHz\t\t: {1900 + 100 * number}.000\n"
    f"physical id\t: 0\ncore id\t\t: {number // 2}\n"
    "flags\t\t: fpu sse4_2 avx avx2 fma avx_vnni\n\n"
    for number in range(4)
)
FREQUENCY = "/sys/devices/system/cpu/cpu{}/cpufreq/{}"
LAPTOP = {
    "/proc/cpuinfo": CORES,
    "/proc/meminfo": "MemTotal:       16316412 kB\nMemFree:  1 kB\nMemAvailable:   9000000 kB\n",
    "/proc/loadavg": "0.12 0.20 0.30 1/900 4242\n",
    "/proc/stat": "cpu  1000 0 500 8000 100 0 0 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n",
    FREQUENCY.format(0, "scaling_governor"): "powersave\n",
    FREQUENCY.format(0, "cpuinfo_max_freq"): "4600000\n",
    FREQUENCY.format(0, "scaling_cur_freq"): "1200000\n",
    FREQUENCY.format(1, "scaling_cur_freq"): "1800000\n",
    "/sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
    "/sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
    "/sys/class/thermal/thermal_zone0/temp": "61000\n",
    "/sys/class/hwmon/hwmon3/name": "coretemp\n",
    "/sys/class/hwmon/hwmon3/temp1_input": "59000\n",
    "/sys/class/hwmon/hwmon3/temp1_label": "Core 0\n",
    "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "2\n",
}


def test_a_laptop(tmp_path: Path) -> None:
    machine = recorded(tmp_path, LAPTOP)
    cpu = read_cpu(machine)
    assert cpu.model == "Intel(R) Core(TM) i5-1340P"
    assert (cpu.cores, cpu.physical, cpu.governor, cpu.turbo) == (4, 2, "powersave", True)
    assert (cpu.mhz_before, cpu.mhz_max) == (1500.0, 4600.0)
    assert cpu.features == ("sse4_2", "avx", "avx2", "fma", "avx_vnni")
    assert temperatures(machine) == {"x86_pkg_temp": 61.0, "coretemp Core 0": 59.0}
    device = read_device(machine)
    assert device.name == "Intel Core i5-1340P"
    assert device.memory == 16316412 * 1024
    assert device.memory_available == 9000000 * 1024
    assert "onnxruntime" in device.runtimes


def test_watch_records_changes_during_a_run(tmp_path: Path) -> None:
    machine = recorded(tmp_path, LAPTOP)
    watch = Watch(machine, "mine")
    assert watch.load == 0.12
    recorded(tmp_path, {
        FREQUENCY.format(0, "scaling_cur_freq"): "4000000",
        FREQUENCY.format(1, "scaling_cur_freq"): "4000000",
        "/sys/class/thermal/thermal_zone0/temp": "97000",
        "/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "9",
    })  # fmt: skip
    device = watch.finish(Interference(load=0.12))
    assert device.name == "mine"
    assert (device.cpu.mhz_before, device.cpu.mhz_after) == (1500.0, 4000.0)
    assert device.temperatures_after["x86_pkg_temp"] == 97.0
    assert device.throttling == ("the processor throttled 7 times (core)",)


def test_without_cpufreq_the_clock_is_cpuinfos(tmp_path: Path) -> None:
    assert clock(recorded(tmp_path, {"/proc/cpuinfo": CORES})) == 2050.0


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    device = read_device(recorded(tmp_path))
    assert device.cpu.model == "x86_64"
    assert (device.memory, device.gpus, device.accelerators, device.temperatures_before) == (None, (), (), {})
    assert device.cpu.mhz_before is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"/sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        (
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            0.25,
        ),
        (
            {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            1.0,
        ),
        ({"/sys/fs/cgroup/cpu.max": "max 100000"}, 1.0),
    ],
)
def test_a_containers_quota_counts(tmp_path: Path, files: Mapping[str, str], cores: float) -> None:
    assert available_cores(recorded(tmp_path, files), 1) == cores


PI = {
    "/proc/cpuinfo": "".join(
        f"processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd crc32 asimdhp asimddp\nCPU part\t: 0xd0b\n\n"
        for n in range(4)
    )
    + "Revision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
    "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
}


def test_a_raspberry_pi(tmp_path: Path) -> None:
    machine = recorded(tmp_path, PI, {"vcgencmd get_throttled": "throttled=0x50005\n"}, processor="aarch64")
    device = read_device(machine)
    assert device.cpu.model == "4 x Cortex-A76"
    assert device.name == device.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert device.cpu.features == ("asimd", "asimdhp", "asimddp")
    assert throttling(machine, throttle_counters(machine)) == (
        "under-voltage (vcgencmd)",
        "throttled (vcgencmd)",
    )


SMI = "NVIDIA H100 80GB HBM3, 550.54.15, 81559, 1980, 1980, 2619, 512.33, 700.00, 54, 97, P0, 0x0000000000000004\n"


def test_an_nvidia_gpu(tmp_path: Path) -> None:
    (gpu,) = read_gpus(recorded(tmp_path, {}, {"nvidia-smi --query-gpu": SMI}))
    assert (gpu.name, gpu.driver, gpu.power_mode) == ("NVIDIA H100 80GB HBM3", "550.54.15", "P0")
    assert gpu.memory == 81559 * 2**20
    assert (gpu.clock, gpu.clock_max, gpu.memory_clock) == (1980, 1980, 2619)
    assert (gpu.power, gpu.power_limit, gpu.temperature, gpu.utilization) == (512.33, 700, 54, 0.97)
    assert gpu.throttling == ("power cap",)


def test_an_nvidia_smi_that_does_not_know_the_last_field(tmp_path: Path) -> None:
    old = "Tesla V100, [N/A], 16160, 1380, [N/A], 877, 40.1, 300.00, 35, 0, P0\n"
    query = "nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.draw,"
    (gpu,) = read_gpus(
        recorded(tmp_path, {}, {query + "power.limit,temperature.gpu,utilization.gpu,pstate ": old})
    )
    assert (gpu.name, gpu.clock_max, gpu.throttling) == ("Tesla V100", None, ())


TEGRA = (
    "11-25-2026 10:00:00 RAM 2448/7620MB (lfb 3x4MB) SWAP 0/3810MB (cached 0MB) CPU [12%@1510,5%@1510,off,off] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 37%@[611] CPU@48.5C SOC2@47.1C GPU@46.7C VDD_IN 5240mW/5240mW VDD_SOC 1400mW\n"
)
CLOCKS = "SOC family:tegra234\nGPU MinFreq=624750000 MaxFreq=624750000 CurrentFreq=624750000\n"


def test_a_jetson(tmp_path: Path) -> None:
    machine = recorded(
        tmp_path,
        {"/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref\n"},
        {
            "tegrastats": TEGRA * 3,
            "nvpmodel -q": "NV Power Mode: 15W\n2\n",
            "jetson_clocks --show": CLOCKS,
        },
        processor="aarch64",
    )
    (gpu,) = read_gpus(machine)
    assert gpu.driver == "R35 (release), REVISION: 4.1"
    assert (gpu.clock, gpu.utilization, gpu.temperature, gpu.power) == (611, 0.37, 46.7, 5.24)
    assert gpu.power_mode == power_mode(machine) == "15W, clocks fixed"


@pytest.mark.parametrize(
    ("usb", "kind"),
    [("1a6e:089a", "edge-tpu"), ("18d1:9302", "edge-tpu"), ("03e7:2485", "ncs"), ("046d:c52b", None)],
)
def test_sticks_by_sysfs_and_by_lsusb(tmp_path: Path, usb: str, kind: str | None) -> None:
    vendor, product = usb.split(":")
    folder = "/sys/bus/usb/devices/1-2"
    files = {f"{folder}/idVendor": f"{vendor}\n", f"{folder}/idProduct": f"{product}\n"}
    found = read_accelerators(recorded(tmp_path / "sysfs", files))
    assert [item.kind for item in found] == ([kind] if kind else [])
    listed = f"Bus 002 Device 003: ID {usb} Some Company\nBus 001 Device 001: ID 1d6b:0002 Linux Foundation\n"
    found = read_accelerators(recorded(tmp_path / "lsusb", {}, {"lsusb": listed}))
    assert [item.kind for item in found] == ([kind] if kind else [])
    assert not kind or found[0].where == "Bus 002 Device 003"


def test_other_accelerators(tmp_path: Path) -> None:
    found = read_accelerators(recorded(tmp_path, {"/dev/apex_0": "", "/dev/accel/accel0": ""}))
    assert [(item.kind, item.where) for item in found] == [
        ("edge-tpu", "/dev/apex_0"),
        ("npu", "/dev/accel/accel0"),
    ]


def test_an_apple(tmp_path: Path) -> None:
    told = {
        "sysctl -n machdep.cpu.brand_string": "Apple M2\n",
        "sysctl -n hw.logicalcpu": "8\n",
        "sysctl -n hw.physicalcpu": "8\n",
        "sysctl -n hw.memsize": "17179869184\n",
        "pmset -g therm": "Note: No thermal warning level has been recorded\n CPU_Speed_Limit \t= 74\n",
    }
    machine = recorded(tmp_path, {}, told, "Darwin", "arm64")
    device = read_device(machine)
    assert (device.name, device.cpu.cores, device.memory) == ("Apple M2", 8, 16 << 30)
    assert [item.kind for item in device.accelerators] == ["ane"]
    assert throttling(machine, {}) == ("macOS limits the clock to 74 %",)


def test_a_quiet_machine_is_not_called_busy() -> None:
    spent = Spent(seconds=10, own=19.5, busy=19.7, steal=0.0, total=40.0, preemptions=40, throttled=0)
    found = judge(spent, 0.4, 4)
    assert found.busy == ()
    assert found.others == pytest.approx(0.005)
    assert found.preemptions == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"busy": 29.5}, "other processes took 25% of the processor"),
        ({"steal": 2.0}, "the hypervisor took 5.0%"),
        ({"preemptions": 9000}, "took the core away 900 times a second"),
        ({"throttled": 3}, "quota stopped the run 3 times"),
    ],
)
def test_a_busy_machine_is_called_so(change: Mapping[str, float], words: str) -> None:
    quiet = {
        "seconds": 10,
        "own": 19.5,
        "busy": 19.7,
        "steal": 0.0,
        "total": 40.0,
        "preemptions": 40,
        "throttled": 0,
    }
    (said,) = judge(Spent(**{**quiet, **change}), 0.4, 4).busy  # type: ignore[arg-type]
    assert words in said


def test_load_before_the_run_counts() -> None:
    assert judge(Spent(), 5.5, 4).busy == ("load average 5.5 before the run, on 4 cores",)
    assert judge(Spent(), None, 4).busy == ()


def test_counters_are_differences(tmp_path: Path) -> None:
    machine = recorded(tmp_path, LAPTOP)
    before = read_counters(machine)
    recorded(tmp_path, {"/proc/stat": "cpu  1400 0 600 8300 100 0 0 70 0 0\n"})
    spent = between(before, read_counters(machine))
    assert spent.busy == pytest.approx(5.0)  # 400 + 100 ticks of 10 ms
    assert spent.steal == pytest.approx(0.5)
    assert spent.total == pytest.approx(8.5)
    assert spent.own < 1
    doubled = spent + spent
    assert doubled.total == pytest.approx(17.0)
    assert (spent + Spent()).steal == pytest.approx(0.5)  # what is unknown on one side adds nothing


def test_a_process_that_works_for_us_is_not_another(tmp_path: Path) -> None:
    """Some runtimes run in a process of their own, which lives on and whose time os.times() does not count."""
    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").is_file():
        pytest.skip("needs a kernel that lists the children of a process")
    code = (
        "import sys, time\nwhile time.process_time() < 0.4: pass\nprint('done', flush=True)\nsys.stdin.read()"
    )
    before = read_counters(Machine())
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        assert between(before, read_counters(Machine())).own >= 0.35
    finally:
        child.communicate()


def test_commands_that_are_missing_or_fail_tell_nothing() -> None:
    assert run_command(["no-such-program-here"]) is None
    assert run_command(["false"]) is None
    assert run_command(["echo", "x"]) == "x\n"
