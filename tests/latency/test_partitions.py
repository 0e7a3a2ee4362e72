from pathlib import Path

import pytest

from archsearch.errors import LatencyError
from archsearch.latency.partitions import Node, count
from tests.conftest import require


def chain(*names: str) -> list[Node]:
    """Node i reads tensor i and writes tensor i + 1."""
    return [Node(name, (i,), (i + 1,)) for i, name in enumerate(names)]


def test_nothing_delegated() -> None:
    assert count(chain("CONV_2D", "MEAN", "MEAN")) == (0, 0, {"CONV_2D": 1, "MEAN": 2})
    assert count([]) == (0, 0, {})


def test_one_partition() -> None:
    found = count([*chain("CONV_2D", "ADD", "MUL"), Node("DELEGATE", (0,), (3,))])
    assert found == (3, 1, {})
    assert found.num_outside == 0


def test_a_node_between_two_partitions() -> None:
    found = count(
        [*chain("CONV_2D", "ADD", "RSQRT", "MUL"), Node("DELEGATE", (0,), (2,)), Node("DELEGATE", (3,), (4,))]
    )
    assert found == (3, 2, {"RSQRT": 1})


def test_branches_meet_once() -> None:
    nodes = [Node("CONV_2D", (0, 9), (1,)), Node("LOGISTIC", (1,), (2,)), Node("MUL", (1, 2), (3,)),
             Node("MEAN", (3,), (4,)), Node("SUB", (3, 4), (5,)),
             Node("TfLiteXNNPackDelegate", (0, 9), (3,)), Node("TfLiteXNNPackDelegate", (3, 4), (5,))]  # fmt: skip
    assert count(nodes) == (4, 2, {"MEAN": 1})


def test_a_partition_with_two_outputs() -> None:
    nodes = [Node("A", (0,), (1,)), Node("B", (0,), (2,)), Node("C", (1,), (3,)), Node("D", (2,), (4,)),
             Node("DELEGATE", (0,), (3, 4))]  # fmt: skip
    assert count(nodes) == (4, 1, {})


def test_real_models(tmp_path: Path) -> None:
    """A norm that XNNPACK takes whole, and an integer remainder, which it does not know, between two products."""
    require("litert", "litert_torch", "ai_edge_litert")
    import torch

    from archsearch.latency.partitions import partitions
    from archsearch.models.litert import Job, convert_many

    class Rounded(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(x * 2.0, 1) * 3.0

    norm = torch.nn.GroupNorm(2, 8)
    for parameter in norm.parameters():
        parameter.data = torch.rand(8) + 0.5
    jobs = [
        Job(norm, (torch.randn(1, 8, 4, 4),), tmp_path / "norm.tflite", (0,), True),
        Job(Rounded(), (torch.randn(4, 4),), tmp_path / "mixed.tflite"),
    ]
    convert_many(jobs)
    whole = partitions(tmp_path / "norm.tflite")
    assert (whole.partitions, whole.num_outside) == (1, 0)
    assert whole.delegated > 5
    mixed = partitions(tmp_path / "mixed.tflite")
    assert mixed.num_outside == mixed.outside["CUMSUM"] == 1
    assert mixed.partitions == mixed.delegated == 2
    (tmp_path / "noise.tflite").write_bytes(b"not a model")
    with pytest.raises(LatencyError, match="cannot load the model"):
        partitions(tmp_path / "noise.tflite")
