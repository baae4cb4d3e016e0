"""Wire: which earlier modules each block of a new one listens to, in the end."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from coppice.methods.td_mcl_network import Links, Network, loss_of
from coppice.methods.td_mcl_options import TDMCL
from coppice.parts.wiring import FORMS, Wiring


class Evolution:
    """Long-range links while it is open which of them stay. Judged by held-out training samples.

    wirings: of each block, where a wiring is drawn for each mini-batch
    rises:   block -> earlier module -> rise of the held-out loss without that link, once "overgrow" has chosen
    """

    def __init__(self, method: TDMCL, candidates: Mapping[int, list[int]]) -> None:
        self.method = method
        self.candidates = {block: list(sources) for block, sources in candidates.items()}
        self.rises: dict[int, dict[int, float]] = {}
        self.wirings: dict[int, Wiring] = {}
        if method.evolution in FORMS:
            self.wirings = {
                block: Wiring(sources, method.links, method.gamma, method.evolution)
                for block, sources in self.candidates.items()
            }

    def at_birth(self, generator: torch.Generator) -> Links | None:
        """The links to begin with, if not all."""
        if self.method.evolution == "none":
            return {}
        if self.method.evolution != "random":
            return None
        orders = {
            block: torch.randperm(len(sources), generator=generator).tolist()
            for block, sources in self.candidates.items()
        }
        return {
            block: sorted(self.candidates[block][i] for i in order[: self.method.links])
            for block, order in orders.items()
        }

    def draw(self, generator: torch.Generator) -> dict[int, list[int]] | None:
        """Links for one mini-batch, drawn from the probabilities; None: all that there are."""
        if not self.wirings:
            return None
        return {block: wiring.sample(generator) for block, wiring in self.wirings.items()}

    def record(self, drawn: Mapping[int, list[int]], loss: float) -> None:
        """Such was the held-out loss with the drawn links: the probabilities evolve."""
        for block, sources in drawn.items():
            self.wirings[block].record(sources, -loss)

    def choose(self, network: Network, task: int, x: Tensor, y: Tensor, batch: int) -> Links | None:
        """The links to keep from now on, at the end of the search; None: no change."""
        if self.wirings:
            return {block: wiring.top() for block, wiring in self.wirings.items()}
        if self.method.evolution != "overgrow":
            return None
        whole = loss_of(network, task, x, y, batch)
        for block, sources in self.candidates.items():
            self.rises[block] = {}
            for left_out in sources:
                others = {
                    **self.candidates,
                    block: [earlier for earlier in sources if earlier != left_out],
                }
                self.rises[block][left_out] = loss_of(network, task, x, y, batch, others) - whole
        return {
            block: sorted(sorted(rises, key=rises.__getitem__, reverse=True)[: self.method.links])
            for block, rises in self.rises.items()
        }

    def probabilities(self) -> dict[str, dict[str, float]]:
        return {
            str(block): dict(zip(map(str, wiring.candidates), wiring.probabilities.tolist(), strict=True))
            for block, wiring in self.wirings.items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "candidates": [[block, list(sources)] for block, sources in self.candidates.items()],
            "rises": [[block, [list(rise) for rise in rises.items()]] for block, rises in self.rises.items()],
            "wirings": {str(block): wiring.state_dict() for block, wiring in self.wirings.items()},
        }

    @classmethod
    def resumed(cls, method: TDMCL, state: Mapping[str, Any]) -> "Evolution":
        """As it was when this was its `state_dict`."""
        evolution = cls(method, dict(state["candidates"]))
        evolution.rises = {block: dict(rises) for block, rises in state["rises"]}
        for block, wiring in evolution.wirings.items():
            wiring.load_state_dict(state["wirings"][str(block)])
        return evolution
