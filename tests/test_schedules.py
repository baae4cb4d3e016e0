import pytest
from hypothesis import given
from hypothesis import strategies as st

from coppice.parts.schedules import SCHEDULES, cubic, linear, one_shot, rising_cubic


def test_worked_by_hand():
    assert [cubic(p) for p in (0, 0.5, 1)] == [0, 0.875, 1]
    assert [rising_cubic(p) for p in (0, 0.5, 1)] == [0, 0.125, 1]
    assert [linear(p) for p in (0, 0.25, 1)] == [0, 0.25, 1]
    assert [one_shot(p) for p in (0, 0.999, 1)] == [0, 0, 1]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@given(one=st.floats(0, 1), other=st.floats(0, 1))
def test_from_nothing_to_everything_and_never_back(name: str, one: float, other: float) -> None:
    schedule = SCHEDULES[name]
    assert schedule(0.0) == 0
    assert schedule(1.0) == 1
    low, high = sorted((one, other))
    assert 0 <= schedule(low) <= schedule(high) <= 1


@given(st.floats(0, 1))
def test_the_two_cubics_mirror_each_other(p: float) -> None:
    assert cubic(p) == pytest.approx(1 - rising_cubic(1 - p))
