"""TD-MCL, slow and literal: the equations of docs/methods/td_mcl.md in loops, numpy in float64.

Nothing is shared with the package. A kernel stands at [output, input] of one layer of local synapses.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# --- what a kernel is worth -----------------------------------------------------------------------------------


def own(batches: Iterable[tuple[Any, Any]]) -> Floats:
    """Sum over batches of |sum over taps of W dL/dW|; each batch brings W and dL/dW, [output, input, tap, tap]."""
    return sum(
        np.array(
            [
                [abs(float((np.float64(w) * np.float64(g)).sum())) for w, g in zip(ws, gs, strict=True)]
                for ws, gs in zip(weight, gradient, strict=True)
            ]
        )
        for weight, gradient in batches
    )  # type: ignore[return-value]


def lost(batches: Iterable[tuple[Any, Any, Any]], mean: Any) -> Floats:
    """The same where a dead kernel leaves its mean: W (dL/dW - E[x] dL/dI); I: the current of an output, E[x] [input, tap, tap]."""
    found: Any = 0
    for weight, gradient, current in batches:
        masses = np.zeros(np.shape(weight)[:2])
        for o, i in np.ndindex(*masses.shape):
            w, g, m = (np.float64(values) for values in (weight[o, i], gradient[o, i], mean[i]))
            masses[o, i] = abs((w * (g - m * np.float64(current[o]))).sum())
        found = found + masses
    return np.asarray(found)


def traces(spikes: Any) -> Floats:
    """x_t = x_{t-1} / 2 + share of places that spike. [step, sample, channel, ...] -> [step, sample, channel]"""
    found = np.zeros(np.shape(spikes)[:3])
    for t, b, c in np.ndindex(*found.shape):
        found[t, b, c] = (found[t - 1, b, c] / 2 if t else 0) + np.mean(spikes[t, b, c], dtype=np.float64)
    return found


def call(link: Any, source: Any, reader: Any) -> Floats:
    """Sum over readers of |V| E[trace of source, trace of reader], over steps and samples; `link` [reader, source]."""
    steps, samples, _ = source.shape
    called = np.zeros(np.shape(link)[1])
    for r, s in np.ndindex(np.shape(link)[:2]):
        together = [source[t, b, s] * reader[t, b, r] for t in range(steps) for b in range(samples)]
        called[s] += np.abs(link[r, s]).sum(dtype=np.float64) * np.mean(together)
    return called


def fb(weight: Any, rate: Any, called: Any) -> Floats:
    """|W| r_in, times what the links of readers call for."""
    found = np.zeros(np.shape(weight)[:2])
    for o, i in np.ndindex(*found.shape):
        found[o, i] = np.abs(weight[o, i]).sum(dtype=np.float64) * rate[i] * called[o]
    return found


def norm(values: Any, alive: Bools) -> Floats:
    living = [float(values[place]) for place in zip(*np.nonzero(alive), strict=True)]
    found = np.zeros(np.shape(values))
    if living and min(living) < max(living):
        for place in zip(*np.nonzero(alive), strict=True):
            found[place] = (float(values[place]) - min(living)) / (max(living) - min(living))
    return found


def worth(own_: Any, fed: Any, alive: Bools, kappa: float) -> Floats:
    """S = sqrt(norm(own)) + kappa norm(fb)."""
    return np.sqrt(norm(own_, alive)) + kappa * norm(fed, alive)


# --- who dies -------------------------------------------------------------------------------------------------


def left(
    share: float, living: int, taken: int, own_: Any, spent: float, before: float, budget: float, tasks: int
) -> tuple[int, float]:
    """How many kernels, and how much own mass, a later task may still take from a layer.

    living, before: its kernels and the own mass of its dead when the task began; taken, spent: gone since, dead now
    """
    mass = float(np.sum(own_, dtype=np.float64))
    of_this_task = min(budget / (tasks - 1) * mass, budget * mass - before)
    return max(0, math.floor(share * living) - taken), of_this_task - (spent - before)


def condemned(worths: Any, own_: Any, among: Bools, count: int, mass: float) -> Bools:
    """From the least S on, until one more would be too many or too much own mass."""
    doomed, spent = np.zeros(among.shape, bool), 0.0
    for place in sorted(zip(*np.nonzero(among), strict=True), key=lambda place: float(worths[place])):
        spent += float(own_[place])
        if doomed.sum() >= count or spent > mass:
            break
        doomed[place] = True
    return doomed


def ramp(epoch: int, step: int, steps: int, first: int, epochs: int) -> float:
    """q in a step, both counted from 0: from the epoch `first` on linearly, 1 in the last."""
    return (epoch + (step + 1) / steps - first) / (epochs - first)


def refined(masses: Any, alive: Bools, way: float, density: float) -> Bools:
    """Who is alive when `way` of the ramp is gone: 1 - (1 - way)^3 of what shall die is dead, the least masses first."""
    way = min(1.0, max(0.0, way))
    dead = round((1 - density) * (1 - (1 - way) ** 3) * alive.size)
    after = alive.copy()
    for place in sorted(zip(*np.nonzero(alive), strict=True), key=lambda place: float(masses[place])):
        if after.size - after.sum() >= dead:
            break
        after[place] = False
    return after


def survival(
    value: Any,
    worths: Any,
    epoch: int,
    epochs: int,
    onset: float = 0.3,
    slow: float = 0.25,
    rho: float = 0.5,
    bonus: float = 2.0,
) -> Floats:
    """R <- 0.999 R + D exp(-floor((epoch - first) / slow)), D = 2 S - rho, and + bonus where that is above 0."""
    found = np.zeros(np.shape(value))
    for place in np.ndindex(*found.shape):
        change = 2 * float(worths[place]) - rho
        change += bonus if change > 0 else 0
        pace = math.exp(-math.floor((epoch - math.ceil(onset * epochs)) / (slow * epochs)))
        found[place] = 0.999 * float(value[place]) + change * pace
    return found


# --- who is listened to ---------------------------------------------------------------------------------------


def pressure(counts: Sequence[float], performance: Sequence[float]) -> list[int]:
    """dp of each candidate: over the others, [rarer and better] - [more often and worse]."""
    all_ = list(zip(counts, performance, strict=True))
    return [
        sum((n < m and h > g) - (n > m and h < g) for j, (m, g) in enumerate(all_) if j != i)
        for i, (n, h) in enumerate(all_)
    ]


def softmax(values: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def probabilities(
    candidates: Sequence[int], trials: Iterable[tuple[Sequence[int], float]], gamma: float, form: str
) -> list[float]:
    """p after trials of (chosen, performance). "paper": p <- softmax(p + gamma dp); "logits": z <- z + gamma dp."""
    counts, performance = [0] * len(candidates), [-math.inf] * len(candidates)
    values = [1 / len(candidates) if form == "paper" else 0.0] * len(candidates)
    for chosen, well in trials:
        for i in map(list(candidates).index, chosen):
            performance[i] = 0.8 * performance[i] + 0.2 * well if counts[i] else well
            counts[i] += 1
        values = [v + gamma * dp for v, dp in zip(values, pressure(counts, performance), strict=True)]
        values = softmax(values) if form == "paper" else values
    return values if form == "paper" else softmax(values)
