"""Profiles of benchmark_model, in the formats that old and new ones write, joined with a model that was converted."""

from pathlib import Path

import pytest

from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.imports import Options, detect, import_rows, read
from archsearch.latency.op_profile import node_type, parse_profile
from archsearch.latency.table import load_table
from tests.conftest import require

NEW = "node type, first, avg_ms, %, cdf%, mem KB, times called, name"
OLD = "node type, start, first, avg_ms, %, cdf%, mem KB, times called, name"


def csv_profile(rows: list[tuple[str, float]], old: bool = False) -> str:
    """A profile with all its sections; only the Run Order of the regular runs is to be read."""
    lines = [
        "Profiling Info for Benchmark Initialization:",
        "============================== Run Order ==============================",
        OLD if old else NEW,
        f"AllocateTensors, {'0, ' if old else ''}9.1, 9.2, 100%, 100%, 0, 1, AllocateTensors/0",
        "",
        "Operator-wise Profiling Info for Regular Benchmark Runs:",
        "============================== Run Order ==============================",
        OLD if old else NEW,
    ]
    for number, (kind, ms) in enumerate(rows):
        start = "0, " if old else ""
        name = kind.replace(",", "\t")
        lines.append(f"{kind}, {start}0.2, {ms}, 1%, 1%, 0, 1, [{name}]:{number}")
    lines += [
        "",
        "============================== Top by Computation Time ==============================",
        OLD if old else NEW,
        f"CONV_2D, {'0, ' if old else ''}0.2, 77, 1%, 1%, 0, 1, [x]:0",
        "",
        "============================== Summary by node type ==============================",
        "node type, count, avg_ms, avg %, cdf %, mem KB, times called",
    ]
    return "\n".join(lines) + "\n"


def test_old_and_new_headers_and_the_table_on_stdout_say_the_same(tmp_path: Path) -> None:
    rows = [("CONV_2D", 0.5), ("Convolution (NHWC, F32) IGEMM", 0.25)]
    new, old, out = tmp_path / "new.csv", tmp_path / "old.csv", tmp_path / "out.txt"
    new.write_text(csv_profile(rows))
    old.write_text(csv_profile(rows, old=True))
    out.write_text(
        "============================== Run Order ==============================\n"
        "\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n"
        "\t                 CONV_2D\t    9.132\t    0.500\t  0.121%\t  0.121%\t     0.000\t        1\t[a]:0\n"
        "\t Convolution (NHWC, F32) IGEMM\t  9.1\t   0.250\t  0.1%\t  0.1%\t  0.000\t  1\tDelegate/Convolution:1\n\n"
    )
    expected = [("CONV_2D", 0.5, 1), ("Convolution (NHWC, F32) IGEMM", 0.25, 1)]
    for path in (new, old, out):
        assert [(row.type, row.mean_ms, row.runs) for row in parse_profile(path)] == expected
    assert detect(new) == detect(old) == "op-profile"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.25", "nan"), r"new\.csv:10: avg_ms must be a number, not negative; got nan"),
        (("0.25", "-1"), r"new\.csv:10: avg_ms must be"),
        (("CONV_2D, 0.2, 0.5, 1%, 1%, 0, 1, [CONV_2D]:0", "CONV_2D, 0.2"), r"new\.csv:9: .*truncated"),
        (("Run Order", "Walk"), "no block `Run Order`"),
        ((", avg_ms", ", mean"), "no column `avg_ms`"),
    ],
)
def test_damaged_profiles_are_refused_with_their_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "new.csv"
    path.write_text(csv_profile([("CONV_2D", 0.5), ("ADD", 0.25)]).replace(*change))
    with pytest.raises(LatencyError, match=message):
        parse_profile(path)


def test_kernels_of_delegates_are_named_after_their_nodes() -> None:
    assert node_type("CONV_2D") == "CONV_2D"
    assert node_type("Convolution (NHWC, F32) IGEMM") == "CONV_2D"
    assert node_type("Convolution (NHWC, F32) DWConv") == "DEPTHWISE_CONV_2D"
    assert node_type("Delegate/convolution_2d 1 linked : relu 2") == "CONV_2D"
    assert node_type("Fully Connected (NC, F32) GEMM") == "FULLY_CONNECTED"
    assert node_type("Binary Elementwise (ND)") == "Binary Elementwise (ND)"  # ADD or MUL: nobody knows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal convolutions, a depthwise one, a SiLU, a strided one, a linear layer without bias."""
    require("litert", "litert_torch", "ai_edge_litert")
    import torch
    from torch import nn

    from archsearch.models.litert import convert

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(8, 8, 3, padding=1)
            self.second = nn.Conv2d(8, 8, 3, padding=1)
            self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
            self.out = nn.Linear(16, 4, bias=False)

        def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
            x = nn.functional.silu(self.second(self.first(x_NCHW)))
            return self.out(self.down(self.deep(x) + x).flatten(2).transpose(1, 2))

    torch.manual_seed(0)
    return convert(Net().eval(), [torch.randn(1, 8, 8, 8)], tmp_path_factory.mktemp("m") / "net.tflite").path


def times_of(model: Path) -> list[tuple[str, float]]:
    from archsearch.latency.tflite_nodes import Graph

    return [(node.name, 0.1 * (number + 1)) for number, node in enumerate(Graph(model).nodes)]


def test_rows_are_joined_with_the_nodes_of_the_model(model: Path, tmp_path: Path) -> None:
    rows = times_of(model)
    path = tmp_path / "p.csv"
    path.write_text(csv_profile(rows))
    found = read(path, Options(model=model))
    time = {name: [ms for kind, ms in rows if kind == name] for name, _ in rows}
    conv = "conv2d[1x8x8x8](bias=1,g=1,k=3,out=8,s=1)@nhwc"
    assert found.rows[conv].latency_ms == pytest.approx(sum(time["CONV_2D"][:2]) / 2)
    assert found.rows[conv].p10_ms < found.rows[conv].p90_ms
    assert found.rows[conv].runs == 2
    deep = found.rows["conv2d[1x8x8x8](bias=1,g=8,k=3,out=8,s=1)@nhwc"]
    assert deep.latency_ms == pytest.approx(time["DEPTHWISE_CONV_2D"][0])
    silu = found.rows["silu[1x8x8x8]()@nhwc"]
    assert (silu.graph, silu.latency_ms) == ("LOGISTIC + MUL", pytest.approx(time["LOGISTIC"][0] + time["MUL"][0]))
    down = found.rows["conv2d[1x8x8x8](bias=1,g=1,k=3,out=16,s=2)@nhwc"]
    assert down.latency_ms == pytest.approx(time["CONV_2D"][2] + sum(time.get("PAD", [])))
    assert "linear[1x16x16](bias=0,out=4)@row" in found.rows
    assert "add[1x8x8x8|1x8x8x8]()@nhwc" in found.rows
    assert all(Op.parse(key).key == key for key in found.rows)
    assert {row.provenance for row in found.rows.values()} == {"imported"}

    device = tmp_path / "device.yaml"
    device.write_text("device: Pixel 4\ndelegate: none\nprecision: fp32\ndate: 2026-11-21\n")
    options = Options(model=model, device_yaml=device)
    done = import_rows(found, tmp_path / "t", options)
    table = load_table(tmp_path / "t")
    assert done.new == len(table.rows) == len(found.rows)
    assert (table.device, table.date) == ("Pixel 4", "2026-11-21")
    assert "means" in table.protocol


def test_kernels_of_xnnpack_are_joined_where_their_number_fits(model: Path, tmp_path: Path) -> None:
    names = {"CONV_2D": "Convolution (NHWC, F32) IGEMM", "DEPTHWISE_CONV_2D": "Convolution (NHWC, F32) DWConv",
             "FULLY_CONNECTED": "Fully Connected (NC, F32) GEMM", "ADD": "Binary Elementwise (ND)"}  # fmt: skip
    path = tmp_path / "p.csv"
    path.write_text(csv_profile([(names[kind], ms) for kind, ms in times_of(model) if kind in names]))
    found = read(path, Options(model=model))
    assert {key.split("[")[0] for key in found.rows} == {"conv2d", "linear"}
    assert "Not joined: " in " ".join(found.remarks)
    assert "ADD (1 nodes, 0 rows)" in " ".join(found.remarks)


def test_a_profile_of_something_else_is_refused(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(csv_profile([("TfLiteGpuDelegateV2", 3.0)]))
    with pytest.raises(LatencyError, match=r"no row of the profile could be joined.*latency bundle"):
        read(path, Options(model=model))
    with pytest.raises(LatencyError, match="give it with --model"):
        read(path, Options())
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(model.read_bytes()[:200])
    for content in (model.read_bytes()[:200], b"", b"\x00" * 64):
        broken.write_bytes(content)
        with pytest.raises(LatencyError):
            read(path, Options(model=broken))
