"""Synaptic pruning in the Trainer of Hugging Face transformers, in one line:

Trainer(model, args, ..., callbacks=[SynapticPruningCallback(final_sparsity=0.9)])
"""

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from coppice.integrations.callback import PRUNED, PruningCallback

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "coppice.integrations.transformers needs the Trainer: pip install 'transformers[torch]'"
    ) from error

KEY = "synaptic_pruning"  # in the first parameter group of a stored optimizer


class SynapticPruningCallback(PruningCallback, TrainerCallback):
    """Prunes the model while the Trainer trains it; takes what `prune_synapses` takes.

    Counts optimizer steps, of which `state.max_steps` are planned, accumulation counted in. Masks are in the checkpoint's
    weights and progress in its optimizer.pt, so `trainer.train(resume_from_checkpoint=...)` goes on to the same bits; a
    checkpoint without masks is refused. Each logged loss in `state.log_history` has its `sparsity` beside it.

    The best checkpoint is to be a fully pruned one: `metric_for_best_model="eval_loss_pruned"` sees `eval_loss` once the
    ramp is over and the worst value before; any metric's name will do before `_pruned`, with `greater_is_better` set.

    GPT-2's `Conv1D` layers are not torch's own, so name them: include=(r"c_attn|c_proj|c_fc",). One device or DDP, not
    sharded parameters.
    """

    _storing: RemovableHandle | None = None

    def on_init_end(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any
    ) -> None:
        if model is not None:
            self._expect_masks(model)

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Raises ValueError where a checkpoint's masks or progress are missing, or none of the synapses are trained."""
        assert model is not None
        stored = optimizer.param_groups[0].pop(KEY, None)
        if state.global_step and stored is None:
            raise ValueError(
                f"the checkpoint of step {state.global_step} was written without SynapticPruningCallback, or without its"
                " optimizer, so masks and progress are missing: begin anew from its weights, without"
                " resume_from_checkpoint."
            )
        pruning = self._begin(model, optimizer, state.max_steps if self.steps is None else self.steps)
        if stored is not None:
            try:
                pruning.load_state_dict(stored)
            except ValueError as error:
                error.add_note(
                    "The Trainer loads masks into a model it was given as model=, not as model_init=, with the callback"
                    " among its callbacks=, not added later."
                )
                raise
        self._storing = pruning.optimizer.register_state_dict_post_hook(self._store)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        name = args.metric_for_best_model or ""
        if metrics is not None and name.endswith(PRUNED):
            name = name if name.startswith("eval_") else f"eval_{name}"
            value = self._gate(name, metrics, maximize=bool(args.greater_is_better))
            if value is not None:
                metrics[name] = value

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.pruning is not None and "loss" in state.log_history[-1]:
            state.log_history[-1]["sparsity"] = self.pruning.sparsity

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._warn_if_early()
        self._end()

    def _end(self) -> None:
        super()._end()
        if self._storing is not None:
            self._storing.remove()
        self._storing = None

    def _store(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
        """Into a group, as torch brings groups back with whatever they hold, and nothing else."""
        assert self.pruning is not None
        state_dict["param_groups"][0][KEY] = self.pruning.state_dict()
