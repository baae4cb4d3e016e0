"""Which neurons go next."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from coppice.parts.culling import survivors


def test_the_weakest_fifth_of_ten_goes() -> None:
    (kept,) = survivors([tensor([5.0, 1, 9, 8, 2, 7, 6, 5, 4, 3])], share=0.2)
    assert kept.tolist() == [0, 2, 3, 5, 6, 7, 8, 9]


def test_equal_ones_fall_in_order_of_position() -> None:
    for scope in ("global", "local"):
        (kept,) = survivors([tensor([3.0, 1, 1, 1])], share=0.5, scope=scope)
        assert kept.tolist() == [0, 3]


def test_populations_are_compared_by_their_means() -> None:
    # Relative importances: (0.5, 1, 1.5) and (0.8, 1, 1.2); two of six go: 0.5 and 0.8, though 80 is not small.
    first, second = survivors([tensor([1.0, 2, 3]), tensor([80.0, 100, 120])], share=1 / 3)
    assert first.tolist() == [1, 2]
    assert second.tolist() == [1, 2]


def test_no_population_loses_more_than_half_at_once() -> None:
    weak, strong = tensor([1.0, 1, 1, 1, 96]), tensor([10.0, 10, 10, 10, 11])
    first, second = survivors([weak, strong], share=0.4)  # four go; 0.05 x four would be all of the weak ones
    assert first.tolist() == [2, 3, 4]
    assert second.tolist() == [2, 3, 4]


def test_something_goes_although_the_share_rounds_to_nothing() -> None:
    (kept,) = survivors([tensor([2.0, 1])], share=0.01)
    assert kept.tolist() == [0]


def test_the_floor_holds() -> None:
    for scope in ("global", "local"):
        first, second = survivors([tensor([1.0, 2, 3]), tensor([1.0, 2])], 0.9, scope, min_width=2)
        assert (len(first), len(second)) == (2, 2)


def test_all_equal_to_zero_is_no_division_by_zero() -> None:
    first, second = survivors([torch.zeros(4), torch.ones(4)], share=0.25)
    assert first.tolist() == [2, 3]
    assert second.tolist() == [0, 1, 2, 3]


@given(
    widths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    share=st.floats(0.01, 0.9),
    floor=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_as_many_go_as_were_asked_and_may(widths: list[int], share: float, floor: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    importance = [torch.randint(1, 6, (width,), generator=generator).double() for width in widths]
    kept = survivors(importance, share, "global", 0.5, floor)
    gone = [width - len(indices) for width, indices in zip(widths, kept, strict=True)]
    room = [max(0, min(max(1, round(max(0.5, share) * w)), w - floor)) for w in widths]
    assert sum(gone) == min(max(1, round(share * sum(widths))), sum(room))
    for width, indices, values, lost in zip(widths, kept, importance, gone, strict=True):
        assert indices.tolist() == sorted(set(indices.tolist()))
        assert len(indices) >= min(width, floor)
        if lost:
            dead = torch.ones(width, dtype=torch.bool)
            dead[indices] = False
            assert values[dead].max() <= values[indices].min()  # nobody stays who is weaker than one who went
