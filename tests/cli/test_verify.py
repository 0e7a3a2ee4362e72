"""``profile --verify``: agreement stated, modules outside the vocabulary counted."""

import json
from pathlib import Path

from tests.conftest import assert_one_line_error, run_cli

SIMPLE = {
    "_class_name": "UNet2DConditionModel",
    "block_out_channels": [32, 64],
    "down_block_types": ["SimpleCrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "SimpleCrossAttnUpBlock2D"],
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}


def test_verify_states_what_agreed() -> None:
    result = run_cli("profile", "bk-sdm-tiny", "--verify", "--json", "--latent", "16x16")
    assert result.returncode == 0, result.stderr
    assert "323,384,964 parameters equal the built module's" in result.stderr
    assert "fvcore" in result.stderr
    assert json.loads(result.stdout)["totals"]["params"] == 323_384_964


def test_config_outside_the_vocabulary_is_counted_by_torch(tmp_path: Path) -> None:
    import torch
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    (tmp_path / "config.json").write_text(json.dumps(SIMPLE))
    refused = assert_one_line_error(run_cli("profile", str(tmp_path)))
    assert "SimpleCrossAttnDownBlock2D" in refused
    result = run_cli("profile", str(tmp_path), "--verify", "--latent", "16x16", "--json")
    assert result.returncode == 0, result.stderr
    totals = json.loads(result.stdout)["totals"]
    with torch.device("meta"):
        module = UNet2DConditionModel.from_config(SIMPLE)
        inputs = torch.zeros(1, 4, 16, 16), torch.zeros(1), torch.zeros(1, 77, 32)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*inputs)
    assert totals["params"] == sum(p.numel() for p in module.parameters())
    assert 2 * totals["macs"] == counter.get_total_flops()


def test_any_module_by_factory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def make():\n    return torch.nn.Linear(4, 8), {'input': torch.zeros(2, 4)}\n"
        "def wrong():\n    return 3\n"
        "def broken():\n    raise RuntimeError('no luck')\n"
    )
    result = run_cli("profile", "mine:make", "--verify", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["totals"] == {"params": 40, "macs": 64, "macs_without_attention": 64}
    for name, word in (("wrong", "mapping"), ("broken", "no luck"), ("missing", "missing")):
        assert word in assert_one_line_error(run_cli("profile", f"mine:{name}", "--verify", cwd=tmp_path))
