"""Drawing and scaling: exact counts, stratified, reproducible; constants by hand."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from coppice.data.scaling import Scaling, fit
from coppice.data.splits import counts, draw, hold_out, quotas, share, share_or_count

strata = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(
    lambda kinds: np.array(kinds, dtype=np.int64)
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_quotas_round_the_largest_remainders_up_and_equal_ones_in_order():
    assert quotas([5, 5, 5], 7) == [3, 2, 2]  # shares 2 1/3 each: one is left, the first class gets it
    assert quotas([1, 2, 7], 5) == [1, 1, 3]  # shares 0.5, 1, 3.5: equal remainders, the first wins
    assert quotas([1, 9], 8) == [1, 7]  # shares 0.8, 7.2


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=12), st.fractions(0, 1))
def test_quotas_are_exact_in_total_and_within_one_of_the_share(sizes: list[int], part: Fraction) -> None:
    count = int(part * sum(sizes))
    given_out = quotas(sizes, count)
    assert sum(given_out) == count
    for size, quota in zip(sizes, given_out, strict=True):
        assert 0 <= quota <= size
        assert abs(quota - Fraction(size * count, sum(sizes))) < 1


@given(strata, st.fractions(0, 1), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_draw_is_disjoint_complete_stratified_and_repeatable(kinds, part: Fraction, seed: int) -> None:
    count = int(part * len(kinds))
    drawn, left = draw(kinds, count, rng(seed))
    assert len(drawn) == count
    assert sorted([*drawn, *left]) == list(range(len(kinds)))
    sizes, found = Counter(kinds.tolist()), Counter(kinds[drawn].tolist())
    for kind, size in sizes.items():
        assert abs(found[kind] - Fraction(size * count, len(kinds))) < 1
    again = draw(kinds, count, rng(seed))
    assert again[0].tolist() == drawn.tolist()
    assert again[1].tolist() == left.tolist()


def test_a_draw_depends_on_the_seed_and_is_not_grouped_by_class():
    kinds = np.repeat(np.arange(4), 50)
    first, second = draw(kinds, 100, rng(0))[0], draw(kinds, 100, rng(1))[0]
    assert sorted(first) != sorted(second)
    assert (np.diff(kinds[first]) < 0).any()


@pytest.mark.parametrize("count", [-1, 4])
def test_more_than_there_is_cannot_be_drawn(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} samples are wanted, but 0 to 3"):
        draw(np.zeros(3, dtype=np.int64), count, rng())


def test_the_test_set_is_fixed_stratified_and_in_order():
    kinds = np.repeat(np.arange(3), [40, 20, 8])
    test, pool = hold_out(kinds, 0.25)
    assert np.bincount(kinds[test]).tolist() == [10, 5, 2]
    assert test.tolist() == sorted(test)
    assert sorted([*test, *pool]) == list(range(68))
    assert hold_out(kinds, 0.25)[0].tolist() == test.tolist()
    assert len(hold_out(kinds, 0.001)[0]) == 1


def test_counts_by_hand():
    assert counts(100, None, 0.15) == (85, 15)
    assert counts(100, 40, 10) == (40, 10)
    assert counts(100, 90, 10) == (90, 10)
    assert counts(3, None, 0.01) == (2, 1)  # a share is one sample at least
    assert counts(100, np.int64(40), np.int64(10)) == (40, 10)  # numpy's whole numbers are no shares


def test_shares_and_counts_are_told_apart() -> None:
    share_or_count("validation", 0.5)
    share_or_count("validation", np.int64(3))
    for value, says in (
        (1.0, "validation is 1.0, but it must be a share above 0 and below 1 or a count such as 300; 0.2"),
        (float("nan"), "validation is nan, but it must be a share"),
        (0, "validation is 0, but it must be a whole number, 1 or more"),
        (True, "validation is True, but it must be a whole number"),
        ("a", "validation is 'a', but it must be a whole number"),
    ):
        with pytest.raises(ValueError, match=says):
            share_or_count("validation", value)
    with pytest.raises(
        ValueError, match=r"test is 1, but it must be a share above 0 and below 1; 0.2 means 20 %"
    ):
        share("test", 1)


@pytest.mark.parametrize(
    ("pool", "train", "validation", "way_out"),
    [
        (100, 91, 10, "train = 90 is the most"),
        (
            100,
            86,
            0.15,
            r"validation = 0.15 \(15 samples\).*the 100 samples of the training pool: train = 85 is the most",
        ),
        (100, None, 100, "lower validation to 99 samples or fewer"),
        (100, 1, 250, "lower validation to 99"),
        (1, None, 0.5, "two samples are the least"),
        (0, None, 0.5, "two samples are the least"),
    ],
)
def test_counts_that_do_not_fit_are_refused(
    pool: int, train: int | None, validation: float, way_out: str
) -> None:
    with pytest.raises(ValueError, match=way_out):
        counts(pool, train, validation)


def test_columns_are_standardised_one_by_one():
    values = np.array([[1.0, 0.1, 10.0], [3.0, 0.1, 30.0], [5.0, 0.1, 50.0]])
    scaling = fit(values)
    # population deviation of 1, 3, 5 is sqrt(8/3); three times 0.1 leaves a residue that is not spread
    assert_allclose(scaling.mean, [3.0, 0.1, 30.0])
    assert_allclose(scaling.std, [(8 / 3) ** 0.5, 1.0, 10 * (8 / 3) ** 0.5])
    scaled = scaling(values)
    assert scaled.dtype == np.float32
    assert_allclose(scaled[:, 1], 0.0, atol=1e-7)
    assert_allclose(scaled[:, 0], [-(1.5**0.5), 0.0, 1.5**0.5], rtol=1e-6)


def test_images_keep_one_unit_over_channels_and_pixels():
    images = rng().integers(0, 256, (20, 2, 3, 4)).astype(np.uint8)
    images[:, 1] //= 8
    scaling = fit(images)
    centred = images - images.mean(axis=(0, 2, 3), keepdims=True)
    assert_allclose(scaling.mean, images.mean(axis=(0, 2, 3)))
    assert len(scaling.std) == 1
    assert_allclose(scaling.std[0], centred.std())
    assert_allclose(scaling(images), centred / centred.std(), rtol=1e-4, atol=1e-5)  # float32 subtraction


def test_constant_images_become_zero():
    images = np.full((3, 1, 2, 2), 0.1)
    assert fit(images).std == (1.0,)
    assert_allclose(fit(images)(images), 0.0, atol=1e-7)


def test_large_offsets_are_removed_before_digits_are_lost():
    values = 1e9 + np.array([[0.0], [1.0], [2.0]])
    assert_allclose(fit(values)(values)[:, 0], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)


def test_the_record_rebuilds_the_scaling():
    scaling = fit(rng().normal(size=(9, 4)))
    record = scaling.record()
    assert Scaling(tuple(record["mean"]), tuple(record["std"])) == scaling
