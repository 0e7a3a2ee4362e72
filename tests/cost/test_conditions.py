import pytest

from archsearch.cost import Conditions
from archsearch.errors import CostError


@pytest.mark.parametrize(
    "wrong", [{"latent": (0, 64)}, {"text": 0}, {"batch": 0}, {"passes": -1}, {"precision": "fp8"}]
)
def test_conditions_out_of_range(wrong: dict) -> None:
    with pytest.raises(CostError, match="allowed"):
        Conditions(**wrong)
