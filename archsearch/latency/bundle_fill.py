#!/usr/bin/env python3
"""Fill results.csv of a latency bundle.  Stand-alone: Python >= 3.8 and its standard library.

    python3 fill_results.py host [--python PYTHON] [--threads N] [--limit N]
    python3 fill_results.py adb --benchmark-model PATH [--serial S] [--gpu] [--threads N] [--affinity MASK] [--limit N]

``host`` drives runner.py, for which PYTHON needs numpy and ai-edge-litert or tflite-runtime.  ``adb`` pushes LiteRT's
benchmark_model and the models, one by one, and reads what it prints.  Rows that are filled stay; each finished row is
on disk before the next model starts.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REMOTE = "/data/local/tmp/archsearch-bundle"
REFERENCE_EVERY = 5


GONE = ("not found", "no devices", "device offline", "unauthorized", "more than one device", "cannot connect")


class FailedError(Exception):
    """One model could not be timed."""


class GoneError(Exception):
    """Nothing can be timed any more, or yet."""


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """(column names, rows) of results.csv."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        return list(reader.fieldnames or ()), list(reader)


def write_rows(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    """Replace results.csv whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


class Host:
    """The computer at hand, through runner.py."""

    def __init__(self, options: argparse.Namespace, reference: Path) -> None:
        self.options = options
        self.reference = reference
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the runner and load the reference."""
        self.process = subprocess.Popen(
            [self.options.python, "-u", str(HERE / "runner.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            answer = self.ask({"reference": str(self.reference), "threads": self.options.threads})
        except FailedError as error:
            raise GoneError(f"{error}; {self.options.python} needs numpy and ai-edge-litert") from None
        runtime, version = answer["runtime"], answer["version"]
        print(f"for device.yaml: runtime: {runtime}, runtime_version: {version}", file=sys.stderr)

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send a job, wait for its answer."""
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            code = process.wait()
            self.process = None
            raise FailedError(f"the runner ended with code {code}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer

    def time(self, model: Path) -> dict[str, str]:
        """The cells of a row."""
        if self.process is None:
            self.start()
        answer = self.ask({"id": model.name, "path": str(model), "warmup": 3, "min_runs": 5,
                           "max_seconds": self.options.max_seconds, "precision": 0.02})  # fmt: skip
        runs = sorted(time / 1e6 for time in answer["wall_ns"])
        cuts = statistics.quantiles(runs, n=10, method="inclusive")
        middle = statistics.median(runs)
        return {
            "runs": str(len(runs)),
            "median_ms": f"{middle:.6g}",
            "p10_ms": f"{min(cuts[0], middle):.6g}",
            "p90_ms": f"{max(cuts[-1], middle):.6g}",
            "min_ms": f"{runs[0]:.6g}",
            "reference_ms": f"{statistics.median(answer['reference_ns']) / 1e6:.6g}",
        }

    def close(self) -> None:
        """Stop the runner."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Adb:
    """An Android device, through adb and benchmark_model."""

    def __init__(self, options: argparse.Namespace, reference: Path) -> None:
        self.options = options
        self.reference = reference
        self.count = 0
        self.reference_ms = ""
        self.adb("shell", f"mkdir -p {REMOTE}")
        self.adb("push", options.benchmark_model, f"{REMOTE}/benchmark_model")
        self.adb("shell", f"chmod 755 {REMOTE}/benchmark_model")
        self.adb("push", str(reference), f"{REMOTE}/reference.tflite")

    def adb(self, *words: str) -> str:
        """Run adb, give back what it printed."""
        serial = ["-s", self.options.serial] if self.options.serial else []
        command = [self.options.adb, *serial, *words]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            raise FailedError("adb did not answer within 600 s") from None
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            last = text.strip().splitlines()[-1:] or ["no output"]
            if any(word in last[0] for word in GONE):
                raise GoneError(last[0])
            raise FailedError(f"adb ended with code {done.returncode}: {last[0]}")
        return text

    def run(self, remote: str) -> dict[str, str]:
        """Time a model that was pushed."""
        options = self.options
        words = ["taskset", options.affinity] if options.affinity else []
        words += [f"{REMOTE}/benchmark_model", f"--graph={remote}", f"--num_threads={options.threads}",
                  "--warmup_runs=3", "--num_runs=20", "--min_secs=0.5",
                  f"--max_secs={options.max_seconds}"]  # fmt: skip
        if options.gpu:
            words += ["--use_gpu=true", "--require_full_delegation=true"]
        return parse_output(self.adb("shell", " ".join(shlex.quote(word) for word in words)))

    def time(self, model: Path) -> dict[str, str]:
        """The cells of a row."""
        if self.count % REFERENCE_EVERY == 0:
            self.reference_ms = self.run(f"{REMOTE}/reference.tflite")["median_ms"]
        self.count += 1
        self.adb("push", str(model), f"{REMOTE}/model.tflite")
        return {**self.run(f"{REMOTE}/model.tflite"), "reference_ms": self.reference_ms}

    def close(self) -> None:
        """Remove what was pushed."""
        self.adb("shell", f"rm -r {REMOTE}")


def parse_output(text: str) -> dict[str, str]:
    """The cells of a row from what benchmark_model prints: its last ``count=... avg=...`` line, in microseconds."""
    lines = [line for line in text.splitlines() if re.search(r"\bcount=\d", line) and "avg=" in line]
    if not lines:
        last = text.strip().splitlines()[-1:] or ["no output"]
        raise FailedError(f"benchmark_model printed no timings: {last[0]}")
    found = dict(re.findall(r"\b([a-z0-9]+)=([0-9.e+]+)", lines[-1]))
    if "median" not in found:
        raise FailedError("this benchmark_model is too old: it prints a mean and no median; take a newer one")
    row = {"runs": found["count"]}
    for column, name in (("median_ms", "median"), ("p5_ms", "p5"), ("p95_ms", "p95"), ("min_ms", "min")):
        if name in found:
            row[column] = f"{float(found[name]) / 1000:.6g}"
    return row


def main() -> int:
    """Fill what is empty."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", choices=("host", "adb"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--adb", default="adb")
    parser.add_argument("--serial", default=os.environ.get("ANDROID_SERIAL", ""))
    parser.add_argument("--benchmark-model", default="")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--affinity", default="", help="mask for taskset, such as f0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-seconds", type=float, default=10.0)
    parser.add_argument("--limit", type=int, default=None, help="time at most so many models now")
    options = parser.parse_args()
    if options.where == "adb" and not options.benchmark_model:
        parser.error("adb needs --benchmark-model PATH")
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    files = {model["key"]: HERE / model["file"] for model in manifest["models"]}
    columns, rows = read_rows(HERE / "results.csv")
    todo = [row for row in rows if not row.get("median_ms") and not row.get("samples_ms") and row["key"] in files]
    failed = 0
    device: Host | Adb | None = None
    try:
        reference = files[manifest["reference"]]
        device = Host(options, reference) if options.where == "host" else Adb(options, reference)
        for number, row in enumerate(todo[: options.limit], 1):
            try:
                row.update(device.time(files[row["key"]]))
            except FailedError as error:
                print(f"failed: {row['key']}: {error}", file=sys.stderr)
                failed += 1
                continue
            write_rows(HERE / "results.csv", columns, rows)
            print(f"{number}/{len(todo)} {row['median_ms']} ms {row['key']}", file=sys.stderr)
    except (FailedError, GoneError) as error:
        print(f"error: {error}; finished rows are kept, the same command continues", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    finally:
        if device is not None:
            try:
                device.close()
            except (FailedError, GoneError) as error:
                print(f"note: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
