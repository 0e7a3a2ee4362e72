"""A phone for tests: a folder, and an ``adb`` executable that serves it (see ``fake_adb.py``)."""

import sys
from pathlib import Path

from archsearch.latency.targets import Setup, Target, Tools

ADB = Path(__file__).with_name("fake_adb.py")
AARCH64 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00"
PROPERTIES = """[ro.product.manufacturer]: [Google]
[ro.product.model]: [Pixel 0]
[ro.soc.manufacturer]: [Google]
[ro.soc.model]: [Tensor 0]
[ro.build.version.release]: [15]
[ro.build.display.id]: [AP3A.000000.001]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  level: 87
  temperature: 312
"""


class FakePhone:
    """``serials`` are attached; ``setup`` measures on the first."""

    def __init__(self, root: Path, serials: tuple[str, ...] = ("PIXEL0",)) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        (root / "files/data/local/tmp").mkdir(parents=True)
        self.attach(**dict.fromkeys(serials, "device"))
        self.faults()
        self.file("/proc/cpuinfo", "processor : 0\nFeatures : fp asimd asimdhp\n")
        self.file("/sys/devices/system/cpu/present", "0-7\n")
        self.file("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "sched_pixel\n")
        (root / "properties").write_text(PROPERTIES)
        (root / "battery").write_text(BATTERY)
        (root / "thermalservice").write_text("IsStatusOverride: false\nThermal Status: 0\nCached temperatures:\n")
        self.program("getprop", 'cat "$ROOT/properties"')
        self.program("dumpsys", 'cat "$ROOT/$1"')
        self.program("pkill", 'echo "$@" >> "$ROOT/killed"')
        self.adb = root / "adb"
        self.adb.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {ADB} {root} "$@"\n')
        self.adb.chmod(0o755)
        self.binary = root / "benchmark_model"
        self.binary.write_bytes(AARCH64)
        self.serial = serials[0] if serials else ""

    def program(self, name: str, line: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def file(self, path: str, text: str) -> None:
        place = self.root / "files" / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def attach(self, **states: str) -> None:
        (self.root / "devices").write_text("".join(f"{name}\t{state}\n" for name, state in states.items()))

    def faults(self, *faults: tuple[str, int, int, str]) -> None:
        """(parts of an event joined by ``&``, how many go well first, how many go wrong then, what goes wrong).

        Events are ``devices``, ``push:NAME``, ``pull:NAME`` and ``shell:LINE``.
        """
        (self.root / "faults").write_text("".join("|".join(map(str, fault)) + "\n" for fault in faults))
        (self.root / "events").unlink(missing_ok=True)

    def setup(self, serial: str | None = None, patience_seconds: float = 20.0, **more: object) -> Setup:
        tools = Tools(adb=str(self.adb), benchmark_model=str(self.binary), patience_seconds=patience_seconds)
        target = Target("adb", self.serial if serial is None else serial)
        return Setup(target=target, tools=tools, **more)  # type: ignore[arg-type]

    @property
    def left(self) -> list[str]:
        """What lies in the phone's folder for programs."""
        return sorted(path.name for path in (self.root / "files/data/local/tmp").iterdir())

    @property
    def runs(self) -> list[str]:
        """Command lines of every run of the tool."""
        path = self.root / "runs"
        return path.read_text().splitlines() if path.exists() else []
