"""Each rule of the interpreter against plain numpy or torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgeyolo_coreml import operators

X = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 7, 9)).astype(np.float32))


@pytest.mark.parametrize(("strides", "pad", "groups"), [((1, 1), (1, 1, 1, 1), 1), ((2, 1), (0, 2, 1, 0), 2)])
def test_conv(strides: tuple[int, ...], pad: tuple[int, ...], groups: int) -> None:
    weight, bias = torch.randn(4, 6 // groups, 3, 3), torch.randn(4)
    given = operators.conv(
        x=X,
        weight=weight,
        bias=bias,
        strides=strides,
        pad_type="custom",
        pad=pad,
        dilations=(1, 1),
        groups=groups,
    )
    padded = np.pad(X.numpy(), ((0, 0), (0, 0), pad[:2], pad[2:]))
    expected = F.conv2d(torch.from_numpy(padded), weight, bias, strides, groups=groups)
    torch.testing.assert_close(given, expected)


def test_max_pool_pads_with_less_than_anything() -> None:
    low = X - 100
    given = operators.max_pool(
        x=low, kernel_sizes=(5, 5), strides=(1, 1), pad_type="custom", pad=(2, 2, 2, 2), ceil_mode=False
    )
    torch.testing.assert_close(given, F.max_pool2d(low, 5, 1, 2))


def test_upsampling_repeats() -> None:
    given = operators.upsample_nearest_neighbor(X, 2.0, 3.0)
    np.testing.assert_array_equal(given.numpy(), np.repeat(np.repeat(X.numpy(), 2, 2), 3, 3))
    with pytest.raises(ValueError, match="whole factors"):
        operators.upsample_nearest_neighbor(X, 1.5, 2.0)


def test_slices_with_masks_and_strides() -> None:
    given = operators.slice_by_index(
        x=X, begin=(0, 1, 1, 0), end=(2, 0, 6, 4), stride=(1, 2, 2, 1), end_mask=(False, True, False, False)
    )
    np.testing.assert_array_equal(given, X[0:2, 1::2, 1:6:2, 0:4])
    squeezed = operators.slice_by_index(
        x=X, begin=(1, 0, 0, 0), end=(2, 0, 0, 0), begin_mask=(False, True, True, True),
        end_mask=(False, True, True, True), squeeze_mask=(True, False, False, False),
    )  # fmt: skip
    np.testing.assert_array_equal(squeezed, X[1])


def test_elementwise_and_shape_rules() -> None:
    rules, other = operators.RULES, X.flip(0)
    torch.testing.assert_close(rules["silu"](x=X), F.silu(X))
    torch.testing.assert_close(rules["leaky_relu"](x=X, alpha=0.1), F.leaky_relu(X, 0.1))
    torch.testing.assert_close(rules["relu"](x=X), F.relu(X))
    torch.testing.assert_close(rules["sigmoid"](x=X), torch.sigmoid(X))
    torch.testing.assert_close(rules["add"](x=X, y=other), X + other)
    torch.testing.assert_close(rules["sub"](x=X, y=other), X - other)
    torch.testing.assert_close(rules["mul"](x=X, y=0.5), X * 0.5)
    torch.testing.assert_close(rules["square"](x=X), X**2)
    assert torch.equal(rules["greater_equal"](x=X, y=other), torch.ge(X, other))
    assert torch.equal(rules["concat"](values=[X, other], axis=1), torch.cat([X, other], 1))
    assert torch.equal(rules["reshape"](x=X, shape=(0, 2, -1)), X.reshape(2, 2, -1))
    assert torch.equal(rules["transpose"](x=X, perm=(0, 2, 1, 3)), X.transpose(1, 2))
    assert torch.equal(rules["reduce_max"](x=X, axes=(1, 3), keep_dims=True), X.amax((1, 3), keepdim=True))


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        ("conv", {"x": X, "weight": torch.ones(1, 6, 3, 3), "pad_type": "same_lower", "pad": (1, 1, 1, 1)}),
        ("cast", {"x": X, "dtype": "int32"}),
        ("concat", {"values": [X, X], "axis": 1, "interleave": True}),
        ("slice_by_index", {"x": X, "begin": (0,), "end": (1,), "stride": (-1,)}),
    ],
)
def test_bad_arguments_of_a_rule_are_an_error(rule: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        operators.RULES[rule](**arguments)


def test_an_argument_that_no_rule_has_is_an_error() -> None:
    with pytest.raises(TypeError):
        operators.RULES["sigmoid"](x=X, mode="hard")


def test_dequantizing_agrees_with_coremltools() -> None:
    data = np.random.default_rng(1).integers(-128, 128, (4, 3, 2, 2)).astype(np.int8)
    scale = np.float16([0.5, 0.25, 3.0, 0.001])
    theirs = _materialized(
        "constexpr_affine_dequantize", quantized_data=data, zero_point=np.int8(3), scale=scale, axis=0
    )
    ours = operators.affine_dequantize(data, np.int8(3), scale, 0)
    np.testing.assert_array_equal(ours.astype(np.float16), theirs)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_tables_agree_with_coremltools(bits: int) -> None:
    from coremltools.optimize._utils import pack_elements_into_bits

    rng = np.random.default_rng(bits)
    index = rng.integers(0, 2**bits, 5 * 3 * 3 * 3).astype(np.uint8)
    table = rng.normal(size=2**bits).astype(np.float16)
    packed = pack_elements_into_bits(index, bits)
    shape = np.uint32([5, 3, 3, 3])
    theirs = _materialized("constexpr_lut_to_dense", indices=packed, lut=table, shape=shape)
    ours = operators.lut_to_dense(packed, table, shape)
    np.testing.assert_array_equal(ours.astype(np.float16), theirs)
    np.testing.assert_array_equal(ours.ravel(), table[index].astype(np.float32))


def _materialized(kind: str, **arguments: object) -> np.ndarray:
    """Value that coremltools computes for a constexpr operation."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    held = []

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS16)
    def program(x):  # type: ignore[no-untyped-def]
        held.append(getattr(mb, kind)(**arguments).op.materialized_val_inference())
        return mb.identity(x=x)

    assert len(program.functions) == 1
    return np.asarray(held[0])
