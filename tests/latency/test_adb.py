"""The real adb client, as far as it goes without a phone; and what phones tell about themselves."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import LatencyError
from archsearch.latency.adb import Adb
from archsearch.latency.phone_facts import battery, binary_abi, cores, cpu_features, properties, soc_name, thermal
from tests.conftest import require


@pytest.fixture
def adb(tmp_path: Path) -> Iterator[str]:
    """The client with a server of its own, so that nobody's phone is touched."""
    require("adb", binary="adb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wrapper = tmp_path / "adb"
    wrapper.write_text(f'#!/bin/sh\nexport ANDROID_ADB_SERVER_PORT={port} HOME={tmp_path}\nexec adb "$@"\n')
    wrapper.chmod(0o755)
    yield str(wrapper)
    subprocess.run([str(wrapper), "kill-server"], capture_output=True, check=False)


def test_the_real_client(adb: str) -> None:
    told = subprocess.run([adb, "version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("Android Debug Bridge version 1.")
    with pytest.raises(LatencyError, match=r"no phone of this serial number is attached; got nosuch"):
        Adb(adb, "nosuch", 60.0)
    state = subprocess.run([adb, "-s", "nosuch", "get-state"], capture_output=True, text=True, check=False)
    assert (state.returncode, state.stderr.strip()) == (1, "error: device 'nosuch' not found")


def test_the_fake_speaks_like_the_real_one(adb: str, tmp_path: Path) -> None:
    """Lists, exit codes and messages that can be had without a phone."""
    from tests.latency.fake_phone import FakePhone

    fake = FakePhone(tmp_path / "phone", serials=())
    listing = subprocess.run([adb, "devices"], capture_output=True, text=True, check=True).stdout
    assert listing.splitlines()[0] == "List of devices attached"
    if "device" in listing.replace("devices", ""):
        pytest.skip("a phone is attached")
    file = tmp_path / "file"
    file.touch()
    for words in (["devices"], ["-s", "nosuch", "shell", "true"], ["-s", "nosuch", "push", str(file), "/data/x"],
                  ["-s", "nosuch", "pull", "/data/x", str(file)]):  # fmt: skip
        real, ours = (
            subprocess.run([program, *words], capture_output=True, text=True, check=False)
            for program in (adb, str(fake.adb))
        )
        assert (ours.returncode, ours.stdout, ours.stderr) == (real.returncode, real.stdout, real.stderr)


def test_facts() -> None:
    facts = properties("[ro.product.model]: [Pixel 8]\n[ro.soc.manufacturer]: [Google]\n[ro.soc.model]: [Tensor G3]\n"
                       "[odd]: [a]: [b]]\nnonsense\n")  # fmt: skip
    assert facts["ro.product.model"] == "Pixel 8"
    assert soc_name(facts) == "Google Tensor G3"
    assert soc_name({"ro.board.platform": "msmnile"}) == "msmnile"
    assert soc_name({}) == ""
    assert cpu_features("Features\t: fp asimd asimdhp\nx: y\nFeatures\t: fp asimd\n") == {"fp", "asimd"}
    assert cpu_features("") == frozenset()
    assert cores("0-3,6\n") == (0, 1, 2, 3, 6)
    assert cores("cat: No such file") == ()


def test_states() -> None:
    assert battery("  level: 87\n  status: 3\n  temperature: 312\n") == "87 %, discharging, 31.2 C"
    assert battery("Can't find service: battery") == ""
    assert thermal("Thermal Status: 3\n") == "status 3 (severe)"
    assert thermal("Can't find service: thermalservice") == ""


def test_binaries(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for head, abi in ((b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x03\x00\x28\x00", "armeabi-v7a"), (b"#!/bin/sh", None),
                      (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xf3\x00", "another processor")):  # fmt: skip
        path.write_bytes(head)
        assert binary_abi(path) == abi
    assert binary_abi(Path(os.path.realpath("/bin/sh"))) in ("x86_64", "arm64-v8a", "x86", "armeabi-v7a")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_whatever_a_phone_prints(text: str) -> None:
    properties(text)
    cpu_features(text)
    cores(text)
    battery(text)
    thermal(text)
