"""The guide's example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archsearch.models import build
from archsearch.models.unet import UNetModel
from tests.conftest import ROOT
from tests.models.networks import tiny_unet
from tests.models.reductions import separable


def test_the_inheritance_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    example = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "read_weights" in block)
    build(tiny_unet()).save_pretrained(tmp_path / "stable-diffusion-v1-5" / "unet")
    small = separable()(tiny_unet())
    build(small, device="meta").save_config(tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    exec(example.replace('resolve("mobilediffusion")', 'resolve("small")'), {})
    assert "0 new (0.0%)" in capsys.readouterr().out
    saved = UNetModel.from_pretrained("small-unet", low_cpu_mem_usage=False)
    assert saved.arch == small
