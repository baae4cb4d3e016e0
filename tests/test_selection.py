import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor

from coppice.parts import selection
from coppice.parts.selection import kth_smallest, lowest, weakest
from reference import selection as slow

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture(params=[1 << 13, 1 << 17], ids=["narrowed down", "outright"])
def way(request, monkeypatch):
    """Both ways to rank, at sizes that a test can afford."""
    monkeypatch.setattr(selection, "_FEW", request.param)


def living(n: int) -> Tensor:
    return torch.ones(n, dtype=torch.bool)


# weakest: on a napkin


def test_equal_scores_fall_in_order_of_position():
    doomed = weakest({"w": tensor([3.0, 1.0, 1.0, 1.0])}, {"w": living(4)}, sparsity=0.5)
    assert doomed["w"].tolist() == [False, True, True, False]


def test_equal_scores_fall_in_order_of_the_mapping():
    scores = {"b": tensor([2.0, 1.0]), "a": tensor([1.0, 1.0])}
    doomed = weakest(scores, {"a": living(2), "b": living(2)}, sparsity=0.5)
    assert doomed["b"].tolist() == [False, True]
    assert doomed["a"].tolist() == [True, False]


def test_ranks_over_all_tensors_together_and_counts_the_dead_in():
    scores = {"v": tensor([[0.5, 9.0], [7.0, 8.0]]), "w": tensor([0.0, 0.1, 6.0, 5.0])}
    alive = {"v": torch.ones(2, 2, dtype=torch.bool), "w": tensor([False, True, True, True])}
    doomed = weakest(scores, alive, sparsity=0.5)  # 4 of 8: one is dead, so 0.1, 0.5 and 5 go
    assert doomed["v"].tolist() == [[True, False], [False, False]]
    assert doomed["w"].tolist() == [False, True, False, True]


@pytest.mark.parametrize(("sparsity", "dies"), [(0.0, 0), (0.24, 1), (0.75, 3), (0.25, 1)])
def test_the_ends(sparsity, dies):
    doomed = weakest({"w": tensor([4.0, 3.0, 2.0, 1.0])}, {"w": living(4)}, sparsity)
    assert doomed["w"].tolist() == [False] * (4 - dies) + [True] * dies


def test_one_half_goes_to_the_even_neighbour():
    scores = {"w": torch.arange(10.0)}
    assert weakest(scores, {"w": living(10)}, 0.25)["w"].sum() == 2  # 2.5
    assert weakest(scores, {"w": living(10)}, 0.75)["w"].sum() == 8  # 7.5


def test_nothing_dies_where_enough_are_dead():
    alive = {"w": tensor([False, False, False, True])}
    assert not weakest({"w": torch.zeros(4)}, alive, 0.5)["w"].any()
    assert weakest({"w": torch.zeros(0, 3)}, {"w": torch.ones(0, 3, dtype=torch.bool)}, 0.5)["w"].shape == (
        0,
        3,
    )


def test_scores_of_the_dead_are_not_read():
    scores = {"w": tensor([math.nan, 2.0, 1.0, -math.inf])}
    doomed = weakest(scores, {"w": tensor([False, True, True, False])}, 0.75)
    assert doomed["w"].tolist() == [False, False, True, False]


def test_a_coarse_tensor_beside_a_fine_one_is_ranked_exactly():
    # 1.001 is no bfloat16: rounded to that grid the line would be 1.0 and spare or fell the wrong ones.
    scores = {"coarse": tensor([1.0, 1.0078125], dtype=torch.bfloat16), "fine": tensor([1.001, 1.002])}
    doomed = weakest(scores, {"coarse": living(2), "fine": living(2)}, 0.5)
    assert doomed["coarse"].tolist() == [True, False]
    assert doomed["fine"].tolist() == [True, False]


def test_changes_no_input_and_no_random_number():
    scores, alive = torch.rand(100_000), torch.rand(100_000) > 0.3
    scores_before, alive_before, state = scores.clone(), alive.clone(), torch.get_rng_state()
    weakest({"w": scores}, {"w": alive}, 0.8)
    assert torch.equal(scores, scores_before)
    assert torch.equal(alive, alive_before)
    assert torch.equal(torch.get_rng_state(), state)


def test_float64_scores_are_not_rounded():
    scores = {"w": tensor([1 + 2e-12, 1 + 1e-12, 2.0, 3.0], dtype=torch.float64)}
    assert weakest(scores, {"w": living(4)}, 0.25)["w"].tolist() == [False, True, False, False]


# weakest: in general


@st.composite
def populations(draw):
    """Scores with few distinct values, so that ties are the rule, and masks, by name."""
    dtype = draw(st.sampled_from(DTYPES))
    levels = draw(st.sampled_from([[1.0], [0.0, 1.0], [-2.0, -0.0, 0.0, 0.5, 3.0, math.inf]]))
    shapes = draw(st.lists(st.sampled_from([(), (0,), (7,), (3, 5), (2, 3, 2, 2)]), min_size=1, max_size=3))
    seed = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scores, alive = {}, {}
    for number, shape in enumerate(shapes):
        picks = torch.randint(len(levels), shape, generator=seed)
        scores[f"w{number}"] = tensor(levels, dtype=dtype)[picks]
        alive[f"w{number}"] = torch.rand(shape, generator=seed) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return scores, alive


@given(populations(), st.floats(0, 1, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_follows_the_sort_and_hits_the_count(population, sparsity):
    scores, alive = population
    doomed = weakest(scores, alive, sparsity)
    lists = [{name: t.flatten().tolist() for name, t in of.items()} for of in (scores, alive, doomed)]
    assert lists[2] == slow.weakest(lists[0], lists[1], sparsity)
    size, dead = (sum(int(f(m)) for m in alive.values()) for f in (Tensor.numel, lambda m: (~m).sum()))
    assert dead + sum(int(mask.sum()) for mask in doomed.values()) == max(dead, round(sparsity * size))
    assert all(
        mask.shape == scores[name].shape and not (mask & ~alive[name]).any() for name, mask in doomed.items()
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_hits_the_count_in_large_piles(dtype):
    scores = {name: torch.randint(0, 5, (200, 300)).to(dtype) for name in "vw"}
    alive = {name: torch.rand(200, 300) > 0.2 for name in "vw"}
    doomed = weakest(scores, alive, 0.7)
    assert sum(int((doomed[name] | ~alive[name]).sum()) for name in "vw") == 84_000


def by_sorting(scores: dict[str, Tensor], among: dict[str, Tensor], count: int) -> Tensor:
    """The same choice by one stable sort of all values, for sizes at which the twin in lists is too slow."""
    marked = torch.cat([mask.flatten() for mask in among.values()])
    order = torch.cat([score.flatten() for score in scores.values()]).argsort(stable=True)
    chosen = torch.zeros_like(marked)
    chosen[order[marked[order]][:count]] = True
    return chosen


LARGE = {
    "distinct": lambda n: torch.randn(n),
    "80 % zeros": lambda n: torch.rand(n) * (torch.rand(n) > 0.8),
    "five values": lambda n: torch.randint(0, 5, (n,)).float(),
    "sorted": lambda n: torch.arange(float(n)),
    "infinities": lambda n: torch.randn(n) / (torch.rand(n) > 0.5),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("pile", LARGE)
@pytest.mark.parametrize("misled", [False, True])
def test_large_tensors_follow_the_sort(pile, misled, monkeypatch):
    # larger than the pieces that are looked at together
    scores = {
        "v": LARGE[pile](70_000),
        "none": torch.zeros(0),
        "few": LARGE[pile](3),
        "w": LARGE[pile](33_000),
    }
    among = {name: torch.rand(len(score)) > 0.4 for name, score in scores.items()}
    if misled:  # the sample sees the first places only
        real = torch.randint
        monkeypatch.setattr(
            torch,
            "randint",
            lambda n, size, generator: real(min(n, 20), size, generator=generator),
        )
    size = sum(int(mask.sum()) for mask in among.values())
    for count in (1, 2, size // 3, size * 4 // 5, size - 1, size):
        chosen = lowest(scores, among, count)
        assert torch.equal(torch.cat([*chosen.values()]), by_sorting(scores, among, count)), count


@pytest.mark.usefixtures("way")
def test_large_scores_of_the_dead_are_not_read():
    scores, alive = torch.randn(50_000), torch.rand(50_000) > 0.5
    doomed = lowest({"w": scores}, {"w": alive}, 9_000)["w"]
    for nonsense in (math.nan, -math.inf, math.inf):
        spoilt = scores.masked_fill(~alive, nonsense)
        assert torch.equal(lowest({"w": spoilt}, {"w": alive}, 9_000)["w"], doomed)


def test_works_across_strides():
    scores, alive = torch.randint(0, 3, (40, 30)).float(), torch.rand(40, 30) > 0.2
    straight = weakest({"w": scores.t().contiguous()}, {"w": alive.t().contiguous()}, 0.6)["w"]
    assert torch.equal(weakest({"w": scores.t()}, {"w": alive.t()}, 0.6)["w"], straight)


# weakest: doors


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, math.nan])
def test_refuses_a_sparsity_out_of_range(sparsity):
    with pytest.raises(ValueError, match=r"sparsity is .* share in \[0, 1\)"):
        weakest({"w": torch.ones(4)}, {"w": living(4)}, sparsity)


@pytest.mark.parametrize(
    ("scores", "alive", "words"),
    [
        ({"v": torch.ones(4)}, {"w": living(4)}, r"\['v', 'w'\]"),
        ({"v": torch.ones(4)}, {}, r"\['v'\]"),
        ({"v": torch.ones(4)}, {"v": living(3)}, r"'v'.*\(4,\).*\(3,\)"),
        ({"v": torch.ones(4)}, {"v": torch.ones(4)}, r"'v'.*float32.*bool"),
        ({"v": torch.ones(4, dtype=torch.int64)}, {"v": living(4)}, r"'v'.*int64.*floats"),
        (
            {"u": torch.ones(1), "v": tensor([1.0, math.nan])},
            {"u": living(1), "v": living(2)},
            "1 living .*'v' are NaN",
        ),
    ],
)
def test_refuses_what_does_not_match(scores, alive, words):
    with pytest.raises(ValueError, match=words):
        weakest(scores, alive, 0.5)


# kth_smallest


@given(
    st.lists(st.floats(width=16, allow_nan=False), min_size=1, max_size=60),
    st.sampled_from(DTYPES),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_kth_is_the_kth_of_the_sorted(values, dtype, data):
    k = data.draw(st.integers(1, len(values)))
    found = kth_smallest(tensor(values, dtype=dtype), k)
    assert found.dtype == dtype
    assert found.shape == ()
    assert found == sorted(tensor(values, dtype=dtype).tolist())[k - 1]


N = 50_000
PILES = {
    "normal": lambda: torch.randn(N),
    "80 % zeros": lambda: torch.rand(N) * (torch.rand(N) > 0.8),
    "five values": lambda: torch.randint(0, 5, (N,)).float(),
    "two values": lambda: torch.randint(0, 2, (N,)).float(),
    "one value": lambda: torch.full((N,), 0.3),
    "sorted": lambda: torch.arange(N).float(),
    "backwards": lambda: -torch.arange(N).float(),
    "neighbours": lambda: 1 + torch.randint(0, 40, (N,)) * 2.0**-23,
    "infinities": lambda: torch.cat([torch.full((N // 2,), math.inf), -torch.full((N - N // 2,), math.inf)]),
    "one outlier": lambda: torch.cat([torch.ones(N - 1), tensor([-5.0])]),
    "tiny": lambda: torch.rand(N) * 1e-42,
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("pile", PILES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kth_is_exact_in_every_pile(pile, dtype):
    values = PILES[pile]().to(dtype)
    ranked = values.sort().values
    for k in (1, 2, N // 10, N // 2, N // 2 + 1, N * 4 // 5, N - 1, N):
        assert kth_smallest(values, k) == ranked[k - 1], k


@pytest.mark.usefixtures("way")
def test_kth_holds_when_every_sample_misleads(monkeypatch):
    # The sample sees only the first tenth, which says nothing about the rest.
    values = torch.cat([torch.zeros(5_000), torch.randn(45_000)])
    monkeypatch.setattr(torch, "randint", lambda n, size, generator: torch.arange(size[0]) % min(n, 5_000))
    ranked = values.sort().values
    for k in (1, 10_000, 25_000, 49_999):
        assert kth_smallest(values, k) == ranked[k - 1]


@pytest.mark.usefixtures("way")
def test_kth_is_exact_at_both_ends():
    # Where the guess is the sample's first or last value, and now and then the answer itself.
    values = torch.arange(9_000.0).flip(0)
    for k in [*range(1, 60), *range(8_940, 9_001)]:
        assert kth_smallest(values, k) == k - 1


def test_kth_takes_strided_and_gradient_bearing_values():
    values = torch.arange(10.0, requires_grad=True)
    assert kth_smallest(values[::2], 2) == 2
    assert not kth_smallest(values, 2).requires_grad


@pytest.mark.slow
def test_kth_has_no_limit_at_two_to_the_24():
    assert kth_smallest(torch.arange(2**25, dtype=torch.float64).flip(0), 2**24 + 3) == 2**24 + 2


@pytest.mark.parametrize(
    ("values", "k", "words"),
    [
        (torch.ones(3), 0, "k is 0, .* 3"),
        (torch.ones(3), 4, "k is 4"),
        (torch.ones(0), 1, "k is 1"),
        (torch.ones(2, 2), 1, r"\(2, 2\).*flatten"),
        (torch.ones(3, dtype=torch.int32), 1, "int32"),
        (tensor([1.0, math.nan, -math.nan]), 1, "2 of 3 values are NaN"),
        (tensor([1.0, math.nan], dtype=torch.bfloat16), 1, "1 of 2 values are NaN"),
    ],
)
def test_kth_refuses(values, k, words):
    with pytest.raises(ValueError, match=words):
        kth_smallest(values, k)
