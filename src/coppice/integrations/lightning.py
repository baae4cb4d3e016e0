"""Synaptic pruning in Lightning, in one line:

Trainer(callbacks=[SynapticPruningCallback(final_sparsity=0.9)])
"""

import math
import sys
from importlib import import_module
from typing import Any

from torch import Tensor

from coppice.integrations.callback import PRUNED, PruningCallback


def _callback_class() -> Any:
    """Lightning's `Callback`, of `lightning.pytorch` or of `pytorch_lightning`: the same library under two names.

    The one already imported is taken, as each costs seconds; a Trainer of the other takes it as well.
    """
    names = ["lightning.pytorch", "pytorch_lightning"]
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return import_module(f"{name}.callbacks").Callback
        except ModuleNotFoundError:
            continue
    raise ImportError("coppice.integrations.lightning needs Lightning: pip install lightning")


Callback: Any = _callback_class()


class SynapticPruningCallback(PruningCallback, Callback):
    """Prunes the LightningModule while the Trainer fits it; takes what `prune_synapses` takes.

    Counts optimizer steps, of which `trainer.estimated_stepping_batches` says how many there will be: accumulation,
    max_steps, max_epochs and the limits of batches are counted in. Logs `sparsity` at each step. Masks and progress are
    in every checkpoint; `trainer.fit(ckpt_path=...)` goes on to the same bits, and refuses a checkpoint without masks.

    The best checkpoint is to be a fully pruned one: `ModelCheckpoint(monitor="val_loss_pruned")` sees `val_loss` once the
    ramp is over and the worst value before; any metric's name will do before `_pruned`.

    A pruned checkpoint holds the masks, so load it into a module without them by `load_from_checkpoint(strict=False)`:
    the zeros are in the weights. One optimizer; one device or DDP, not sharded parameters.
    """

    _stored: dict[str, Any] | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._stored = None
        self._expect_masks(pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._stored = state_dict  # the optimizer, whose steps it counts, comes later

    def state_dict(self) -> dict[str, Any]:
        return {} if self.pruning is None else self.pruning.state_dict()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Raises ValueError where steps are unknown, optimizers not one, or a checkpoint is without masks."""
        if len(trainer.optimizers) != 1:
            raise ValueError(
                f"{type(pl_module).__name__} trains with {len(trainer.optimizers)} optimizers, but the callback needs one"
                " whose steps it counts: call coppice.prune_synapses(part, optimizer, steps) in configure_optimizers for"
                " each part that is to be pruned."
            )
        if trainer.strategy.restore_checkpoint_after_setup:
            raise ValueError(
                f"{type(trainer.strategy).__name__} shards the parameters, but masks need them whole: use one device or"
                " DDP."
            )
        if trainer.ckpt_path and self._stored is None:
            raise ValueError(
                f"the checkpoint {trainer.ckpt_path} was written without SynapticPruningCallback, so masks and progress"
                " are missing: begin anew from its weights, model.load_state_dict(torch.load(path)['state_dict']), and fit"
                " without ckpt_path."
            )
        pruning = self._begin(pl_module, trainer.optimizers[0], self._planned(trainer))
        if self._stored is not None:
            pruning.load_state_dict(self._stored)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        assert self.pruning is not None
        events = self.pruning.events  # counting the dead anew at every step would cost
        sparsity = events[-1]["sparsity"] if events else self.pruning.sparsity
        pl_module.log("sparsity", sparsity, on_step=True, on_epoch=False)
        self._gate_monitors(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._gate_monitors(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._gate_monitors(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._warn_if_early()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._end()
        self._forget_masks()

    def _planned(self, trainer: Any) -> int:
        steps = trainer.estimated_stepping_batches if self.steps is None else self.steps
        if not 1 <= steps < math.inf:  # inf without an end, -1 with a loader of unknown length
            raise ValueError(
                f"the Trainer plans {steps} optimizer steps, with max_epochs={trainer.max_epochs} and max_steps="
                f"{trainer.max_steps}, but the ramp is a share of all steps, 1 or more: set Trainer(max_steps=...), or"
                " SynapticPruningCallback(steps=...)."
            )
        return int(steps)

    def _gate_monitors(self, trainer: Any) -> None:
        """Metrics named `<metric>_pruned`, for the checkpoint callbacks that watch one; those run after this one."""
        for keeper in trainer.checkpoint_callbacks:
            name = getattr(keeper, "monitor", None)
            if isinstance(name, str) and name.endswith(PRUNED):
                metrics: dict[str, Tensor] = trainer.callback_metrics
                value = self._gate(name, metrics, maximize=keeper.mode == "max")
                if value is not None:
                    metrics[name] = value
