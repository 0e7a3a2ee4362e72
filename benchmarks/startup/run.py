"""Cold start of ``archsearch profile``: wall seconds and peak memory of whole processes, interleaved.

    python benchmarks/startup/run.py [--runs 9]

The peer is what every other counter of this field pays before it counts anything: importing torch and diffusers.
Each command runs in a fresh process; commands take turns, so that drift of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TABLE = "host-xnnpack-fp32"


def fresh_config(folder: Path) -> Path:
    """A diffusers config that no cache has seen."""
    width = 64 * (2 + int(time.time() * 1000) % 5)
    config = {
        "_class_name": "UNet2DConditionModel",
        "block_out_channels": [width, 2 * width, 4 * width],
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "layers_per_block": [2, 1, 3],
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def measure(argv: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(argv)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    command = [sys.executable, "-m", "archsearch.cli.main"]
    with tempfile.TemporaryDirectory() as name:
        config = str(fresh_config(Path(name)))
        commands = {
            "archsearch --help": [*command, "--help"],
            "profile sd15": [*command, "profile", "sd15"],
            f"profile sd15 --table {TABLE}": [*command, "profile", "sd15", "--table", TABLE],
            "profile config.json (never seen)": [*command, "profile", config],
            "python -c 'import torch, diffusers'": [
                sys.executable,
                "-c",
                "import torch; from diffusers import UNet2DConditionModel",
            ],
        }
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for i in range(runs + 1):
            for label, argv in commands.items():
                sample = measure(argv)
                if i:  # the first round warms the file cache
                    samples[label].append(sample)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, {runs} runs each\n")
    print("| command | wall s median (min to max) | peak MiB median |")
    print("|---|---|---|")
    for label, values in samples.items():
        wall = [value[0] for value in values]
        memory = statistics.median(value[1] for value in values)
        print(f"| `{label}` | {statistics.median(wall):.2f} ({min(wall):.2f} to {max(wall):.2f}) | {memory:.0f} |")


if __name__ == "__main__":
    main()
