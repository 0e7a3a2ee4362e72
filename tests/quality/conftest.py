from __future__ import annotations

from pathlib import Path

import pytest

from archsearch.space import Space, load_space
from tests.quality.spaces import tiny_space


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return tiny_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="session")
def demo() -> Space:
    return load_space("demo")


@pytest.fixture(scope="session")
def trained(tiny: Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of eight steps."""
    from archsearch.quality.config import TrainConfig
    from archsearch.quality.train import train

    folder = tmp_path_factory.mktemp("quality") / "run"
    train(tiny, TrainConfig(steps=8, batch=4), folder)
    return folder
