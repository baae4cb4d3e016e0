"""Which of the living synapses go next? Pure functions: scores and masks in, masks out."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_FEW = 1 << 17  # values that are ranked outright
_PIECE = 1 << 15  # values of a tensor looked at together: they stay in the cache
_LOOK = 500  # values that tell whether many are equal
_SPREAD = 3.0  # standard deviations around the guess: it misses about once in 400, which costs one round more


def kth_smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest (from 1) of a flat float tensor, exactly, as a tensor without dimensions.

    A sample tells between which two values the answer should lie; counting tells whether it does, and what
    lies strictly between goes into the next round. Exact whatever the sample says, and piles of equal
    values are settled by the count alone.   Floyd & Rivest 1975, with two pivots out of one sample.

    `values` [n], of float32, float64, float16 or bfloat16, any n; infinities rank like numbers.
    Raises ValueError on NaN, on another shape or dtype and on k outside [1, n].
    """
    if values.dim() != 1 or values.dtype not in _FLOATS:
        raise ValueError(
            f"values is {values.dtype} of shape {tuple(values.shape)}, but must be a flat tensor of floats"
            f" ({', '.join(str(dtype) for dtype in _FLOATS)}): flatten() or convert it."
        )
    if not 1 <= k <= values.numel():
        raise ValueError(f"k is {k}, but counts from 1 to the number of values, {values.numel()}.")
    left = _fast(values.float() if values.element_size() == 2 else values)  # numpy knows no bfloat16
    if nans := _nans(left):
        raise ValueError(f"{nans} of {values.numel()} values are NaN and cannot be ranked: mend them first.")

    draw = torch.Generator().manual_seed(0)  # its own: the caller's random numbers stay as they were
    while len(left) > _FEW:
        places = _fast(torch.randint(len(left), (_sample_size(len(left)),), generator=draw))
        low, high = _bracket(left[places], k / len(left))
        up_to_low, below_high = left <= low, left < high
        first, last = _count(up_to_low), _count(below_high)
        if first < k <= last:
            left, k = left[below_high ^ up_to_low], k - first
        elif k <= first:
            below = below_high if low == high else left < low
            if k > _count(below):
                return values.new_tensor(low)
            left = left[below]
        else:
            above = left > high
            if k <= len(left) - _count(above):
                return values.new_tensor(high)
            left, k = left[above], k - (len(left) - _count(above))
    return values.new_tensor(_ranked(left, k))


def weakest(
    scores: Mapping[str, Tensor], alive: Mapping[str, Tensor], sparsity: float, cap: float | None = None
) -> dict[str, Tensor]:
    """The living synapses to kill so that round(sparsity * size) are dead, the already dead included.

    Never names the dead, never more than asked, and nothing where enough are dead already. `round` is Python's:
    exactly one half goes to the even neighbour. Ranks and breaks ties as `lowest` does, which explains `cap`.

    `scores` float, `alive` bool, same names and shapes; `sparsity` a share in [0, 1) of all entries.
    Returns one bool tensor per name, shaped like the scores. Scores of the dead are not read.
    Raises ValueError as `lowest` does, and on a sparsity out of range.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(
            f"sparsity is {sparsity}, but only a share in [0, 1) of the synapses can die; 0.7 means 70 %."
        )
    size = sum(mask.numel() for mask in alive.values())
    dead = size - sum(_count(_fast(mask)) for mask in alive.values())
    return lowest(scores, alive, max(0, round(sparsity * size) - dead), cap)


def lowest(
    scores: Mapping[str, Tensor], among: Mapping[str, Tensor], count: int, cap: float | None = None
) -> dict[str, Tensor]:
    """Exactly the `count` entries of lowest score `among` those marked, over all tensors together.

    Equal scores fall in order of position: by the order of `scores`, within a tensor row by row.
    With `cap`, a share in (0, 1], no tensor ends with more than floor(cap * size) entries chosen or unmarked, and
    each keeps at least one: the next lowest of other tensors fall instead.

    `scores` float, `among` bool, same names and shapes. Returns one bool tensor per name, shaped like the scores.
    Raises ValueError on names, shapes or dtypes that do not match, on NaN among the marked, and where fewer than
    `count` may be chosen.
    """
    _refuse_mismatch(scores, among)
    # One grid for all: beside a bfloat16 tensor the line would be rounded to a neighbouring score.
    grid = torch.float64 if any(score.dtype == torch.float64 for score in scores.values()) else torch.float32
    ranks = {name: _fast(score.detach().to(grid).flatten()) for name, score in scores.items()}
    marked = {name: _fast(among[name].flatten()) for name in scores}
    for name, rank in ranks.items():
        if _nans(rank) and (nans := _nans(rank[marked[name]])):  # picking out is slow, and most have none
            raise ValueError(
                f"{nans} living scores of '{name}' are NaN and cannot be ranked: look whether its weights are, and why"
                " (too high a learning rate, a value out of the range of its type)."
            )
    if count == 0:
        return {name: torch.zeros_like(among[name]) for name in scores}
    room = {name: _count(mask) for name, mask in marked.items()}
    if cap is not None:
        for name, mask in marked.items():
            most = min(math.floor(cap * len(mask)), len(mask) - 1)
            room[name] = max(0, min(room[name], most - (len(mask) - room[name])))
    if not 0 < count <= sum(room.values()):
        raise ValueError(
            f"{count} entries are to fall, but only {sum(room.values())} may"
            f"{'' if cap is None else f' with at most {cap:.0%} of each tensor'}: ask for less sparsity"
            f"{'' if cap is None else ' or raise the cap'}."
        )
    fallen = _fall(ranks, marked, count)
    if any(_count(fallen[name]) > room[name] for name in scores):
        open_ = {
            name: _fall({name: ranks[name]}, {name: marked[name]}, room[name])[name]
            if room[name] < _count(marked[name])
            else marked[name]
            for name in scores
        }
        fallen = _fall(ranks, open_, count)
    return {name: torch.as_tensor(mask).view(among[name].shape) for name, mask in fallen.items()}


def _fall(ranks: Mapping[str, Any], marked: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The `count` lowest of the marked, as flat masks; ties by position."""
    line = _line(ranks, marked, count) if count else -math.inf
    fallen = {name: rank <= line for name, rank in ranks.items()}
    for name, mask in fallen.items():
        mask &= marked[name]
    surplus = sum(map(_count, fallen.values())) - count
    for name, rank in reversed(list(ranks.items())):
        if surplus:  # more scores equal the line than may fall: the last of them are spared
            equals = (rank == line) & marked[name]
            if spared := min(surplus, _count(equals)):
                first = _places(equals)[-spared]
                fallen[name][first:] &= ~equals[first:]
                surplus -= spared
    return fallen


def _line(ranks: Mapping[str, Any], marked: Mapping[str, Any], k: int) -> float:
    """The k-th smallest of the marked.

    Many are narrowed down as in `kth_smallest`, but over tensors, piece by piece: to pick out all that is marked takes
    ten times longer than to compare it, and as much memory as the tensors.
    """
    total, living = sum(map(len, ranks.values())), sum(map(_count, marked.values()))
    if total <= _FEW:
        return _ranked(_fast(_joined([rank.take(_places(marked[name])) for name, rank in ranks.items()])), k)
    draw, drawn = torch.Generator().manual_seed(0), _sample_size(total) / total
    sample = []
    for name, rank in ranks.items():
        if len(rank):
            places = _fast(torch.randint(len(rank), (math.ceil(drawn * len(rank)),), generator=draw))
            sample.append(rank[places][marked[name][places]])
    low, high = _bracket(_fast(_joined(sample)), k / living)

    above_low, inside, between = 0, 0, []
    for name, whole in ranks.items():
        for rank, mask in _pieces(whole, marked[name]):
            within = rank >= low
            within &= mask
            above_low += _count(within)
            within &= rank <= high
            inside += _count(within)
            if low < high:
                between.append(rank.take(_places(within)))  # a third faster than rank[within]
    below = living - above_low
    if not below < k <= below + inside:  # the sample misled
        below, between = 0, [rank[marked[name]] for name, rank in ranks.items()]
    return float(kth_smallest(_joined(between), k - below)) if between else low


def _bracket(sample: Any, share: float) -> tuple[float, float]:
    """Two of the sample between which this share of the values very likely ends; infinities without a sample."""
    size = len(sample)
    if not size:
        return -math.inf, math.inf
    ranked = _sorted(sample)
    slack = _SPREAD * math.sqrt(size * share * (1 - share)) + 1
    low = max(0, math.floor(share * size - slack))
    high = min(size - 1, math.ceil(share * size + slack))
    return float(ranked[low]), float(ranked[high])


def _sample_size(population: int) -> int:
    return round(population ** (2 / 3))


def _pieces(values: Any, mask: Any) -> Iterator[tuple[Any, Any]]:
    """Both, side by side, in pieces that fit the CPU's cache."""
    step = _PIECE if isinstance(values, np.ndarray) else max(1, len(values))
    for start in range(0, len(values), step):
        yield values[start : start + step], mask[start : start + step]


def _joined(parts: list[Any]) -> Tensor:
    return torch.cat([torch.as_tensor(part) for part in parts])


def _fast(values: Tensor) -> Any:
    """The same memory for whoever is quicker: numpy compares and picks 3 to 10 times faster on the CPU."""
    return values.detach().numpy() if values.device.type == "cpu" else values


def _count(mask: Any) -> int:
    return int(np.count_nonzero(mask) if isinstance(mask, np.ndarray) else torch.count_nonzero(mask))


def _places(mask: Any) -> Any:
    return np.flatnonzero(mask) if isinstance(mask, np.ndarray) else mask.nonzero().flatten()


def _ranked(values: Any, k: int) -> float:
    """The k-th smallest (from 1). numpy's partition takes a tenth of the time of torch's kthvalue, and its sort a quarter;
    but over a pile of equal values, such as the zeros of the dead, its partition takes ten times longer than its sort.
    """
    if isinstance(values, np.ndarray):
        look = np.sort(values[:: max(1, len(values) // _LOOK)])
        piled = np.count_nonzero(look[1:] == look[:-1]) > len(look) / 10
        return float(np.sort(values)[k - 1] if piled else np.partition(values, k - 1)[k - 1])
    return float(values.kthvalue(k).values)


def _sorted(values: Any) -> Any:
    return np.sort(values) if isinstance(values, np.ndarray) else values.sort().values


def _nans(values: Any) -> int:
    # max() hands NaN on, in a tenth of the time of looking at each value
    worst = values.max() if len(values) else 0.0
    return 0 if worst == worst else _count(values != values)


def _refuse_mismatch(scores: Mapping[str, Tensor], alive: Mapping[str, Tensor]) -> None:
    if scores.keys() != alive.keys():
        unmatched = sorted(scores.keys() ^ alive.keys())
        raise ValueError(f"scores and alive must name the same tensors, but {unmatched} stand in one alone.")
    for name, score in scores.items():
        mask = alive[name]
        if mask.dtype != torch.bool:
            raise ValueError(
                f"alive['{name}'] is {mask.dtype}, but must be bool: True where a synapse lives."
            )
        if score.dtype not in _FLOATS:
            raise ValueError(f"scores['{name}'] is {score.dtype}, but scores must be floats: convert them.")
        if score.shape != mask.shape:
            raise ValueError(
                f"scores['{name}'] has shape {tuple(score.shape)}, its mask {tuple(mask.shape)}:"
                " give one score per synapse."
            )
