"""What some scores need to have seen while the network trained. Everything seen can be stored and brought back."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

DECAY = 0.99  # of running means, per forward pass or step: remembers about a hundred


class Evidence:
    """Gathers one tensor for each synapse tensor; `seen` is all it remembers. This one, for scores that look at the
    weights alone, gathers nothing.
    """

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        self.seen: dict[str, Tensor] = {}

    def before_step(self, parameters: Mapping[str, nn.Parameter], scale: float = 1.0) -> None:
        """The gradients are whole, `scale` times too large, and the step is not yet done."""

    def remove(self) -> None:
        """Take the hooks out."""


class Activity(Evidence):
    """Mean |input| of each source, [source], a running mean over the forward passes of training.

    Of a recurrent layer the inputs are the module's input (first layer) or the final hidden state of the layer
    below, and its own; torch shows no other. Of packed attention the query stands for all three, and for what the output
    projection hears.
    """

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__(model, names)
        wanted, self._hooks = set(names), list[Any]()
        for prefix, module in model.named_modules():
            # out_proj of attention is used without being called: its module's hook sees for it
            leaves = {
                f"{prefix}.{leaf}".lstrip("."): leaf
                for leaf, _ in module.named_parameters(recurse=isinstance(module, nn.MultiheadAttention))
            }
            mine = {name: leaf for name, leaf in leaves.items() if name in wanted}
            if mine and not prefix.endswith("out_proj"):
                hook = partial(self._on_forward, mine)
                self._hooks.append(module.register_forward_hook(hook, with_kwargs=True))

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def _on_forward(
        self,
        names: dict[str, str],
        module: nn.Module,
        inputs: tuple[Any, ...],
        named: dict[str, Any],
        output: Any,
    ) -> None:
        if not module.training:
            return
        inputs = (*inputs, *named.values())
        for name, leaf in names.items():
            weight = module.get_parameter(leaf)
            source = _source(module, leaf, inputs, output)
            axis = 1 if isinstance(module, nn.modules.conv._ConvNd) and source.dim() == weight.dim() else -1
            sources = weight.shape[1]
            mean = source.detach().float().abs().movedim(axis, -1).flatten(0, -2).mean(0)
            if mean.numel() != sources:  # grouped convolutions: each weight hears the channels of its group
                mean = mean.reshape(-1, sources).mean(0)
            before = self.seen.get(name)
            self.seen[name] = mean if before is None else before.mul(DECAY).add_(mean, alpha=1 - DECAY)


class Taylor(Evidence):
    """Running mean of |w g|: how much the loss would change without the synapse, to first order.   Molchanov et al. 2017"""

    @torch.no_grad()
    def before_step(self, parameters: Mapping[str, nn.Parameter], scale: float = 1.0) -> None:
        for name, weight, gradient in _trained(parameters):
            mean = self.seen.setdefault(name, torch.zeros_like(weight))
            mean.mul_(DECAY).add_((weight * gradient).abs(), alpha=(1 - DECAY) / scale)


class Movement(Evidence):
    """-sum w g over the steps: synapses that training drives away from zero gain.   Sanh et al. 2020, Eq. 3."""

    @torch.no_grad()
    def before_step(self, parameters: Mapping[str, nn.Parameter], scale: float = 1.0) -> None:
        for name, weight, gradient in _trained(parameters):
            self.seen.setdefault(name, torch.zeros_like(weight)).addcmul_(weight, gradient, value=-1 / scale)


GATHERERS: dict[str, type[Evidence]] = {
    "activity": Activity,
    "taylor": Taylor,
    "movement": Movement,
}


def _trained(parameters: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, Tensor, Tensor]]:
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            yield name, parameter.detach(), parameter.grad


def _source(module: nn.Module, leaf: str, inputs: tuple[Any, ...], output: Any) -> Tensor:
    """What the synapses of this weight listen to, sources along the last axis (the second of a convolution)."""
    first = inputs[1 if leaf == "k_proj_weight" else 2 if leaf == "v_proj_weight" else 0]
    if isinstance(module, nn.RNNCellBase) and leaf == "weight_hh":
        return output[0] if isinstance(output, tuple) else output
    if not isinstance(module, nn.RNNBase) or leaf.startswith("weight_ih_l0"):
        return first.data  # also of a packed sequence
    state = output[1][0] if isinstance(output[1], tuple) else output[1]  # [layer * direction, (batch,) unit]
    ways = 2 if module.bidirectional else 1
    layer = int(leaf.split("_l")[1].split("_")[0])
    if leaf.startswith("weight_hh"):
        return state[layer * ways + leaf.endswith("_reverse")]
    if leaf.startswith("weight_hr"):  # a projection hears the cell's own output, which torch does not show
        return torch.ones(1, module.hidden_size, device=state.device)
    return torch.cat(list(state[(layer - 1) * ways : layer * ways]), -1)
