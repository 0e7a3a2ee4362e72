"""Reading public phone timings: what becomes a row, and what is refused with file and line."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest

from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.phones import devices, head, import_rows, recognise
from archsearch.latency.phones.ai_hub import COLUMNS, read_components
from archsearch.latency.phones.qed import kernel_name, read_e2e, read_ops, read_totals
from archsearch.latency.phones.terms import Winograd, runs_winograd

PIXEL, S10 = "pixel4|gpu|float", "s10|gpu|float"
HEAD = ["model", "operation", "feature", PIXEL, "pixel4|gpu|kernel", S10, "s10|gpu|kernel"]
DATA = Path(__file__).parents[4] / "shared" / "reference" / "phone_data" / "qed-usc"


def conv(side: int, channels: int, out: int, k: int = 3, stride: int = 1, after: int | None = None) -> str:
    """TFLite's feature of a convolution whose padding was done outside, FLOPs = 2 x MACs."""
    after = after or (side - k) // stride + 1
    flops = 2 * after * after * out * channels * k * k
    return str({"Input_shape": str(side), "Input_channel": channels, "Output_shape": str(after), "Stride": str(stride),
                "Kernel": str(k), "Filter": str(out), "Group": "1", "FLOPS": str(flops)})  # fmt: skip


def write(path: Path, rows: list[list[object]], header: list[str] = HEAD) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def ops_file(path: Path) -> Path:
    plain, linked = "convolution_2d_3", "convolution_2d_5_linked_:_add_6_linked_:_relu_7"
    depthwise = str({"Input_shape": "16", "Input_channel": 8, "Output_shape": "14", "Stride": "1", "Kernel": "3",
                     "Filter": "1", "Group": "1", "FLOPS": str(2 * 14 * 14 * 8 * 9)})  # fmt: skip
    full = str({"Input_shape": "-", "Input_channel": 256, "Filter": "10", "FLOPS": "5120"})
    both = str({"Input_shape": "7", "Input_channel": 3, "Kernel": "2", "Filter": "8"})
    return write(
        path,
        [
            ["a", "CONV_2D", conv(16, 8, 32), 30.0, plain, 60.0, "convolution_winograd_4x4_6x6_1"],
            ["a", "DEPTHWISE_CONV_2D", depthwise, 7.0, "depthwise_convolution_1", "", ""],
            ["a", "FULLY_CONNECTED", full, 4.0, "fully_connected_9", 5.0, "fully_connected_9"],
            ["b", "CONV_2D", conv(16, 8, 32), 50.0, linked, 64.0, linked],
            ["b", "CONV_2D", conv(14, 8, 32, after=14), 40.0, plain, 62.0, plain],
            ["b", "CONCATENATION", both, 3.0, "concat_1", 3.0, "concat_1"],
            ["b", "CONV_2D", conv(14, 8, 4, k=1), 9.0, "depthwise_conv_plus_1x1_conv_1_2", 9.0, "convolution_2d_1"],
            ["b", "MEAN", "{}", 1.5, "mean_1", 1.0, "mean_1"],
        ],
    )


def test_rows_are_medians_over_networks_and_say_which_kernel(tmp_path: Path) -> None:
    path = ops_file(tmp_path / "ops.csv")
    assert recognise(path)
    assert devices(path) == ("pixel4", "s10")
    rows = {row.key: row for row in import_rows(path, "pixel4")}
    key = "conv2d[1x8x14x14](bias=1,g=1,k=3,out=32,s=1)@nhwc"
    row = rows[key]
    assert (row.latency_ms, row.runs, row.provenance) == (0.040, 3, "imported")
    low, *_, high = statistics.quantiles([0.030, 0.040, 0.050], n=10, method="inclusive")
    assert (row.p10_ms, row.p90_ms) == pytest.approx((low, high))
    assert row.graph == "convolution_2d"
    assert sorted(rows) == [
        "cat[1x3x7x7|1x5x7x7]()@nhwc",
        key,
        "conv2d[1x8x14x14](bias=1,g=8,k=3,out=8,s=1)@nhwc",
        "linear[1x256](bias=1,out=10)@row",
    ], "a mean has no operator here; a kernel that runs two operators is the time of neither"
    assert all(Op.parse(row.key).kind == row.kind for row in rows.values())


def test_an_empty_time_is_no_row_and_kernels_differ_by_phone(tmp_path: Path) -> None:
    rows = read_ops(ops_file(tmp_path / "ops.csv"), "s10")
    assert [row.kernel for row in rows if row.op.attrs and row.op.kind == "conv2d"] == [
        "convolution_winograd_4x4_6x6", "convolution_2d + add + relu", "convolution_2d", "convolution_2d",
    ]  # fmt: skip


def test_totals_count_a_kernel_of_two_operators_once(tmp_path: Path) -> None:
    path = ops_file(tmp_path / "ops.csv")
    every, own = read_totals(path, "pixel4")
    assert every == pytest.approx({"a": 0.041, "b": 0.1035})
    assert own == pytest.approx({"a": 0.041, "b": 0.093})


def test_pytorch_counts_macs_and_times_additions(tmp_path: Path) -> None:
    features = {"input_channel": 4, "input_shape": 8, "output_channel": 16, "output_shape": 4, "kernel_size": 3,
                "stride": 2, "padding": 1, "groups": 1, "flops": 4 * 4 * 16 * 4 * 9}  # fmt: skip
    add = {"input_channel": 4, "input_shape": 8, "flops": 256}
    path = write(
        tmp_path / "torch.csv",
        [
            ["a", "vulkan_prepack::run_conv2d_context", str(features), 20, "vulkan.conv2d", 30, "vulkan.conv2d"],
            ["a", "aten::add", str(add), 2, "vulkan.add", 3, "vulkan.add"],
            ["a", "aten::mul", str(add), 2, "vulkan.mul", 3, "vulkan.mul"],
        ],
    )
    rows = import_rows(path, "s10")
    assert [(row.key, row.latency_ms, row.graph) for row in rows] == [
        ("add[1x4x8x8|1x4x8x8]()@nhwc", 0.003, "vulkan.add"),
        ("conv2d[1x4x8x8](bias=1,g=1,k=3,out=16,s=2)@nhwc", 0.030, "vulkan.conv2d"),
    ]
    assert head(path, "s10")["runtime"] == "PyTorch Mobile"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["a", "CONV_2D", conv(16, 8, 32), "-3", "k", 1, "k"], "must be a positive finite number"),
        (["a", "CONV_2D", conv(16, 8, 32), "nan", "k", 1, "k"], "must be a positive finite number"),
        (["a", "CONV_2D", conv(16, 8, 32), "fast", "k", 1, "k"], "must be a positive finite number"),
        (["a", "CONV_2D", conv(16, 8, 32).replace("'8'", "'x'").replace(": 8", ": 'x'"), 1, "k", 1, "k"], "Input_chan"),
        (["a", "CONV_2D", conv(16, 8, 32).replace("'32'", "'31'"), 1, "k", 1, "k"], "own count of its work"),
        (["a", "CONV_2D", conv(16, 8, 32, after=3), 1, "k", 1, "k"], "no padding gives this output"),
        (["a", "CONV_2D", "__import__('os').system('true')", 1, "k", 1, "k"], "not a literal"),
        (["a", "CONV_2D", "[1]", 1, "k", 1, "k"], "not a dict"),
        (["a", "CONV_2D", "(" * 500, 1, "k", 1, "k"], "not a literal"),
        (["a", "CONV_2D", "{" + " " * 3000 + "}", 1, "k", 1, "k"], "too long"),
        (["a", "rm -rf /", "{}", 1, "k", 1, "k"], "not an operation's name"),
        (["a", "CONV_2D", conv(16, 8, 32)], "another number of cells"),
    ],
)
def test_a_malformed_row_is_refused_with_file_and_line(tmp_path: Path, row: list[object], message: str) -> None:
    good = ["a", "CONV_2D", conv(16, 8, 32), 1, "k", 1, "k"]
    path = write(tmp_path / "ops.csv", [good, row])
    with pytest.raises(LatencyError, match=message) as caught:
        import_rows(path, "pixel4")
    assert caught.value.where == f"{path}:3"


def test_other_files_and_devices(tmp_path: Path) -> None:
    path = ops_file(tmp_path / "ops.csv")
    with pytest.raises(LatencyError, match=r"no such device.*pixel4, s10"):
        import_rows(path, "pixel9")
    for name, content in (
        ("no.csv", b"a,b\n1,2\n"),
        ("empty.csv", b""),
        ("noise.bin", b"\xff\x00\x80"),
        ("q.csv", b'"'),
    ):
        (tmp_path / name).write_bytes(content)
        assert not recognise(tmp_path / name)
    assert not recognise(tmp_path / "absent.csv")
    with pytest.raises(LatencyError, match="other columns"):
        devices(write(tmp_path / "odd.csv", [], [*HEAD[:4], "pixel5|gpu|kernel"]))
    path.write_bytes(path.read_bytes() + b"\xff")
    with pytest.raises(LatencyError, match="not UTF-8"):
        import_rows(path, "pixel4")


def test_files_of_whole_networks_are_known_and_make_no_rows(tmp_path: Path) -> None:
    whole = write(tmp_path / "e2e.csv", [["a", 1, 2, 1500.0, 3.0], ["b", 1, 2, "", ""]],
                  ["model", "FLOPS", "size", f"{PIXEL}|mean", f"{PIXEL}|std"])  # fmt: skip
    assert recognise(whole)
    assert devices(whole) == ()
    assert read_e2e(whole, PIXEL) == {"a": 1.5}
    cells = ["r", "c", "sd", "unet", "w8a16", "S24", "qnn", 81.1, "NPU", *[""] * 6, "t", "j"]
    hub = write(tmp_path / "hub.csv", [cells], COLUMNS)
    assert recognise(hub)
    assert [(row.component, row.latency_ms, row.line) for row in read_components(hub)] == [("unet", 81.1, 2)]
    for path in (whole, hub):
        with pytest.raises(LatencyError, match="times whole networks"):
            import_rows(path, "S24")


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("convolution_2d_8", "convolution_2d"),
        ("convolution_winograd_4x4_6x6_1", "convolution_winograd_4x4_6x6"),
        ("depthwise_convolution_31_linked_:_hard_swish_32", "depthwise_convolution + hard_swish"),
        ("convolution_2d_1_linked_:_add_2_linked_:_mul_3", "convolution_2d + add + mul"),
        ("vulkan.conv2d_pw_2x2", "vulkan.conv2d_pw_2x2"),
        ("", "unknown"),
    ],
)
def test_kernel_names_lose_their_node_numbers(kernel: str, name: str) -> None:
    assert kernel_name(kernel) == name


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data lie beside the repository only")
def test_the_published_files_are_read_and_the_kernel_rule_explains_them() -> None:
    path = DATA / "tflite_cnn_ops_gpu.csv"
    rule = Winograd(16, 32)
    for device in devices(path):
        seen = set()
        for row in read_ops(path, device):
            if row.op.kind == "conv2d" and row.op.attr("k") == 3 and row.op.attr("g") == 1:
                seen.add((runs_winograd(row.op, rule), "winograd" in row.kernel))
        assert seen <= {(True, True), (False, False)} or device in ("pixel4", "mi8se"), "Adreno has a rule of its own"
        assert len(import_rows(path, device)) > 1200
