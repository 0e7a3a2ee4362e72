"""Boards over ssh: a fake client that fails in every way, and the real client against a server of our own."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archsearch.errors import LatencyError
from archsearch.latency.journal import JOURNAL
from archsearch.latency.measure import measure
from archsearch.latency.table import load_table
from archsearch.latency.targets import DeviceLostError, Setup, Target, Tools, parse_target
from tests.conftest import require
from tests.latency.tables import SMALL

require("litert", "litert_torch", "ai_edge_litert")

OPS = SMALL[:3]

FAKE = """#!{python} -IS
import os, subprocess, sys, time
from pathlib import Path
root = Path({root!r})
words = sys.argv[1:]
if "-O" in words:
    sys.exit(0)
place, line = words[words.index("--") + 1:]
with (root / "calls.log").open("a") as log:
    log.write(repr(words) + "\\n")
fault = (root / "fault").read_text() if (root / "fault").exists() else ""
event, _, what = fault.partition("|")
hit = event and event in line and what
if hit == "refused":
    sys.exit(sys.stderr.write("ssh: connect to host board port 22: Connection refused\\n") and 255)
if hit == "denied":
    sys.exit(sys.stderr.write("pi@board: Permission denied (publickey).\\n") and 255)
if hit == "full":
    sys.exit(sys.stderr.write("cat: write error: No space left on device\\n") and 1)
if hit == "hang":
    time.sleep(60)
process = subprocess.Popen(["/bin/sh", "-c", line], cwd=root, start_new_session=True)
if hit == "dropped":
    deadline = time.time() + 30
    while not (root / "drop").exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, 9)
    sys.stderr.write("client_loop: send disconnect: Broken pipe\\n")
    sys.exit(255)
sys.exit(process.wait())
"""


class Board:
    """A fake client and the set-up that uses it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ssh = root / "ssh"
        self.ssh.write_text(FAKE.format(python=sys.executable, root=str(root)))
        self.ssh.chmod(0o755)

    def setup(self, python: str = sys.executable, patience_seconds: float = 60.0, **more: object) -> Setup:
        tools = Tools(ssh=str(self.ssh), python=python, patience_seconds=patience_seconds)
        return Setup(target=Target("ssh", user="pi", host="board", port=2222), tools=tools, **more)  # type: ignore[arg-type]

    def fault(self, event: str, what: str) -> None:
        (self.root / "fault").write_text(f"{event}|{what}")

    @property
    def calls(self) -> str:
        path = self.root / "calls.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def board(tmp_path: Path) -> Board:
    (tmp_path / "board").mkdir()
    return Board(tmp_path / "board")


def run(setup: Setup, folder: Path, cache: Path, ops: list = OPS):  # type: ignore[no-untyped-def,type-arg]
    return measure(ops, folder, device=setup, cache=cache, show_progress=False, max_seconds=0.3)


def left_behind() -> set[str]:
    return {path.name for path in Path("/tmp").glob("archsearch-*")}


def test_a_table_of_a_board(board: Board, cache: Path, tmp_path: Path) -> None:
    before = left_behind()
    done = run(board.setup(), tmp_path / "t", cache)
    assert (done.rows, done.failed, done.left) == (3, {}, 0)
    table = load_table(tmp_path / "t")
    assert table.device.startswith("board, ")
    assert table.runtime == "ai-edge-litert"
    assert set(table.rows) == {op.key for op in OPS}
    assert left_behind() == before
    assert all(word in board.calls for word in ("'-p', '2222'", "'-l', 'pi', '--', 'board'", "BatchMode=yes"))


@pytest.mark.parametrize(
    ("event", "what", "message"),
    [
        ("mkdir", "refused", "no connection to the board; got ssh: connect .* is an ssh server running there"),
        ("mkdir", "denied", "Permission denied .*; set up a key: .ssh-copy-id"),
        ("runner.py", "full", "the board's storage is full"),
        ("mkdir", "hang", "the board does not answer; got 2 s"),
    ],
)
def test_boards_that_cannot_be_reached(
    board: Board, cache: Path, tmp_path: Path, event: str, what: str, message: str
) -> None:
    board.fault(event, what)
    with pytest.raises(LatencyError, match=message):
        run(board.setup(patience_seconds=2.0), tmp_path / "t", cache)
    assert not (tmp_path / "t").exists()


def test_a_board_without_python_or_runtime(board: Board, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match=r"--remote-python: this Python does not run on the board; got .*no-python"):
        run(board.setup(python="/nowhere/no-python"), tmp_path / "t", cache)
    bare = board.root / "bare python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$2"\n')
    bare.chmod(0o755)
    with pytest.raises(LatencyError, match=r"lacks the runtime or numpy; .*pip install ai-edge-litert numpy"):
        run(board.setup(python=str(bare)), tmp_path / "t", cache)


def test_a_connection_that_drops_keeps_what_was_measured(board: Board, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    run(board.setup(), folder, cache, OPS[:1])
    before = dict(load_table(folder).rows)
    board.fault("OMP_NUM_THREADS", "dropped")

    def drop() -> None:  # once the first of the two rows is on disk
        while not (folder / JOURNAL).exists() or (folder / JOURNAL).read_bytes().count(b"\n") < 1:
            time.sleep(0.005)
        (board.root / "drop").touch()

    threading.Thread(target=drop, daemon=True).start()
    with pytest.raises(DeviceLostError, match=r"no connection to the board; got client_loop.*the same command co"):
        run(board.setup(), folder, cache)
    after = dict(load_table(folder).rows)
    assert before.items() <= after.items()
    assert 2 <= len(after) <= 3
    assert not (folder / JOURNAL).exists()
    (board.root / "fault").unlink()
    assert run(board.setup(), folder, cache).rows == 3 - len(after)
    assert set(load_table(folder).rows) == {op.key for op in OPS}


def test_a_connection_that_drops_while_a_model_is_sent(board: Board, cache: Path, tmp_path: Path) -> None:
    board.fault("model.tflite", "refused")
    with pytest.raises(DeviceLostError, match="Connection refused"):
        run(board.setup(), tmp_path / "t", cache)
    assert load_table(tmp_path / "t").rows == {}


def test_words_are_quoted_for_the_far_shell(board: Board, cache: Path, tmp_path: Path) -> None:
    """A Python whose path holds a command: it is looked up as one word, and the command is not run."""
    with pytest.raises(LatencyError, match="this Python does not run on the board"):
        run(board.setup(python="python3; touch owned; $(touch owned)"), tmp_path / "t", cache)
    assert not list(tmp_path.rglob("owned"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Setup]:
    """An ssh server of our own, and a client that knows it."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    require("ssh", binary="ssh")
    require("ssh", binary=sshd)
    home = tmp_path / "ssh"
    home.mkdir(mode=0o700)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True)
    shutil.copyfile(home / "key.pub", home / "authorized")
    port, user = free_port(), getpass.getuser()
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (home / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n"
        f"PidFile {home}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    (home / "config").write_text(
        f"Host *\n IdentityFile {home}/key\n IdentitiesOnly yes\n UserKnownHostsFile {home}/known\n"
        " StrictHostKeyChecking accept-new\n"
    )
    client = home / "client"
    client.write_text(f'#!/bin/sh\nexec ssh -F {home}/config "$@"\n')
    client.chmod(0o755)
    daemon = subprocess.Popen([sshd, "-D", "-e", "-f", str(home / "sshd_config")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    tools = Tools(ssh=str(client), python=sys.executable, patience_seconds=60.0)
    yield Setup(target=parse_target(f"ssh:{user}@127.0.0.1:{port}"), tools=tools)
    daemon.terminate()
    daemon.wait()


def test_the_real_client(server: Setup, cache: Path, tmp_path: Path) -> None:
    before = left_behind()
    done = run(server, tmp_path / "t", cache)
    assert (done.rows, done.failed) == (3, {})
    assert left_behind() == before
    broken = Setup(target=Target("ssh", user=server.target.user, host="127.0.0.1", port=free_port()),
                   tools=server.tools)  # fmt: skip
    with pytest.raises(DeviceLostError, match=r"Connection refused.*is an ssh server running there"):
        run(broken, tmp_path / "u", cache)
