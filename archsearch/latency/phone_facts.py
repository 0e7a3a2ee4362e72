"""What an Android phone tells about itself, as values: properties, processor, battery, thermal state."""

from __future__ import annotations

import re
from pathlib import Path

_PROPERTY = re.compile(r"^\[([\w.-]+)\]: \[(.*)\]$", re.MULTILINE)
_MACHINES = {(1, 40): "armeabi-v7a", (2, 183): "arm64-v8a", (1, 3): "x86", (2, 62): "x86_64"}  # ELF class, machine
_CHARGE = {"2": "charging", "3": "discharging", "4": "not charging", "5": "full"}
_THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


def properties(text: str) -> dict[str, str]:
    """The output of ``getprop``."""
    return dict(_PROPERTY.findall(text))


def soc_name(facts: dict[str, str]) -> str:
    """Maker and model of the processor (Android 12 and later), else its platform's name."""
    model = facts.get("ro.soc.model", "")
    if model:
        return f"{facts.get('ro.soc.manufacturer', '')} {model}".strip()
    return facts.get("ro.board.platform") or facts.get("ro.hardware", "")


def binary_abi(path: Path) -> str | None:
    """For which of Android's ABIs a program was built; None if it is no ELF program."""
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    return _MACHINES.get((head[4], int.from_bytes(head[18:20], "little")), "another processor")


def cpu_features(cpuinfo: str) -> frozenset[str]:
    """Features that every core of ``/proc/cpuinfo`` has."""
    lines = [line.partition(":")[2].split() for line in cpuinfo.splitlines() if line.startswith(("Features", "flags"))]
    return frozenset(set.intersection(*map(set, lines))) if lines else frozenset()


def cores(present: str) -> tuple[int, ...]:
    """``0-7`` or ``0-3,6`` as numbers."""
    found: list[int] = []
    for first, last in re.findall(r"(?<![0-9])([0-9]{1,4})(?:-([0-9]{1,4}))?(?![0-9])", present):
        found += range(int(first), min(int(last or first), 1023) + 1)
    return tuple(found)


def battery(dump: str) -> str:
    """``87 %, discharging, 31.2 C`` from ``dumpsys battery``; empty if it tells nothing."""
    found = dict(re.findall(r"^\s+(level|status|temperature): (-?[0-9]{1,6})\s*$", dump, re.MULTILINE))
    parts = [f"{found['level']} %"] if "level" in found else []
    if found.get("status") in _CHARGE:
        parts.append(_CHARGE[found["status"]])
    if "temperature" in found:
        parts.append(f"{int(found['temperature']) / 10:.1f} C")
    return ", ".join(parts)


def thermal(dump: str) -> str:
    """``status 1 (light)`` from ``dumpsys thermalservice`` (Android 10 and later); empty if it tells nothing."""
    found = re.search(r"^\s*Thermal Status: ([0-9])\s*$", dump, re.MULTILINE)
    if found is None:
        return ""
    level = int(found[1])
    return f"status {level} ({_THERMAL[level] if level < len(_THERMAL) else 'unknown'})"
