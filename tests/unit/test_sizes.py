"""The sizes of arguments and results."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs._sizes import size_of

ASCII = st.text(st.characters(codec="ascii", exclude_characters='"\\', exclude_categories=["C"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | ASCII,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ASCII, inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(JSON, min_size=2, max_size=5))
def test_a_size_is_about_that_of_the_json(value):
    """Each part adds at most a few bytes of difference."""
    text = json.dumps(value)
    parts = 2 + sum(text.count(mark) for mark in ',:[]{}"')
    assert abs(size_of(value) - len(text)) <= 4 * parts


def test_text_and_bytes_count_by_their_length():
    """No quotes are added to a value that is text alone."""
    assert (size_of("abc"), size_of(b"\x00" * 10), size_of(("abc",))) == (3, 10, 3)


def test_a_large_text_is_not_copied():
    """Its length is all that is looked at, also inside a container."""
    text = "x" * 50_000_000
    assert size_of((text, text)) == 2 * 50_000_000 + 9


def test_arrays_count_by_nbytes():
    """What says how many bytes it has is believed."""
    assert size_of([memoryview(b"1234")]) == 4 + 5


class Hostile:
    @property
    def nbytes(self):
        raise RuntimeError("no")


LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize("value", [object(), Hostile(), [Hostile()], list(range(201)), LOOP])
def test_what_is_not_cheap_to_know_is_left_out(value):
    """Unknown types, large containers and loops have no size, and nothing is raised."""
    assert size_of(value) is None
