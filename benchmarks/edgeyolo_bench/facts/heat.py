"""Temperatures, and what slowed the processor down because of them."""

from __future__ import annotations

from collections.abc import Mapping

from edgeyolo_bench.facts.machine import Machine

# Bits of Raspberry Pi's `vcgencmd get_throttled`: what is so now; the same shifted by 16 has been since it was started.
_PI_BITS = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}


def temperatures(machine: Machine) -> dict[str, float]:
    """Degrees Celsius by sensor."""
    found: dict[str, float] = {}
    for zone in machine.glob("/sys/class/thermal/thermal_zone[0-9]*"):
        value = machine.number(f"{zone}/temp")
        if value:
            found[machine.read(f"{zone}/type") or zone.rpartition("/")[2]] = value / 1e3
    for file in machine.glob("/sys/class/hwmon/hwmon[0-9]*/temp[0-9]*_input"):
        value = machine.number(file)
        chip = machine.read(file.rpartition("/")[0] + "/name") or "hwmon"
        label = machine.read(file.removesuffix("_input") + "_label") or file.rpartition("/")[2].split("_")[0]
        if value:
            found[f"{chip} {label}"] = value / 1e3
    return found


def throttle_counters(machine: Machine) -> dict[str, float]:
    """Numbers that grow as the processor is slowed down.

    Compare two readings with `throttling`.
    """
    found: dict[str, float] = {}
    for file in machine.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"):
        if (value := machine.number(file)) is not None:
            name = file.rpartition("/")[2].removesuffix("_throttle_count")
            found[name] = found.get(name, 0.0) + value
    return found


def throttling(machine: Machine, before: Mapping[str, float]) -> tuple[str, ...]:
    """Causes that slowed the processor down since `before`, in words."""
    after = throttle_counters(machine)
    said = [
        f"the processor throttled {after[name] - count:.0f} times ({name})"
        for name, count in before.items()
        if after.get(name, 0.0) > count
    ]
    told = (machine.run(["vcgencmd", "get_throttled"]) or "").strip().removeprefix("throttled=")
    bits = int(told, 16) if told.startswith("0x") else 0
    said += [f"{words} (vcgencmd)" for bit, words in _PI_BITS.items() if bits >> bit & 1]
    if machine.system == "Darwin":
        for line in (machine.run(["pmset", "-g", "therm"]) or "").splitlines():
            name, equals, value = line.partition("=")
            if equals and name.strip() == "CPU_Speed_Limit" and value.strip() not in ("100", ""):
                said.append(f"macOS limits the clock to {value.strip()} %")
    return tuple(said)
