import pytest

from tests.report.studies import demo_table, make_study


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    return demo_table(tmp_path_factory.mktemp("tables") / "phone", name="phone")


@pytest.fixture(scope="session")
def study(tmp_path_factory, table):
    """A study on three objectives with a constraint, 60 trials."""
    with pytest.MonkeyPatch.context() as patch:
        return make_study(
            tmp_path_factory.mktemp("studies") / "demo", patch, table, constraints=("latency:phone <= 90%",)
        )
