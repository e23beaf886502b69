"""Code usage and perplexity against NumPy, and against what they must be at the extremes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosmotok.errors import InputError
from cosmotok.metrics.codes import CodeUsage

VOCABULARY = 12
batches = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40), min_size=1, max_size=5)


def counted(*parts, vocab_size=VOCABULARY):
    codes = CodeUsage(vocab_size)
    for part in parts:
        codes.update(torch.tensor(part, dtype=torch.int32))
    return codes


@given(batches)
def test_equals_numpy(parts):
    codes = counted(*parts)
    values, counts = np.unique(np.concatenate(parts), return_counts=True)
    p = counts / counts.sum()
    assert codes.total == counts.sum()
    assert codes.usage == len(values) / VOCABULARY
    assert codes.perplexity == pytest.approx(2 ** -(p * np.log2(p)).sum(), rel=1e-12)
    assert codes.histogram.tolist() == np.bincount(np.concatenate(parts), minlength=VOCABULARY).tolist()


@given(batches, batches)
def test_merging_is_counting_all(here, there):
    codes, other = counted(*here), counted(*there)
    codes.merge(other)
    assert torch.equal(codes.histogram, counted(*here, *there).histogram)


@given(batches)
def test_how_the_indices_are_shaped_and_cut_does_not_matter(parts):
    flat = [index for part in parts for index in part]
    codes = CodeUsage(VOCABULARY)
    codes.update(torch.tensor(flat, dtype=torch.int64).reshape(1, -1, 1))
    codes.update(torch.empty(1, 0, 2, 2, dtype=torch.int32))
    assert torch.equal(codes.histogram, counted(*parts).histogram)


def test_extremes():
    everything = counted(range(VOCABULARY), range(VOCABULARY))
    assert everything.usage == 1
    assert everything.perplexity == pytest.approx(VOCABULARY)
    one = counted([3] * 100, vocab_size=64_000)
    assert one.usage == 1 / 64_000
    assert one.perplexity == 1


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (torch.tensor([0, 12]), r"expected 0\.\.11, got 0\.\.12"),
        (torch.tensor([-1, 3]), r"got -1\.\.3"),
        (torch.tensor([1.0]), "expected integers, got torch.float32"),
        (torch.tensor([True]), "expected integers, got torch.bool"),
    ],
)
def test_other_indices_are_refused_and_not_counted(indices, words):
    codes = counted([1, 2])
    with pytest.raises(InputError, match=words):
        codes.update(indices)
    assert codes.total == 2


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="no index was counted"):
        _ = CodeUsage(8).usage
    with pytest.raises(InputError, match="no index was counted"):
        _ = CodeUsage(8).perplexity
    with pytest.raises(InputError, match="expected a vocabulary of 8, got 9"):
        CodeUsage(8).merge(CodeUsage(9))
    for size in (0, -1, True, 2.0, None):
        with pytest.raises(InputError, match="vocab_size"):
            CodeUsage(size)
