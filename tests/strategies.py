"""Networks to take apart: small random plain ones, as plans for any widths, and any forward pass one writes."""

from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import nn

from coppice.parts.neurons import Population

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "sigmoid": nn.Sigmoid}
SHAPES = {"mlp": (5,), "conv1d": (2, 8), "conv2d": (2, 6, 6)}


class Net(nn.Module):
    """Layers by name, and a forward pass given as a function."""

    def __init__(self, forward, **layers: nn.Module):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._go = forward

    def forward(self, x):
        return self._go(self, x)


@dataclass(frozen=True)
class Plan:
    """widths: of each hidden layer; the first `convolutions` of them are channels."""

    kind: str
    widths: tuple[int, ...]
    convolutions: int
    activation: str
    norm: str
    norm_first: bool
    dropout: bool
    pool: str
    bias: bool
    nested: bool
    seed: int

    def build(self) -> nn.Sequential:
        torch.manual_seed(self.seed)
        layers: list[nn.Module] = []
        shape = SHAPES[self.kind]
        for width in self.widths[: self.convolutions]:
            conv = nn.Conv1d if self.kind == "conv1d" else nn.Conv2d
            norm = nn.BatchNorm1d if self.kind == "conv1d" else nn.BatchNorm2d
            stage: list[nn.Module] = [conv(shape[0], width, 3, padding=1, bias=self.bias)]
            stage += self._after(norm(width) if self.norm == "batch" else None)
            shape = (width, *shape[1:])
            if self.pool != "none" and shape[1] > 2:
                dims = len(shape) - 1
                stage.append(getattr(nn, f"{self.pool}Pool{dims}d")(2))
                halved = (2,) * dims if self.pool.startswith("Adaptive") else tuple(s // 2 for s in shape[1:])
                shape = (width, *halved)
            layers += [nn.Sequential(*stage)] if self.nested else stage
        layers.append(nn.Flatten())
        values = torch.Size(shape).numel()
        for width in self.widths[self.convolutions :]:
            norms = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
            layers.append(nn.Linear(values, width, bias=self.bias))
            layers += self._after(norms[self.norm](width) if self.norm != "none" else None)
            values = width
        return scramble(nn.Sequential(*layers, nn.Linear(values, 3)))

    def _after(self, norm: nn.Module | None) -> list[nn.Module]:
        activation = ACTIVATIONS[self.activation]()
        both = [] if norm is None else [norm]
        both = [*both, activation] if self.norm_first else [activation, *both]
        return [*both, nn.Dropout(0.3)] if self.dropout else both

    def batch(self, size: int = 4) -> torch.Tensor:
        return torch.randn(size, *SHAPES[self.kind], generator=torch.Generator().manual_seed(self.seed))

    def shrunken(self, removed: list[int]) -> "Plan":
        return replace(self, widths=tuple(w - r for w, r in zip(self.widths, removed, strict=True)))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    kind = draw(st.sampled_from(sorted(SHAPES)))
    convolutions = 0 if kind == "mlp" else draw(st.integers(1, 2))
    dense = draw(st.integers(1 if kind == "mlp" else 0, 2))
    widths = draw(st.lists(st.integers(2, 6), min_size=convolutions + dense, max_size=convolutions + dense))
    norm = draw(st.sampled_from(["none", "batch", "layer"]))
    norm_first = draw(st.booleans())
    # after a sigmoid, a dead neuron is not silent, so that no LayerNorm may follow
    names = ["relu", "tanh", "gelu"] if norm == "layer" and not norm_first else sorted(ACTIVATIONS)
    return Plan(
        kind=kind,
        widths=tuple(widths),
        convolutions=convolutions,
        activation=draw(st.sampled_from(names)),
        norm=norm,
        norm_first=norm_first,
        dropout=draw(st.booleans()),
        pool=draw(st.sampled_from(["none", "Max", "Avg", "AdaptiveAvg", "AdaptiveMax"])),
        bias=draw(st.booleans()),
        nested=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


@st.composite
def doomed(draw: st.DrawFn) -> tuple[Plan, list[list[int]]]:
    """A plan, and for each of its hidden layers the neurons to kill: none, some, never all."""
    plan = draw(plans())
    fallen = [
        draw(st.lists(st.integers(0, w - 1), unique=True, max_size=w - 1).map(sorted)) for w in plan.widths
    ]
    return plan, fallen


def scramble(model: nn.Module) -> nn.Module:
    """Norms away from the identity, so that a wrong entry shows."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


@torch.no_grad()
def kill(model: nn.Module, population: Population, dead: list[int], *, wholly: bool) -> None:
    """Zero the outgoing column; `wholly`: the incoming row, bias and norm entries too."""
    outgoing = model.get_submodule(population.outgoing)
    for neuron in dead:
        for place in range(population.spread):
            outgoing.weight[:, neuron * population.spread + place] = 0
    if wholly:
        for name in (population.incoming, *population.norms):
            for parameter in model.get_submodule(name).parameters(recurse=False):
                parameter[dead] = 0
