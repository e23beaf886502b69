"""Finite scalar quantisation, against the formulas in plain Python."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosmotok.network import FSQ

LEVELS = (8, 8, 8, 5, 5, 5)
level_sets = st.lists(st.integers(2, 17), min_size=1, max_size=4).map(tuple)


def direct_bound(value, levels):
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = 0.5 if levels % 2 == 0 else 0.0
    return math.tanh(value + math.atanh(offset / half)) * half - offset


def direct_index(digits, levels):
    index, basis = 0, 1
    for digit, count in zip(digits, levels, strict=True):
        index += digit * basis
        basis *= count
    return index


def noise(levels, rows=200, seed=0):
    return 2 * torch.randn(rows, len(levels), generator=torch.Generator().manual_seed(seed))


def test_every_index_comes_back():
    fsq = FSQ(LEVELS)
    indices = torch.arange(64_000, dtype=torch.int32)
    codes = fsq.indices_to_codes(indices)
    assert fsq.vocab_size == 64_000
    assert codes.dtype == torch.float32
    assert codes.abs().max() <= 1
    assert len(codes.unique(dim=0)) == 64_000
    back = fsq.codes_to_indices(codes)
    assert back.dtype == torch.int32
    assert torch.equal(back, indices)


@given(levels=level_sets)
def test_every_index_comes_back_for_other_levels(levels):
    fsq = FSQ(levels)
    indices = torch.arange(min(fsq.vocab_size, 5000))
    codes = fsq.indices_to_codes(indices)
    assert codes.abs().max() <= 1
    assert torch.equal(fsq.codes_to_indices(codes), indices.int())


@given(levels=level_sets)
def test_each_channel_takes_exactly_its_levels(levels):
    fsq = FSQ(levels)
    sweep = torch.linspace(-20, 20, 4001).unsqueeze(-1).expand(-1, len(levels))
    codes = fsq.quantize(sweep)
    for channel, count in enumerate(levels):
        expected = [(digit - count // 2) / (count // 2) for digit in range(count)]
        torch.testing.assert_close(codes[:, channel].unique(), torch.tensor(expected))


def test_published_codes_are_eighths_and_halves():
    codes = FSQ(LEVELS).quantize(torch.linspace(-9, 9, 999).unsqueeze(-1).expand(-1, 6))
    assert codes[:, 0].unique().tolist() == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]
    assert codes[:, 5].unique().tolist() == [-1, -0.5, 0, 0.5, 1]


@given(digits=st.tuples(*(st.integers(0, n - 1) for n in LEVELS)))
def test_index_has_the_first_level_least_significant(digits):
    fsq = FSQ(LEVELS)
    codes = torch.tensor([(d - n // 2) / (n // 2) for d, n in zip(digits, LEVELS, strict=True)])
    index = direct_index(digits, LEVELS)
    assert fsq.codes_to_indices(codes).item() == index
    assert torch.equal(fsq.indices_to_codes(torch.tensor(index)), codes)


def test_basis_is_the_published_one():
    assert FSQ(LEVELS).basis.tolist() == [1, 8, 64, 512, 2560, 12800]


@given(levels=level_sets)
def test_bound_equals_the_formula(levels):
    z = noise(levels)
    expected = [[direct_bound(v, n) for v, n in zip(row, levels, strict=True)] for row in z.tolist()]
    torch.testing.assert_close(FSQ(levels).bound(z), torch.tensor(expected), atol=2e-5, rtol=1e-5)


@given(levels=level_sets)
def test_quantize_and_indices_round_the_bounded_value(levels):
    fsq, z = FSQ(levels), noise(levels)
    codes, indices = fsq.quantize(z), fsq.indices(z)
    assert torch.equal(fsq.codes_to_indices(codes), indices)
    for row, code, index in zip(z.tolist(), codes.tolist(), indices.tolist(), strict=True):
        bounded = [direct_bound(v, n) for v, n in zip(row, levels, strict=True)]
        if any(abs(b - math.floor(b) - 0.5) < 1e-4 for b in bounded):
            continue  # too close to a boundary for float32 to decide
        expected = [round(b) / (n // 2) for b, n in zip(bounded, levels, strict=True)]
        assert code == pytest.approx(expected, abs=1e-6)
        assert index == direct_index([round(b) + n // 2 for b, n in zip(bounded, levels, strict=True)], levels)


@given(levels=level_sets)
def test_gradient_passes_straight_through_the_rounding(levels):
    fsq, weight = FSQ(levels), noise(levels, seed=1)
    z = noise(levels).requires_grad_()
    (gradient,) = torch.autograd.grad((fsq.quantize(z) * weight).sum(), z)
    middle = torch.tensor([n // 2 for n in levels])
    (expected,) = torch.autograd.grad((fsq.bound(z) / middle * weight).sum(), z)
    torch.testing.assert_close(gradient, expected)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_indices_do_not_depend_on_the_dtype_of_the_network(dtype):
    exact, moved = FSQ(LEVELS), FSQ(LEVELS).to(dtype)
    z = noise(LEVELS).to(dtype)
    indices = torch.arange(64_000)
    assert torch.equal(moved.indices(z), exact.indices(z.float()))
    assert torch.equal(moved.codes_to_indices(moved.indices_to_codes(indices)), indices.int())
    assert moved.quantize(z).dtype == dtype
    assert torch.equal(moved.codes_to_indices(moved.quantize(z)), exact.indices(z.float()))


def test_any_integer_dtype_is_an_index():
    fsq = FSQ(LEVELS)
    for dtype, index in product((torch.uint16, torch.int32, torch.int64), (0, 1, 32_768, 63_999)):
        code = fsq.indices_to_codes(torch.tensor([index]).to(dtype))
        assert fsq.codes_to_indices(code).tolist() == [index]
