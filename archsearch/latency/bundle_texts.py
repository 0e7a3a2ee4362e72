"""What lies in a bundle beside its models: instructions, the templates for results and device, the filling script."""

from __future__ import annotations

import csv
import io
import shutil
import textwrap
from pathlib import Path

from archsearch.errors import LatencyError
from archsearch.latency.bundle_manifest import Manifest
from archsearch.latency.table import STATE_FIELDS
from archsearch.latency.write import replace

RESULTS = "results.csv"
DEVICE = "device.yaml"
README = "README.txt"
FILL = "fill_results.py"
RUNNER = "runner.py"
RESULT_COLUMNS = ("key", "file", "runs", "median_ms", "p10_ms", "p90_ms", "p5_ms", "p95_ms", "min_ms",
                  "reference_ms", "samples_ms")  # fmt: skip
DEVICE_FIELDS = ("device", "soc", "os", "runtime", "runtime_version", "delegate", "precision", "threads",
                 *STATE_FIELDS, "date", "licence", "notes")  # fmt: skip
PRECISIONS = {"litert": "fp32", "coreml": "fp16"}
LAYOUTS = {
    "litert": "images NHWC, tokens [batch, tokens, width]: as LiteRT's converter leaves them inside a whole model",
    "coreml": "images NCHW, tokens [batch, tokens, width]: as coremltools leaves a torch model's; inputs and outputs "
    "float16. Linear layers are `linear`, not the 1x1 convolutions on (B, C, 1, S) that Apple recommends for the "
    "Neural Engine",
}
PROTOCOL = (
    "One model a process or session. Fill the inputs once with random numbers in [0, 1), integers 0 or 1. Warm up with "
    "at least 3 runs and 0.1 s. Then time single runs, at least 20, for at least 0.5 s. Time the reference model in "
    "the same minute, before and after, and write its median beside the row: it shows throttling, and every row can be "
    "read as a ratio to it. Leave out rows beside which the reference is over 10 % slower than at its best, let the "
    "device cool and time them again. Device on a charger or at a stated battery level, screen on or off as stated, "
    "nothing else running."
)


def write_texts(folder: Path, manifest: Manifest) -> None:
    """Instructions, the filling script, and the device's template where there is none yet."""
    reference = manifest.models.get(manifest.reference)
    replace(folder / README, readme(manifest, reference.file if reference else "(could not be converted)").encode())
    if not (folder / DEVICE).exists():
        replace(folder / DEVICE, device_template(manifest).encode())
    if manifest.target == "litert":
        here = Path(__file__).parent
        shutil.copyfile(here / "bundle_fill.py", folder / FILL)
        shutil.copyfile(here / "runner.py", folder / RUNNER)


def add_to_results(folder: Path, manifest: Manifest) -> None:
    """An empty row for every model that ``results.csv`` lacks; rows that are there stay as they are.

    Raises:
        LatencyError: there is a file of that name without a column ``key``.
    """
    path = folder / RESULTS
    text = path.read_bytes().decode("utf-8-sig") if path.exists() else ",".join(RESULT_COLUMNS) + "\n"
    rows = csv.reader(io.StringIO(text, newline=""))
    header = next(rows, [])
    if "key" not in header:
        raise LatencyError("no column `key`", where=f"{path}:1", got=",".join(header),
                           allowed=",".join(RESULT_COLUMNS), next_step="move the file away")  # fmt: skip
    known = {cells[header.index("key")] for cells in rows if len(cells) > header.index("key")}
    added = io.StringIO()
    writer = csv.writer(added, lineterminator="\n")
    for key, model in manifest.models.items():
        if key not in known:
            values = {"key": key, "file": model.file}
            writer.writerow([values.get(name, "") for name in header])
    if added.getvalue() or not path.exists():
        gap = "" if text.endswith("\n") else "\n"
        replace(path, (text + gap + added.getvalue()).encode())


def device_template(manifest: Manifest) -> str:
    """``device.yaml`` with what the bundle knows; the rest is for whoever measures."""
    coreml = manifest.target == "coreml"
    known = {
        "runtime": '"Core ML"' if coreml else '""',
        "precision": manifest.precision,
        "threads": "1",
        "licence": '"Apache-2.0"',
    }
    remarks = {
        "device": 'what it says on the box, such as "iPhone 14 Pro" or "Pixel 4"',
        "soc": '"A16", "Snapdragon 855"',
        "os": "with its version and build",
        "runtime": "what executed the models" + ("" if coreml else ': "litert benchmark_model", "ai-edge-litert"'),
        "runtime_version": "of the runtime" + ("; for Core ML the system's" if coreml else ""),
        "delegate": '"neural engine", "gpu", "cpu": the compute units that were allowed'
        if coreml
        else '"xnnpack", "gpu", "nnapi", "none"',
        "precision": "fp32, fp16, fp16-weights or int8, as executed"
        + ("" if coreml else " (the GPU delegate computes in fp16 unless told otherwise)"),
        "threads": "of the runtime; 1 where the delegate decides",
        "quantisation": "int8: what was quantised and how; else empty",
        "delegated": "how many nodes the delegate took, where the runtime tells",
        "affinity": "cores that the process was bound to",
        "governor": "frequency governor, where known",
        "battery": "level, and whether it was charging",
        "thermal": "thermal state, where known",
        "date": "YYYY-MM-DD",
        "licence": "under which the figures may be used",
        "notes": "anything else that a reader should know",
    }
    lines = ["# The device on which results.csv was filled. device, runtime and date must not stay empty."]
    for name in DEVICE_FIELDS:
        lines.append(f"{name}: {known.get(name, chr(34) * 2):<24} # {remarks[name]}")
    return "\n".join(lines) + "\n"


def readme(manifest: Manifest, reference: str) -> str:
    """The steps, for somebody who has this folder only."""
    litert = f"""
With Python and either adb or a LiteRT runtime at hand, {FILL} does steps 2 and 3 (it needs nothing else):

   python3 {FILL} host                                          this computer, through runner.py
   python3 {FILL} adb --benchmark-model PATH [--serial S] [--gpu]   an Android device

Interrupted, it continues where it stopped.
"""
    coreml = """
Xcode: drag a model into any project, open it, Performance, +, choose the device and the compute units. The report's
median prediction time is median_ms. For many models, a loop over MLModel.prediction in an app is faster: the guide
docs/guides/iphone.md of archsearch has one.
"""
    failed = "".join(f"   {key}: {why}\n" for key, why in manifest.failed.items())
    return f"""Models for a latency table ({len(manifest.models)} models, {manifest.target})

Each model under models/ is one operator or one block of a network. To be filled in: how long one run of it takes on
your device. Made by archsearch from {", ".join(manifest.sources) or "a list of operators"}.

1. Fill in device.yaml.
2. Time the models.
{textwrap.indent(textwrap.fill(manifest.protocol, 115), "   ")}
   The reference model is {reference}
3. Write the times, in milliseconds, into results.csv: median_ms, and p10_ms and p90_ms where you have them, or
   p5_ms and p95_ms instead; or put the single runs into samples_ms, separated by blanks, and leave the rest empty.
   runs says how many runs were counted. Rows may stay empty: a part is worth having.
4. Send the folder back, or only device.yaml, manifest.json and results.csv. There:

   archsearch latency import THIS_FOLDER --table tables/NAME
   archsearch latency check tables/NAME

Layout of the models: {manifest.layout}.
Do not change a model: its checksum stands in manifest.json.
{litert if manifest.target == "litert" else coreml}{"Could not be converted:" + chr(10) + failed if failed else ""}"""
