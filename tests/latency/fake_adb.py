"""An ``adb`` over a folder: ``fake_adb.py ROOT adb-arguments...``.  Runs alone (``python -I -S``), imports little.

``ROOT/devices`` holds serials and states; the phone's files lie under ``ROOT/files``; its shell is ``/bin/sh`` with
``/data``, ``/proc`` and ``/sys`` moved there and ``ROOT/bin`` first on its path, so that quoting is judged by a real
shell.  ``ROOT/faults`` lists what goes wrong (see ``FakePhone.faults``), ``ROOT/events`` what happened.
Messages and exit codes are those of adb 1.0.41.
"""

import os
import sys
import time

ROOT = sys.argv[1]
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_benchmark.py")  # noqa: PTH100, PTH118, PTH120


def read(path: str, binary: bool = False):
    with open(path, "rb" if binary else "r") as file:  # noqa: PTH123
        return file.read()


def write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(data)


def devices() -> dict:
    return dict(line.split("\t") for line in read(f"{ROOT}/devices").splitlines())


def set_state(serial: str, state: str) -> None:
    found = {name: now for name, now in devices().items() if name != serial}
    if state != "gone":
        found[serial] = state
    write(f"{ROOT}/devices", "".join(f"{name}\t{now}\n" for name, now in found.items()).encode())


def fault(event: str) -> str:
    """What goes wrong at this event, if anything; notes the event."""
    with open(f"{ROOT}/events", "a+") as file:  # noqa: PTH123
        file.seek(0)
        seen = file.read().splitlines()
        file.write(event + "\n")
    for line in read(f"{ROOT}/faults").splitlines():
        parts, skip, times, what = line.split("|")
        if hits(parts, event):
            count = sum(hits(parts, earlier) for earlier in seen)
            if int(skip) <= count < int(skip) + int(times):
                return what
    return ""


def hits(parts: str, event: str) -> bool:
    return all(part in event for part in parts.split("&"))


def fail(message: str) -> None:
    """Failures of copies go to stdout, as the real client's do."""
    (sys.stdout if message.startswith("adb: error") else sys.stderr).write(message + "\n")
    sys.exit(1)


def require(serial: str, prefix: str) -> None:
    state = devices().get(serial)
    if state is None:
        fail(f"{prefix}device '{serial}' not found")
    if state == "unauthorized":
        fail(f"{prefix}device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if "
             "that seems wrong.\nOtherwise check for a confirmation dialog on your device.")  # fmt: skip
    if state != "device":
        fail(f"{prefix}device {state}")


def local(remote: str) -> str:
    return f"{ROOT}/files{remote}"


def push(serial: str, source: str, target: str) -> None:
    require(serial, "adb: error: failed to get feature set: ")
    name = target.rpartition("/")[2]
    what = fault(f"push:{name}")
    data = read(source, binary=True)
    failed = f"adb: error: failed to copy '{source}' to '{target}': "
    if what == "hang":
        time.sleep(60)
    if what:
        write(local(target), data[: len(data) // 2])
        if what == "full":
            fail(f"{failed}remote write failed: No space left on device")
        set_state(serial, what)
        fail(f"{failed}couldn't read from device")
    try:
        if name == "benchmark_model":  # whose ELF runs on no host
            data = f'#!/bin/sh\nexec {sys.executable} -I -S {SCRIPT} {ROOT} "$@"\n'.encode()
        write(local(target), data)
    except OSError:
        fail(f"{failed}remote couldn't create file: No such file or directory")
    print(f"{source}: 1 file pushed, 0 skipped. 30.1 MB/s ({len(data)} bytes in 0.001s)")


def pull(serial: str, source: str, target: str) -> None:
    require(serial, "adb: error: failed to get feature set: ")
    what = fault(f"pull:{source.rpartition('/')[2]}")
    if what == "corrupt":
        write(target, b"\xff\xfe garbage \x00\x01")
        return
    if what:
        set_state(serial, what)
        fail(f"adb: error: failed to copy '{source}' to '{target}': couldn't read from device")
    try:
        write(target, read(local(source), binary=True))
    except OSError:
        fail(f"adb: error: failed to stat remote object '{source}': No such file or directory")
    print(f"{source}: 1 file pulled, 0 skipped.")


def shell(serial: str, words: list) -> None:
    require(serial, "error: ")
    line = " ".join(words)  # as adb does
    what = fault("shell:" + line)
    if what == "hang":
        time.sleep(60)
    if what in ("cut", "gone", "offline", "unauthorized"):
        sys.stdout.write("INFO: STARTING!\n")
        if what != "cut":
            set_state(serial, what)
        sys.exit(255)
    for top in ("data", "proc", "sys"):
        for before in (" ", "="):
            line = line.replace(f"{before}/{top}/", f"{before}{ROOT}/files/{top}/")
    environment = {"PATH": f"{ROOT}/bin:/usr/bin:/bin", "ROOT": ROOT, "NOW": what}
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout.flush()
    os.execve("/bin/sh", ["sh", "-c", line], environment)


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


main(sys.argv[2:])
