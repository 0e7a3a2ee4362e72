"""What tests of measuring share."""

import os
from pathlib import Path

import pytest

from archsearch.errors import LatencyError
from archsearch.latency import runtimes
from tests.latency.tables import SMALL


@pytest.fixture(scope="session")
def tflite_runtime() -> str:
    """A Python with tflite-runtime, made if pip can; skips with the reason, fails where ARCHSEARCH_REQUIRE lists it."""
    try:
        return str(Path(runtimes.install()) / "bin" / "python")
    except LatencyError as error:
        if "tflite-runtime" in os.environ.get("ARCHSEARCH_REQUIRE", "").split(","):
            pytest.fail(f"{error}, and ARCHSEARCH_REQUIRE lists tflite-runtime", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference operator and ``SMALL``, converted once."""
    from archsearch.latency.conversion import convert_ops
    from archsearch.latency.measure import REFERENCE

    folder = tmp_path_factory.mktemp("converted")
    assert convert_ops([REFERENCE, *SMALL], folder, workers=1)[1] == {}
    return folder
