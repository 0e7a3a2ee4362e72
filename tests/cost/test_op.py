"""Operators against hand formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.cost import Op
from archsearch.errors import CostError


def test_convolution_by_hand() -> None:
    op = Op("conv2d", ((2, 6, 9, 7),), (("bias", 1), ("g", 3), ("k", 3), ("out", 12), ("s", 2)))
    assert op.out_shape == (2, 12, 5, 4)
    assert op.params == 12 * 2 * 9 + 12
    assert op.macs == 2 * 12 * 5 * 4 * (2 * 9)


def test_linear_and_attention_by_hand() -> None:
    linear = Op("linear", ((2, 5, 8),), (("bias", 0), ("out", 3)))
    assert (linear.params, linear.macs, linear.out_shape) == (24, 2 * 5 * 8 * 3, (2, 5, 3))
    grouped = Op("attention", ((1, 16, 4, 8), (1, 7, 2, 8)), (("scores", "softmax"),))
    assert grouped.macs == 2 * 4 * 16 * 7 * 8
    assert grouped.attention_macs == grouped.macs
    assert grouped.workspace == 4 * 16 * 7
    assert grouped.params == 0


@pytest.mark.parametrize(
    ("kind", "shapes", "attrs", "params"),
    [
        ("group_norm", ((1, 8, 4, 4),), (("g", 4),), 16),
        ("layer_norm", ((1, 4, 8),), (), 16),
        ("rms_norm", ((1, 4, 2, 8),), (), 8),
        ("embedding", ((1, 4),), (("rows", 10), ("width", 3)), 30),
        ("silu", ((1, 4),), (), 0),
    ],
)
def test_parameters_of_the_rest(kind: str, shapes: tuple, attrs: tuple, params: int) -> None:
    op = Op(kind, shapes, attrs)
    assert op.params == params
    assert op.macs == 0


def test_shapes_of_joins_and_broadcasts() -> None:
    assert Op("cat", ((1, 3, 4, 4), (1, 5, 4, 4))).out_shape == (1, 8, 4, 4)
    assert Op("cat", ((1, 3), (1, 5))).out_shape == (1, 8)
    assert Op("add", ((1, 3, 4, 4), (1, 3, 1, 1))).out_shape == (1, 3, 4, 4)
    assert Op("upsample", ((1, 3, 4, 4),), (("h", 7), ("w", 8))).out_shape == (1, 3, 7, 8)


sides = st.integers(1, 64)


@given(
    st.one_of(
        st.builds(
            lambda n, c, h, out, k: Op(
                "conv2d", ((n, c, h, h),), (("bias", 1), ("g", 1), ("k", k), ("out", out), ("s", 1))
            ),
            sides,
            sides,
            sides,
            sides,
            st.sampled_from([1, 3]),
        ),
        st.builds(
            lambda t, s, h, d, kind: Op("attention", ((1, t, h, d), (1, s, h, d)), (("scores", kind),)),
            sides,
            sides,
            sides,
            sides,
            st.sampled_from(["softmax", "relu"]),
        ),
        st.builds(lambda a, b: Op("add", ((a, b), (a, b))), sides, sides),
    )
)
def test_key_round_trip(op: Op) -> None:
    again = Op.parse(op.key)
    assert again == op
    assert hash(again) == hash(op)
    assert again.macs == op.macs


@pytest.mark.parametrize(
    "key",
    ["", "conv2d", "conv2d[1x2](k=3)@nhwc", "nothing[1x2]()@row", "add[1x2]()@row", "silu[1x2]()@nhwc",
     "linear[1x4]()@row", "conv2d[1x4x8x8](bias=1,g=0,k=3,out=4,s=1)@nhwc",
     "linear[1x4](bias=1,out=four)@row", "silu[1x]()@row",
     "silu[1x2](x=1)@row\n", "silu[" + "9x" * 100 + "9]()@row"],
)  # fmt: skip
def test_hostile_keys_are_refused(key: str) -> None:
    with pytest.raises(CostError):
        Op.parse(key)
