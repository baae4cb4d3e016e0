"""The heads of nn.MultiheadAttention.

Head h owns rows h * head_dim ... of the query, key and value projections, which stand one below the other in
in_proj_weight, and the same columns of out_proj (torch.nn.functional.multi_head_attention_forward).
"""

from dataclasses import dataclass
from typing import cast

from torch import nn

from coppice.parts import chains
from coppice.parts.layers import ShrunkAttention
from coppice.parts.pieces import Piece, Units, within
from coppice.parts.tracing import tied_modules


@dataclass(frozen=True)
class AttentionHeads(Units):
    """The heads of one attention layer, as its name within the model."""

    module: str

    @property
    def name(self) -> str:
        return self.module

    def width(self, model: nn.Module) -> int:
        return self._attention(model).num_heads

    def inward(self, model: nn.Module) -> list[Piece]:
        return [Piece(within(self.module, "in_proj_weight"), 0, (0, 1, 2), self._attention(model).head_dim)]

    def outward(self, model: nn.Module) -> list[Piece]:
        return [Piece(within(self.module, "out_proj.weight"), 1, span=self._attention(model).head_dim)]

    def entries(self, model: nn.Module) -> list[Piece]:
        attention = self._attention(model)
        found = [Piece(within(self.module, "heads"), 0)] if isinstance(attention, ShrunkAttention) else []
        if attention.in_proj_bias is not None:
            found.append(Piece(within(self.module, "in_proj_bias"), 0, (0, 1, 2), attention.head_dim))
        return found

    def prepare_cut(self, model: nn.Module) -> None:
        shrink(model, self.module)

    def check(self, model: nn.Module) -> None:
        modules = dict(model.named_modules())
        if self.module not in modules:
            raise ValueError(f"{self} names '{self.module}', which the model does not have.")
        if reason := obstacle(modules[self.module], self.module, tied_modules(model)):
            raise ValueError(f"'{self.module}' cannot be cut: {reason}.")

    def _attention(self, model: nn.Module) -> nn.MultiheadAttention:
        return cast(nn.MultiheadAttention, model.get_submodule(self.module))


def obstacle(module: nn.Module, name: str, tied: set[str]) -> str:
    """Why heads cannot be cut out of this module; "" when they can."""
    if type(module) not in (nn.MultiheadAttention, ShrunkAttention):
        return f"it is a {type(module).__name__}, not an nn.MultiheadAttention"
    module = cast(nn.MultiheadAttention, module)
    if module.q_proj_weight is not None:
        return f"its kdim {module.kdim} or vdim {module.vdim} is not its embed_dim {module.embed_dim}"
    if module.bias_k is not None or module.add_zero_attn:
        return "it was made with add_bias_kv or add_zero_attn"
    if module._parameters.get("in_proj_weight") is None:
        return "its weight is computed from other tensors"
    if name in tied or within(name, "out_proj") in tied:
        return "it is tied to another layer"
    return chains.obstacle(module.out_proj)


def shrink(model: nn.Module, name: str) -> None:
    """Make one attention layer of the model ready to lose heads."""
    ShrunkAttention.convert(cast(nn.MultiheadAttention, model.get_submodule(name)))
    for encoder in _encoders_around(model, name):
        # in evaluation it may hand nested tensors to its layers, which only torch's fused layer understands
        encoder.__dict__.setdefault("_nested_before_cut", encoder.use_nested_tensor)
        encoder.use_nested_tensor = False


def unshrink(model: nn.Module, name: str) -> None:
    """Undo of `shrink`; the tensors must be given their full size."""
    cast(ShrunkAttention, model.get_submodule(name)).revert()
    for encoder in _encoders_around(model, name):
        if not any(isinstance(module, ShrunkAttention) for module in encoder.modules()):
            encoder.use_nested_tensor = encoder.__dict__.pop("_nested_before_cut")


def _encoders_around(model: nn.Module, name: str) -> list[nn.TransformerEncoder]:
    names = name.split(".")
    around = [model.get_submodule(".".join(names[:depth])) for depth in range(len(names))]
    return [module for module in around if isinstance(module, nn.TransformerEncoder)]
