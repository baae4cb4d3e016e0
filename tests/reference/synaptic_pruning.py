"""Slow literal twin of synaptic pruning: numpy, loops, float64, plain gradient descent on a network of two layers."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def target(
    step: int, steps: int, initial: float, final: float, start: float, end: float, rising: bool
) -> float:
    """Dead share asked for after so many steps: Vos et al. 2025 (rising), Zhu & Gupta 2017, Eq. 1 (not rising)."""
    first = max(1, round(start * steps))
    last = max(first, round(end * steps))
    if step < first:
        return 0.0
    p = 1.0 if step >= last else (step - first) / (last - first)
    if rising:
        return initial + (final - initial) * p**3
    return final + (initial - final) * (1 - p) ** 3


def events(steps: int, start: float, end: float, every: int) -> list[int]:
    first = max(1, round(start * steps))
    last = max(first, round(end * steps))
    return sorted({*range(first, last, every), last})


def prune(weights: list[Array], alive: list[NDArray[np.bool_]], share: float) -> None:
    """One event: the weakest of the living, one after another, until enough are dead; a layer keeps its last."""
    size = sum(w.size for w in weights)
    while sum(int((~m).sum()) for m in alive) < round(share * size):
        weakest = (math.inf, 0, 0)
        for layer, w in enumerate(weights):
            if alive[layer].sum() == 1:
                continue
            for place in range(w.size):
                if alive[layer].flat[place] and abs(w.flat[place]) < weakest[0]:
                    weakest = (abs(w.flat[place]), layer, place)
        _, layer, place = weakest
        alive[layer].flat[place] = False
        weights[layer].flat[place] = 0.0


def train(
    w1: Array,
    w2: Array,
    x: Array,
    y: Array,
    rate: float,
    steps: int,
    every: int,
    initial: float,
    final: float,
    start: float,
    end: float,
    rising: bool,
) -> list[list[NDArray[np.bool_]]]:
    """Gradient descent on mean (W2 tanh(W1 x) - y)^2 with pruning; masks after every step; the weights in place."""
    alive = [np.ones_like(w1, dtype=bool), np.ones_like(w2, dtype=bool)]
    history = []
    for step in range(1, steps + 1):
        g1, g2 = np.zeros_like(w1), np.zeros_like(w2)
        for sample, wanted in zip(x, y, strict=True):
            hidden = np.tanh(w1 @ sample)
            error = 2 * (w2 @ hidden - wanted) / y.size
            g2 += np.outer(error, hidden)
            g1 += np.outer((w2.T @ error) * (1 - hidden**2), sample)
        for w, g, m in ((w1, g1, alive[0]), (w2, g2, alive[1])):
            w -= rate * g
            w[~m] = 0.0
        if step in events(steps, start, end, every):
            prune([w1, w2], alive, target(step, steps, initial, final, start, end, rising))
        history.append([m.copy() for m in alive])
    return history


def lamp(weight: list[float]) -> list[float]:
    """w^2 over the sum of all squares that are as large or larger, the earlier of equals counting the later in."""
    order = sorted(range(len(weight)), key=lambda i: (weight[i] ** 2, i))
    scores = [0.0] * len(weight)
    for rank, place in enumerate(order):
        scores[place] = weight[place] ** 2 / sum(weight[i] ** 2 for i in order[rank:])
    return scores
