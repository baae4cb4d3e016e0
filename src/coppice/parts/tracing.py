"""Reading a model's forward pass as a graph, and who owns which tensor."""

from collections import Counter

from torch import fx, nn

from coppice.parts.layers import ShrunkAttention, ShrunkLayerNorm


class Tracer(fx.Tracer):
    """torch.fx's, which takes our layers for single steps as it does torch's own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (ShrunkLayerNorm, ShrunkAttention)) or super().is_leaf_module(
            m, module_qualified_name
        )


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside torch.compile's wrapper; other wrappers are refused, for they hold on to the old tensors."""
    inner = getattr(model, "_orig_mod", model)
    inner = inner if isinstance(inner, nn.Module) else model
    if isinstance(inner, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise ValueError(
            f"{type(inner).__name__} holds the old tensors: cut `model.module`, then wrap it again."
        )
    return inner


def uses(graph: fx.Graph) -> Counter[str]:
    """How often each module is called, or a tensor of it taken past its own forward."""
    return Counter(_used_module(node) for node in graph.nodes)


def tied_modules(model: nn.Module) -> set[str]:
    """Names of the modules that share a parameter with another."""
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _used_module(node: fx.Node) -> str:
    """The module that a step calls, or whose tensor it takes past the module's own forward; "" for neither."""
    if node.op == "call_module":
        return str(node.target)
    return str(node.target).rpartition(".")[0] if node.op == "get_attr" else ""
