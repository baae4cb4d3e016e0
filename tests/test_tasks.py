"""Streams of tasks: cuts and permutations counted by hand, nothing lost, the test untouched, bad input refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coppice.data.catalogue import Data, load
from coppice.data.splits import Split
from coppice.data.tasks import TaskData, cut, of_splits, permuted, split_by_class


def numbered(*labels: int, first: int = 0) -> Split:
    """Samples whose only feature pair holds their number, so that each can be found again."""
    count = len(labels)
    x = torch.arange(first, first + count, dtype=torch.float32)
    return Split(torch.stack([x, -x], 1), torch.tensor(labels))


def whole(classes: int = 6, each: int = 10, seed: int = 0) -> TaskData:
    labels = list(range(classes)) * each
    return cut("toy", numbered(*labels), numbered(*labels, first=1000), validation=0.2, seed=seed)


def numbers(split: Split) -> list[int]:
    return split.x[:, 0].int().tolist()


def test_validation_is_cut_from_training_only_stratified_and_the_test_is_untouched():
    train, test = numbered(*[3] * 20, *[7] * 10), numbered(7, 3, 3, first=100)
    task = cut("toy", train, test, validation=0.2, seed=1, classes=("three", "seven"), group="motor")
    assert torch.bincount(task.validation.y).tolist() == [4, 2]
    assert torch.bincount(task.train.y).tolist() == [16, 8]
    assert sorted(numbers(task.train) + numbers(task.validation)) == list(range(30))
    assert torch.equal(task.test.x, test.x)
    assert task.test.y.tolist() == [1, 0, 0]  # 7 is the second of the labels 3, 7
    assert (task.classes, task.group, task.test.y.dtype) == (("three", "seven"), "motor", torch.int64)
    for part in (task.train, task.validation):  # samples keep their own label
        assert [0 if n < 20 else 1 for n in numbers(part)] == part.y.tolist()


def test_a_cut_repeats_by_seed_and_changes_with_it():
    assert numbers(whole(seed=3).validation) == numbers(whole(seed=3).validation)
    assert sorted(numbers(whole(seed=3).validation)) != sorted(numbers(whole(seed=4).validation))


def test_a_count_of_validation_samples_and_names_by_default():
    task = cut("toy", numbered(*[5, 9] * 8), numbered(5, 9), validation=4)
    assert len(task.validation.y) == 4
    assert task.classes == ("5", "9")


def test_no_episode_is_on_both_sides():
    episodes = np.repeat(np.arange(5) * 10, 6)
    train = numbered(*[0, 1] * 15)
    task = cut("toy", train, numbered(0, 1), validation=0.4, seed=0, episodes=episodes)
    judged = {int(episodes[n]) for n in numbers(task.validation)}
    learned = {int(episodes[n]) for n in numbers(task.train)}
    assert (len(judged), len(learned), judged & learned) == (2, 3, set())
    assert len(task.validation.y) == 12


def test_chance_is_the_test_accuracy_of_the_commonest_training_class():
    task = cut("toy", numbered(*[0] * 4, *[1] * 12), numbered(0, 1, 0, 0), validation=4)
    assert task.chance == 0.25


def test_classes_in_natural_order_are_divided_and_counted_from_zero():
    stream = split_by_class(whole(), 3)
    assert [task.classes for task in stream] == [("0", "1"), ("2", "3"), ("4", "5")]
    assert [task.name for task in stream] == ["toy-1", "toy-2", "toy-3"]
    for k, task in enumerate(stream):
        for part in task[1:4]:
            assert [n % 1000 % 6 for n in numbers(part)] == (part.y + 2 * k).tolist()


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 3]))
def test_whatever_the_order_no_sample_is_lost_and_none_changes_sides(order: int, tasks: int) -> None:
    source = whole()
    stream = split_by_class(source, tasks, order)
    for k in (1, 2, 3):
        pieces = [n for task in stream for n in numbers(task[k])]
        assert sorted(pieces) == sorted(numbers(source[k]))
    assert sorted(c for task in stream for c in task.classes) == list("012345")
    for task in stream:  # y names the class the sample has
        assert [task.classes[y] for y in task.test.y] == [str(n % 1000 % 6) for n in numbers(task.test)]


def test_an_order_by_seed_is_numpys_permutation():
    expected = np.random.default_rng(5).permutation(6).reshape(3, 2)
    stream = split_by_class(whole(), 3, order=5)
    assert [[int(c) for c in task.classes] for task in stream] == expected.tolist()
    assert expected.ravel().tolist() != sorted(expected.ravel())


def images(channels: int = 2) -> TaskData:
    x = torch.arange(12 * channels * 6, dtype=torch.float32).reshape(12, channels, 2, 3)
    return cut("pix", Split(x, torch.tensor([0, 1] * 6)), Split(x[:2] + 0.5, torch.tensor([0, 1])))


def test_the_first_task_is_unpermuted_and_each_other_has_one_order_for_all_samples_and_channels():
    source = images()
    first, second, third = permuted(source, 3, seed=2)
    assert torch.equal(first.train.x, source.train.x)
    assert torch.equal(first.test.x, source.test.x)
    orders = []
    for task in (second, third):
        start = task.test.x[0, 0].flatten() - 0.5  # pixel k of the first channel of the first sample holds k
        orders.append(start.int().tolist())
        assert sorted(orders[-1]) == list(range(6))
        for k in (1, 2, 3):
            assert torch.equal(task[k].x.flatten(2), source[k].x.flatten(2)[:, :, orders[-1]])
            assert torch.equal(task[k].y, source[k].y)
    assert orders[0] != orders[1]
    assert orders[0] != list(range(6))


def test_a_permuted_task_depends_on_its_number_and_seed_only():
    assert torch.equal(permuted(images(), 4, seed=2)[1].train.x, permuted(images(), 2, seed=2)[1].train.x)
    assert not torch.equal(permuted(images(), 2, seed=2)[1].train.x, permuted(images(), 2, seed=3)[1].train.x)


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3)])
def test_features_and_time_steps_are_permuted_along_the_second_axis(shape: tuple[int, ...]):
    x = torch.arange(8.0 * 5 * (3 if len(shape) == 3 else 1)).reshape(shape)
    source = cut("seq", Split(x, torch.tensor([0, 1] * 4)), Split(x[:2], torch.tensor([0, 1])), validation=2)
    moved = permuted(source, 2)[1].test.x
    steps = {tuple(row.flatten().tolist()) for row in x[0]}
    assert {tuple(row.flatten().tolist()) for row in moved[0]} == steps
    assert not torch.equal(moved, x[:2])


def test_a_loaded_set_keeps_its_own_splits():
    splits = load(Data("digits"), seed=0)
    task = of_splits("digits", splits, "perception")
    assert task.train is splits.train
    assert task.chance == pytest.approx(0.1, abs=0.01)
    low, high = split_by_class(task, 2)
    assert low.classes == tuple("01234")
    assert len(low.test.y) + len(high.test.y) == 449


@pytest.mark.parametrize(
    ("tasks", "says"),
    [(4, "do not divide into 4 .* tasks can be 1, 2, 3"), (6, "two classes or more"), (0, "tasks is 0")],
)
def test_classes_that_do_not_divide_are_refused_with_the_ways_out(tasks: int, says: str):
    with pytest.raises(ValueError, match=says):
        split_by_class(whole(), tasks)


GOOD = numbered(*[0, 1] * 6)


@pytest.mark.parametrize(
    ("train", "test", "options", "says"),
    [
        (Split(GOOD.x.int(), GOOD.y), GOOD, {}, "train: x is torch.int32, but it must be floating"),
        (Split(GOOD.x, GOOD.y.float()), GOOD, {}, "train: y is torch.float32"),
        (GOOD, Split(GOOD.x, GOOD.y[:, None]), {}, "test: y is torch.int64 .12, 1."),
        (Split(GOOD.x[:3], GOOD.y), GOOD, {}, "same number of samples"),
        (GOOD, Split(GOOD.x[:0], GOOD.y[:0]), {}, "one or more"),
        (
            GOOD,
            numbered(0, 2),
            {},
            "Class 2 is in the test samples of 'toy', but in no training sample: leave it out",
        ),
        (GOOD, Split(GOOD.x[:, :1], GOOD.y), {}, "give both the same shape"),
        (GOOD, GOOD, {"classes": ("a",)}, "1 names are given for the 2 classes of 'toy': name each"),
        (GOOD, GOOD, {"validation": 1.0}, "validation is 1.0"),
        (GOOD, GOOD, {"validation": 0}, "validation is 0"),
        (GOOD, GOOD, {"validation": 12}, "do not fit"),
        (GOOD, GOOD, {"seed": -1}, "seed is -1"),
        (GOOD, GOOD, {"episodes": np.arange(3)}, "episodes has shape .3..* say of each which episode"),
        (
            numbered(0, 0, 0, 1),
            GOOD,
            {"episodes": np.array([0, 0, 0, 1]), "validation": 1, "seed": 0},
            "class",
        ),
    ],
)
def test_bad_samples_and_options_are_refused(train: Split, test: Split, options: dict, says: str):
    with pytest.raises(ValueError, match=says):
        cut("toy", train, test, **options)


def test_a_value_that_is_not_finite_is_found_by_its_sample():
    x = GOOD.x.clone()
    x[7, 1] = float("nan")
    with pytest.raises(ValueError, match="x of sample 7 is not finite"):
        cut("toy", Split(x, GOOD.y), GOOD)


def test_a_task_without_test_samples_and_a_single_pixel_are_refused():
    source = cut("toy", numbered(*[0, 1, 2, 3] * 5), numbered(0, 1))
    with pytest.raises(ValueError, match="'toy-2' would have no test sample"):
        split_by_class(source, 2)
    one = cut("dot", Split(GOOD.x[:, :1], GOOD.y), Split(GOOD.x[:, :1], GOOD.y))
    with pytest.raises(ValueError, match="nothing to permute"):
        permuted(one, 2)
