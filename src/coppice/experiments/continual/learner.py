"""What every continual learner of a comparison can do, and its capacity, as WSN counts it."""

import heapq
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from coppice.data.tasks import TaskData

SYMBOL = 7  # tasks whose mask bits for one synapse form one symbol to be coded
FORMULA = (
    "capacity = (living synapses in use by any task + B / 32) / synapses of the dense network; heads not counted on either"
    f" side; B: bits of the tasks' binary masks, {SYMBOL} tasks a symbol, Huffman-coded layer by layer (of TD-MCL: one mask of its"
    " kernels, for all tasks); 0 without masks"
)


class ContinualLearner(Protocol):
    """Learns one task after another, and is asked for any of them by number, in order of learning, from 0."""

    def learn(self, task: TaskData) -> None:
        """The next task; its test samples are not touched."""

    def logits(self, x: Tensor, task: int) -> Tensor:
        """[n, classes] of samples [n, *shape] of a learned task, in evaluation mode."""

    def synapses(self) -> int:
        """Living synapses in all: weights that connect, so no biases and no norms."""

    def capacity(self) -> float:
        """See FORMULA."""

    def stored(self) -> dict[str, int]:
        """Bytes that it keeps to learn on, besides the network, by what they are."""


def capacity(in_use: int, dense: int, mask_bits: int = 0) -> float:
    """Share of the dense network that the learned tasks need; see FORMULA. Above 1 where learners grow.

    Kang et al. 2022 (WSN): (1 - S) + (1 - a) T / 32, S the sparsity over all T tasks and a the rate by which masks were
    compressed. Here the bits are counted, not their rate. Raises ValueError below 0, and for a dense network of none.
    """
    if dense < 1 or in_use < 0 or mask_bits < 0:
        raise ValueError(
            f"in_use is {in_use}, dense {dense}, mask_bits {mask_bits}, but capacity is a share of 1 synapse or more, and"
            " counts are 0 or more."
        )
    return (in_use + mask_bits / 32) / dense


def mask_bits(masks: Sequence[Sequence[Tensor]]) -> int:
    """Bits of the masks of tasks, [task][layer] bool, coded as in FORMULA; the codes themselves come free, as in WSN."""
    bits = 0
    for first in range(0, len(masks), SYMBOL):
        for layer in zip(*masks[first : first + SYMBOL], strict=True):
            symbols = torch.zeros(layer[0].shape, dtype=torch.int64)
            for place, mask in enumerate(layer):
                symbols += mask.cpu().to(torch.int64) << place
            bits += huffman_bits(symbols.unique(return_counts=True)[1].tolist())
    return bits


def huffman_bits(counts: Sequence[int]) -> int:
    """Length of a message in which the symbols occur so often, in a Huffman code; a bit each where all are the same.

    Each merger of the two rarest puts one bit before all that they stand for.   Huffman 1952
    """
    if len(counts) == 1:
        return counts[0]
    heap, bits = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        bits += merged
        heapq.heappush(heap, merged)
    return bits
