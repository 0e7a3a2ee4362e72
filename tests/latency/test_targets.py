"""Device strings, cores, and the seam."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.errors import LatencyError
from archsearch.latency.targets import Setup, Target, parse_cpus, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("host", Target("host")),
        ("adb:8A1X0C3", Target("adb", serial="8A1X0C3")),
        ("adb:192.168.1.7:5555", Target("adb", serial="192.168.1.7:5555")),
        ("adb:adb-8A1X0C3-x1Yz._adb-tls-connect._tcp", Target("adb", serial="adb-8A1X0C3-x1Yz._adb-tls-connect._tcp")),
        ("adb:", Target("adb")),
        ("adb", Target("adb")),
        ("ssh:pi@raspberrypi.local", Target("ssh", user="pi", host="raspberrypi.local")),
        ("ssh:pi@10.0.0.7:2222", Target("ssh", user="pi", host="10.0.0.7", port=2222)),
        ("ssh:pi@[fe80::1]:22", Target("ssh", user="pi", host="fe80::1")),
    ],
)
def test_devices(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "Host", "host:", "usb:1", "adb:-s", "adb:a b", "adb:$(x)", "adb:a;b", "adb:x\n", "adb:" + "x" * 129, "ssh:",
     "ssh:pi", "ssh:@h", "ssh:pi@", "ssh:-oProxyCommand=x@h", "ssh:pi@-h", "ssh:pi@h:", "ssh:pi@h:0", "ssh:pi@h:65536",
     "ssh:pi@h:2²", "ssh:pi@h h", "ssh:pi@h;x", "ssh:p i@h", "ssh:pi@[::1", "ssh:pi@fe80::1", "ssh:pi@h:22\n"],
)  # fmt: skip
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(LatencyError, match=r"^--device: "):
        parse_target(text)


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from(["", "adb:", "ssh:", "ssh:pi@"]))
def test_no_string_gets_a_word_of_its_own_past_the_parser(text: str, prefix: str) -> None:
    """Whatever is accepted starts with no dash and holds nothing that a shell reads as more than a word."""
    plain = set(string.ascii_letters + string.digits + "._:-[]%")
    try:
        target = parse_target(prefix + text)
    except LatencyError:
        return
    for part in (target.serial, target.user, target.host):
        assert set(part) <= plain
        assert not part.startswith("-")
    assert 0 < target.port < 65536


def test_targets_print_as_they_are_written() -> None:
    for text in ("host", "adb:8A1X0C3", "ssh:pi@board", "ssh:pi@board:2222"):
        assert str(parse_target(text)) == text


def test_cores() -> None:
    assert parse_cpus("") == ()
    assert parse_cpus("7") == (7,)
    assert parse_cpus("4-7,0,4") == (0, 4, 5, 6, 7)
    assert Setup(cpus=(4, 5)).affinity == "cores 4,5"
    assert Setup().affinity == ""
    for text in ("4-", "-1", "a", "1,,2", "7-4", "0-9999", "1;2", "²"):
        with pytest.raises(LatencyError, match="not a list of cores"):
            parse_cpus(text)
