"""BDNN-sp as published, slow and literal: Zhao et al. 2017, Algorithm 1 and Eq. 1-7, numpy in float64.

Three layers of sigmoids. Nothing is shared with the package. What the paper leaves open is an argument.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Net:
    """w1 [input, hidden], w2 [hidden, output]: first index sends, as in the paper."""

    w1: Floats
    b1: Floats
    w2: Floats
    b2: Floats
    names: list[int]  # what the remaining neurons were called at the beginning


@dataclass
class Row:
    """What was found at one size."""

    names: list[int]
    a: float
    s: float | None = None
    e: float = 0.0
    f: float | None = None
    net: Net = field(repr=False, default=None)  # type: ignore[assignment]


def sigmoid(z: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-z))


def output(net: Net, x: Floats) -> tuple[Floats, Floats]:
    h = sigmoid(x @ net.w1 + net.b1)
    return h, sigmoid(h @ net.w2 + net.b2)


def learn(net: Net, x: Floats, y: NDArray[np.int64], rate: float) -> None:
    """Step 3. One sample: d(1/2 sum_k (o_k - t_k)^2)/dw, and w <- w - rate dw at once."""
    h, o = output(net, x)
    t = np.zeros_like(o)
    t[y] = 1.0
    delta_k = np.array([(o[k] - t[k]) * o[k] * (1 - o[k]) for k in range(len(o))])
    delta_j = np.array(
        [sum(delta_k[k] * net.w2[j, k] for k in range(len(o))) * h[j] * (1 - h[j]) for j in range(len(h))]
    )
    for j in range(len(h)):
        net.w2[j] -= rate * h[j] * delta_k
        net.w1[:, j] -= rate * x * delta_j[j]
    net.b2 -= rate * delta_k
    net.b1 -= rate * delta_j


def importance(net: Net) -> list[float]:
    """Eq. 1."""
    return [
        sum(abs(w) for w in net.w1[:, j]) + sum(abs(w) for w in net.w2[j]) for j in range(net.w1.shape[1])
    ]


def prune(net: Net, share: float, least: int) -> Net:
    """Steps 1 and 2: the k least important go, the first of equals first."""
    values = importance(net)
    order = sorted(range(len(values)), key=lambda j: values[j])
    k = min(max(1, round(share * len(values))), len(values) - least)
    kept = sorted(order[k:])
    names = [net.names[j] for j in kept]
    return Net(net.w1[:, kept].copy(), net.b1[kept].copy(), net.w2[kept].copy(), net.b2.copy(), names)


def accuracy(net: Net, x: Floats, y: NDArray[np.int64]) -> float:
    """Eq. 2."""
    right = sum(int(np.argmax(output(net, sample)[1]) == label) for sample, label in zip(x, y, strict=True))
    return right / len(y)


def stability(before: Net, after: Net) -> float:
    """Eq. 3-5. A p of 0 contributes 0; where nothing moved S is 0."""
    terms = []
    for w_p, w_r in ((before.w1, after.w1), (before.w2, after.w2)):
        for p in np.abs(w_r - w_p).ravel():
            terms.append(-p * math.log2(p) if p > 0 else 0.0)
    largest = max(abs(t) for t in terms)
    return math.fsum(terms) / (largest * len(terms)) if largest > 0 else 0.0


def mean_weight(net: Net) -> float:
    """Eq. 6 for every pair of a hidden neuron j and an output k, and the mean of these."""
    n, m = net.w1.shape
    pairs = [
        (np.abs(net.w1[:, j]).sum() + np.abs(net.w2[:, k]).sum()) / (n + m)
        for j in range(m)
        for k in range(net.w2.shape[1])
    ]
    return math.fsum(pairs) / len(pairs)


def run(
    net: Net,
    train: tuple[Floats, NDArray[np.int64]],
    validation: tuple[Floats, NDArray[np.int64]],
    *,
    rate: float = 1.0,
    share: float = 0.12,
    least: int = 4,
) -> list[Row]:
    """Algorithm 1 from a fresh net: one epoch, then cut, retrain one epoch and judge until `least` are left."""
    for x, y in zip(*train, strict=True):
        learn(net, x, y, rate)
    path = [Row(net.names, accuracy(net, *validation), e=mean_weight(net), net=net)]
    while len(net.names) > least:
        pruned = prune(net, share, least)
        net = Net(pruned.w1.copy(), pruned.b1.copy(), pruned.w2.copy(), pruned.b2.copy(), pruned.names)
        for x, y in zip(*train, strict=True):
            learn(net, x, y, rate)
        a, s, e = accuracy(net, *validation), stability(pruned, net), mean_weight(net)
        path.append(Row(net.names, a, s, e, (a + s + e) / 3, net))  # Eq. 7
    return path


def peak(path: list[Row], floor: int = 20, alive: float = 0.8) -> int:
    """Step 5, as the preset reads it: greatest F of the whole path, without the dead and the tiny."""
    best, chosen = max(row.a for row in path), None
    for i, row in enumerate(path):
        if row.f is None or len(row.names) < floor or row.a < alive * best:
            continue
        if chosen is None or row.f > path[chosen].f:  # type: ignore[operator]
            chosen = i
    assert chosen is not None, "the made-up problem should have a living network above the floor"
    return chosen
