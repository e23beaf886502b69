"""Overlapped work keeps its order, its errors and its ends."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmotok.overlap import Behind, ahead


@given(st.lists(st.integers()))
def test_items_come_in_order(items):
    assert list(ahead(iter(items))) == items


def test_the_next_item_is_made_while_one_is_in_use():
    made = [threading.Event() for _ in range(3)]

    def items():
        for event in made:
            event.set()
            yield event

    coming = ahead(items())
    next(coming)
    assert made[1].wait(5)
    assert not made[2].wait(0.05)  # and no further: memory stays small
    coming.close()
    assert threading.active_count() == len([t for t in threading.enumerate() if not t.name.startswith("ahead")])


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("torn")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="torn"):
        next(coming)


def test_calls_run_one_after_the_other_and_end_with_the_context():
    seen = []

    def slow(number):
        time.sleep(0.01)
        seen.append(number)

    with Behind() as behind:
        for number in range(5):
            behind(slow, number)
        assert len(seen) < 5
    assert seen == list(range(5))


@pytest.mark.parametrize("more", [True, False])
def test_an_error_of_a_call_is_raised(more):
    def fail():
        raise ValueError("disk full")

    seen = []
    with pytest.raises(ValueError, match="disk full"), Behind() as behind:
        behind(fail)
        if more:
            behind(seen.append, 1)
            raise AssertionError("the call before had failed")
    assert seen == []


def test_an_error_of_the_caller_comes_first():
    def fail():
        raise ValueError("second")

    with pytest.raises(KeyError), Behind() as behind:
        behind(fail)
        raise KeyError("first")
