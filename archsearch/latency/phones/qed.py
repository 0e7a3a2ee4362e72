"""Files of github.com/qed-usc/mobile-ml-benchmark (MIT): timings of operators and whole networks on phone GPUs.

An operator file has the columns ``model, operation, feature``, then ``DEVICE|gpu|float`` (microseconds, empty where it
was not timed) and ``DEVICE|gpu|kernel`` for every phone.  ``feature`` is a Python literal.  Operators written by TFLite
2.10 and by PyTorch Mobile 2.0 (Vulkan, Metal) differ in their names and features.  A whole-model file has
``model, FLOPS, size`` and, for every device and way of running, ``...|mean`` and ``...|std`` in microseconds.

A network's input is padded outside its convolutions: an operator that says 16 -> 14 with a 3x3 kernel is the 14 -> 14
one of this project, with the same work.  Additions and activations that the GPU delegate merged into a convolution
stand in that convolution's kernel name and cost what it costs; they have no row of their own.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.rows import positive

MAX_BYTES = 256_000_000
MAX_FEATURE = 2000
_OPS_HEAD = ["model", "operation", "feature"]
_E2E_HEAD = [["model", "FLOPS", "size"], ["model", "flops", "size"]]
TWO_IN_ONE = "plus_1x1_conv"  # Apple: one kernel runs a depthwise and a 1x1 convolution, and both rows carry its time
Feature: TypeAlias = Mapping[str, object]


class PhoneOp(NamedTuple):
    """One timed operator: the line it stands in, what it is, the kernel that ran it, milliseconds."""

    line: int
    model: str
    op: Op
    kernel: str
    latency_ms: float


def ops_devices(path: Path) -> tuple[str, ...]:
    """The phones of an operator file, empty for a file of another kind.

    Raises:
        LatencyError: an operator file whose columns are not pairs of time and kernel.
    """
    header = _header(path)
    if header[:3] != _OPS_HEAD:
        return ()
    devices = tuple(name.split("|")[0] for name in header[3::2])
    wanted = [f"{device}|gpu|{what}" for device in devices for what in ("float", "kernel")]
    if header[3:] != wanted or not devices or len(set(devices)) != len(devices):
        raise LatencyError("other columns", where=f"{path}:1", got=",".join(header),
                           allowed="model,operation,feature, then DEVICE|gpu|float,DEVICE|gpu|kernel")  # fmt: skip
    return devices


def e2e_columns(path: Path) -> tuple[str, ...]:
    """What a whole-model file times, as ``pixel4|gpu|float``; empty for a file of another kind."""
    header = _header(path)
    if header[:3] not in _E2E_HEAD:
        return ()
    return tuple(name.removesuffix("|mean") for name in header[3:] if name.endswith("|mean"))


def is_torch(path: Path) -> bool:
    """Whether an operator file was written by PyTorch Mobile rather than TFLite: by its first operation."""
    for _line, cells in _rows(path):
        return "::" in cells[1]
    return False


def read_ops(path: Path, device: str) -> list[PhoneOp]:
    """The timed operators of one phone that this project's operators can express.

    Left out: pooling, means, grouped convolutions, joins of more than two inputs, multiplications (the file does not
    say what is broadcast), activations other than relu, batch norms, and kernels that run two operators at once.

    Raises:
        LatencyError: an unknown device, a malformed row; names file and line.
    """
    devices = ops_devices(path)
    if device not in devices:
        raise LatencyError("the file has no such device", where=str(path), got=device, allowed=", ".join(devices))
    column = 3 + 2 * devices.index(device)
    found = []
    for line, cells in _rows(path):
        where = f"{path}:{line}"
        feature = _feature(cells[2], where)
        text, kernel = cells[column], cells[column + 1]
        if not text:
            continue
        latency_ms = positive(text, f"{device}|gpu|float", where) / 1000
        op = _op(cells[1], feature, where)
        if op is not None and TWO_IN_ONE not in kernel:
            found.append(PhoneOp(line, cells[0], op, kernel_name(kernel), latency_ms))
    return found


def read_totals(path: Path, device: str) -> tuple[dict[str, float], dict[str, float]]:
    """(sum of all timed operators in ms, of those of :func:`read_ops` alone) of every network on one phone."""
    devices = ops_devices(path)
    column = 3 + 2 * devices.index(device)
    every: dict[str, float] = {}
    for line, cells in _rows(path):
        text, kernel = cells[column], cells[column + 1]
        if text and not (TWO_IN_ONE in kernel and cells[1].startswith("DEPTHWISE")):
            every[cells[0]] = every.get(cells[0], 0.0) + positive(text, device, f"{path}:{line}") / 1000
    own: dict[str, float] = {}
    for row in read_ops(path, device):
        own[row.model] = own.get(row.model, 0.0) + row.latency_ms
    return every, own


def read_e2e(path: Path, column: str) -> dict[str, float]:
    """Mean latency in ms of every network of a whole-model file, for one of :func:`e2e_columns`.

    Raises:
        LatencyError: an unknown column, a malformed row; names file and line.
    """
    columns = e2e_columns(path)
    if column not in columns:
        raise LatencyError("the file has no such column", where=str(path), got=column, allowed=", ".join(columns))
    number = _header(path).index(f"{column}|mean")
    found: dict[str, float] = {}
    for line, cells in _rows(path):
        if cells[number]:
            if cells[0] in found:
                raise LatencyError("a network stands twice", where=f"{path}:{line}", got=cells[0])
            found[cells[0]] = positive(cells[number], column, f"{path}:{line}") / 1000
    return found


def kernel_name(text: str) -> str:
    """``convolution_2d_1_linked_:_add_2_relu_3`` -> ``convolution_2d + add + relu``: node numbers taken out."""
    parts = re.split(r"(?:_\d+(?![\dxd]))+_?|_linked_:_", text)
    names = [part.removeprefix("linked_:_").strip("_: ") for part in parts]
    return " + ".join(name for name in names if name) or "unknown"


def _op(operation: str, feature: Feature, where: str) -> Op | None:
    """The operator of a row, None where this project has none."""
    if operation in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        channels, out = _int(feature, "Input_channel", where), _int(feature, "Filter", where)
        sides = (_int(feature, "Input_shape", where), _int(feature, "Output_shape", where))
        depthwise = operation == "DEPTHWISE_CONV_2D"
        if depthwise and out != 1:
            return None
        op = _conv(channels, channels if depthwise else out, sides, _int(feature, "Kernel", where),
                   _int(feature, "Stride", where), channels if depthwise else 1, where)  # fmt: skip
        return _checked(op, 2 * op.macs, feature, "FLOPS", where)
    if operation == "FULLY_CONNECTED":
        op = _linear(_int(feature, "Input_channel", where), _int(feature, "Filter", where))
        return _checked(op, 2 * op.macs, feature, "FLOPS", where)
    if operation == "CONCATENATION":
        if str(feature.get("Kernel")) != "2":
            return None
        side, first = _int(feature, "Input_shape", where), _int(feature, "Input_channel", where)
        second = _int(feature, "Filter", where) - first
        if second < 1:
            raise LatencyError("a join of less than its first input", where=where, got=second)
        return Op("cat", ((1, first, side, side), (1, second, side, side)))
    if operation == "vulkan_prepack::run_conv2d_context":
        channels, out = _int(feature, "input_channel", where), _int(feature, "output_channel", where)
        groups = _int(feature, "groups", where) if "groups" in feature else channels
        if groups not in (1, channels) or (groups == channels and out != channels):
            return None
        sides = (_int(feature, "input_shape", where), _int(feature, "output_shape", where))
        op = _conv(channels, out, sides, _int(feature, "kernel_size", where), _int(feature, "stride", where), groups,
                   where)  # fmt: skip
        return _checked(op, op.macs, feature, "flops", where)
    if operation == "vulkan_prepack::run_linear_context":
        return _linear(_int(feature, "input_shape", where), _int(feature, "output_shape", where))
    if operation in ("aten::add", "aten::relu"):
        side = _int(feature, "input_shape", where)
        shape = (1, _int(feature, "input_channel", where), side, side)
        op = Op("add", (shape, shape)) if operation == "aten::add" else Op("relu", (shape,))
        return _checked(op, op.elements, feature, "flops", where)
    if not re.fullmatch(r"[A-Za-z0-9_:]{1,60}", operation):
        raise LatencyError("not an operation's name", where=where, got=operation)
    return None


def _conv(channels: int, out: int, sides: tuple[int, int], k: int, stride: int, groups: int, where: str) -> Op:
    """The convolution with this project's padding that has the row's output."""
    pad = k // 2
    for side in (sides[0], sides[0] - 2 * pad, stride * sides[1]):
        if side > 0 and abs(side - sides[0]) <= k and (side + 2 * pad - k) // stride + 1 == sides[1]:
            attrs = (("bias", 1), ("g", groups), ("k", k), ("out", out), ("s", stride))
            return Op("conv2d", ((1, channels, side, side),), attrs)
    raise LatencyError("no padding gives this output", where=where, got=f"{sides[0]} -> {sides[1]}, kernel {k}")


def _linear(channels: int, out: int) -> Op:
    return Op("linear", ((1, channels),), (("bias", 1), ("out", out)))


def _checked(op: Op, count: int, feature: Feature, name: str, where: str) -> Op:
    """The operator, if the file counts its work as this project does: a wrong reading of a row would show here."""
    if _int(feature, name, where) != count:
        raise LatencyError("the row's own count of its work differs from this operator's", where=where,
                           got=feature[name], allowed=f"{count} for {op.key}")  # fmt: skip
    return op


def _feature(text: str, where: str) -> Feature:
    if len(text) > MAX_FEATURE:
        raise LatencyError("the feature is too long", where=where, got=f"{len(text)} characters", allowed=MAX_FEATURE)
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise LatencyError("the feature is not a literal", where=where, got=text) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise LatencyError("the feature is not a dict of names", where=where, got=text)
    return found


def _int(feature: Feature, name: str, where: str) -> int:
    value = feature.get(name)
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and int(text[:18]) > 0 and len(text) < 18):
        raise LatencyError(f"{name} must be a positive whole number", where=where, got=value)
    return int(text)


def _header(path: Path) -> list[str]:
    """The cells of the first line; empty where it is no text."""
    try:
        with path.open("rb") as file:
            line = file.readline(65_536)
        return next(csv.reader([line.decode("utf-8")]), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row after the header."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LatencyError("too large a file", where=str(path), allowed=f"{MAX_BYTES} bytes")
        text = path.read_text("utf-8")
    except OSError as error:
        raise LatencyError(f"cannot read the file ({error.strerror})", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise LatencyError("not UTF-8", where=str(path)) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    width = None
    try:
        for cells in reader:
            if width is None:
                width = len(cells)
                continue
            if len(cells) != width:
                raise LatencyError("a row has another number of cells (truncated?)", where=f"{path}:{reader.line_num}",
                                   got=len(cells), allowed=width)  # fmt: skip
            yield reader.line_num, cells
    except csv.Error as error:
        raise LatencyError(f"not CSV ({error})", where=f"{path}:{reader.line_num}") from None
