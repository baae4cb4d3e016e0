"""What the callbacks of all trainers share: they start a `Pruning`, bring its masks back, and end it."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from coppice.methods.synaptic_pruning import Pruning, SynapticPruning
from coppice.parts.masks import SUFFIX, Masks

PRUNED = "_pruned"  # a metric's name with this behind it: the metric, among fully pruned states only


class PruningCallback:
    """Synaptic pruning at a trainer's moments; `pruning` is at work while the trainer trains, and readable after.

    `final_sparsity`, `preset`, `quiet` and `options` are what `prune_synapses` takes. `steps`: optimizer steps
    planned in all, for a trainer that does not know; by default it is asked.
    """

    def __init__(
        self,
        final_sparsity: float | None = None,
        *,
        preset: str | None = None,
        steps: int | None = None,
        quiet: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.settings = SynapticPruning.of(final_sparsity, preset, **options)
        self.steps, self.quiet = steps, quiet
        self.pruning: Pruning | None = None
        self._arrivals: RemovableHandle | None = None

    def _expect_masks(self, model: nn.Module) -> None:
        """Trainers load a checkpoint before the optimizer is there, so before masks are attached."""
        self._forget_masks()
        self._arrivals = model._register_load_state_dict_pre_hook(_attach_arriving, with_module=True)

    def _forget_masks(self) -> None:
        if self._arrivals is not None:
            self._arrivals.remove()
        self._arrivals = None

    def _begin(self, model: nn.Module, optimizer: Optimizer, steps: int) -> Pruning:
        self._end()
        self.pruning = self.settings.attach(model, optimizer, steps)
        if not self.quiet:
            self.pruning.announce()
        return self.pruning

    def _end(self) -> None:
        """Take the hooks out; masks, zeros and what `pruning` knows stay."""
        if self.pruning is not None:
            self.pruning.remove()

    def _warn_if_early(self) -> None:
        if self.pruning is not None and not self.pruning.done:
            warnings.warn(
                f"training ended at optimizer step {self.pruning.step}, but the ramp goes to step {self.pruning.last}:"
                f" {self.pruning.sparsity:.1%} of the synapses are dead, not {self.settings.final_sparsity:.1%}. Train"
                " longer, set end lower, or let no early stop come before it.",
                stacklevel=3,
            )

    def _gate(self, name: str, metrics: Mapping[str, Any], maximize: bool) -> Any:
        """The value for `<metric>_pruned`: the metric once the ramp is over, else the worst there is; None without it."""
        value = metrics.get(name.removesuffix(PRUNED)) if name.endswith(PRUNED) else None
        if value is None or self.pruning is None or self.pruning.done:
            return value
        return value * 0 + (-math.inf if maximize else math.inf)  # a tensor where the metric is one


def _attach_arriving(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Before a state dict is loaded: give masks to the parameters whose masks it holds."""
    arriving = {name for name, _ in module.named_parameters() if f"{prefix}{name}{SUFFIX}" in state}
    if arriving:
        Masks.attach(module, where=lambda name, _: name in arriving)
