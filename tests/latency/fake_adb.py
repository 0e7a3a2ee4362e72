"""An ``adb`` over a folder: ``fake_adb.py ROOT adb-arguments...``.  Runs alone (``python -I -S``).

``ROOT/devices.json`` holds serials and states; the phone's files lie under ``ROOT/files``; its shell is ``/bin/sh``
with ``/data``, ``/proc`` and ``/sys`` moved there and ``ROOT/bin`` first on its path, so that quoting is judged by a
real shell.  ``ROOT/faults.json`` lists what goes wrong: [event, skip, times, what]; ``ROOT/events.log`` what happened.
Messages and exit codes are those of adb 1.0.41.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(sys.argv[1])
SCRIPT = Path(__file__).with_name("fake_benchmark.py")


def devices() -> dict:
    return json.loads((ROOT / "devices.json").read_text())


def set_state(serial: str, state: str) -> None:
    found = devices()
    found.pop(serial, None)
    if state != "gone":
        found[serial] = state
    (ROOT / "devices.json").write_text(json.dumps(found))


def fault(event: str) -> str:
    """What goes wrong at this event, if anything; notes the event."""
    log = ROOT / "events.log"
    seen = log.read_text().splitlines() if log.exists() else []
    with log.open("a") as file:
        file.write(event + "\n")
    for pattern, skip, times, what in json.loads((ROOT / "faults.json").read_text()):
        if re.search(pattern, event):
            count = sum(bool(re.search(pattern, line)) for line in seen)
            if skip <= count < skip + times:
                return what
    return ""


def fail(message: str, code: int = 1) -> None:
    sys.stderr.write(message + "\n")
    sys.exit(code)


def require(serial: str, prefix: str) -> None:
    state = devices().get(serial)
    if state is None:
        fail(f"{prefix}device '{serial}' not found")
    if state == "unauthorized":
        fail(f"{prefix}device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if "
             "that seems wrong.\nOtherwise check for a confirmation dialog on your device.")  # fmt: skip
    if state != "device":
        fail(f"{prefix}device {state}")


def local(remote: str) -> Path:
    return ROOT / "files" / remote.lstrip("/")


def push(serial: str, source: str, target: str) -> None:
    require(serial, "adb: error: failed to get feature set: ")
    what = fault(f"push:{Path(target).name}")
    data = Path(source).read_bytes()
    if what == "hang":
        time.sleep(60)
    if what == "full":
        local(target).write_bytes(data[: len(data) // 2])
        fail(f"adb: error: failed to copy '{source}' to '{target}': remote write failed: No space left on device")
    if what:  # a state that the phone falls into
        local(target).write_bytes(data[: len(data) // 2])
        set_state(serial, what)
        fail(f"adb: error: failed to copy '{source}' to '{target}': couldn't read from device")
    if not local(target).parent.is_dir():
        fail(f"adb: error: failed to copy '{source}' to '{target}': remote couldn't create file: No such file")
    if Path(target).name == "benchmark_model":  # whose ELF runs on no host
        local(target).write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {SCRIPT} {ROOT} "$@"\n')
    else:
        shutil.copyfile(source, local(target))
    print(f"{source}: 1 file pushed, 0 skipped. 30.1 MB/s ({len(data)} bytes in 0.001s)")


def pull(serial: str, source: str, target: str) -> None:
    require(serial, "adb: error: failed to get feature set: ")
    what = fault(f"pull:{Path(source).name}")
    if what == "corrupt":
        Path(target).write_bytes(b"\xff\xfe garbage \x00\x01")
        return
    if what:
        set_state(serial, what)
        fail(f"adb: error: failed to copy '{source}' to '{target}': couldn't read from device")
    if not local(source).is_file():
        fail(f"adb: error: failed to stat remote object '{source}': No such file or directory")
    shutil.copyfile(local(source), target)
    print(f"{source}: 1 file pulled, 0 skipped.")


def shell(serial: str, words: list) -> None:
    require(serial, "error: ")
    line = " ".join(words)  # as adb does
    what = fault("shell " + line)
    if what == "hang":
        time.sleep(60)
    if what == "cut":
        print("INFO: STARTING!")
        sys.exit(255)
    if what in ("gone", "offline", "unauthorized"):
        print("INFO: STARTING!")
        set_state(serial, what)
        sys.exit(255)
    if what:  # for the benchmark
        (ROOT / "now").write_text(what)
    line = re.sub(r"(?<![\w/.])/(data|proc|sys)/", rf"{ROOT}/files/\1/", line)
    line = re.sub(r"=/data/", rf"={ROOT}/files/data/", line)
    environment = {"PATH": f"{ROOT}/bin:/usr/bin:/bin", "ROOT": str(ROOT)}
    done = subprocess.run(["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, env=environment, check=False)
    (ROOT / "now").unlink(missing_ok=True)
    sys.exit(done.returncode)


def main(words: list) -> None:
    if words == ["devices"]:
        if fault("devices") == "hang":
            time.sleep(60)
        print("List of devices attached")
        for serial, state in devices().items():
            print(f"{serial}\t{state}")
        print()
    elif words[0] == "-s" and words[2] == "push":
        push(words[1], *words[3:])
    elif words[0] == "-s" and words[2] == "pull":
        pull(words[1], *words[3:])
    elif words[0] == "-s" and words[2] == "shell":
        shell(words[1], words[3:])
    else:
        fail(f"adb: unknown command {words[0]}")


os.umask(0o077)
main(sys.argv[2:])
