"""What zeros are worth here: bytes on disk, and products timed dense, as CSR and after removal."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    Saved = dict[str, Any]  # {"plan", "weights", "notes"}

BATCHES = (1, 64)
MATRICES = 8  # the largest are timed
SECONDS = 0.01  # for each product in each round
WHERE_IT_PAYS = (
    "Where each pays: scattered zeros make the file smaller at once, and a product faster only as CSR, from about"
    " 90 % sparsity and in big matrices; removing neurons makes file and products smaller always. (Tiny networks wait"
    " for torch, not for products.)"
)
HOW_CSR_IS_TIMED = (
    "torch has no sparse kernels inside LSTM and attention: CSR is timed for each matrix's product alone, float32, its"
    " input laid out as suits it; no network here runs on it."
)


def print_sizes(before: "nn.Module", after: "nn.Module", example: "Tensor | None") -> None:
    """Parameters, bytes (without notes) and latencies of the network as it was and as it is."""
    import torch

    from coppice.cli import terminal
    from coppice.cli.timing import latencies
    from coppice.parts.blueprint import describe
    from coppice.parts.surgery import count_parameters

    times: list[list[str]] = [["unknown input"] * len(BATCHES)] * 2
    if example is not None:
        columns = [latencies((before, after), example.repeat(n, *[1] * (example.ndim - 1))) for n in BATCHES]
        times = [[f"{t * 1e6:,.0f}" for t in row] for row in zip(*columns, strict=True)]
    lines = []
    for name, network, row in (("before", before, times[0]), ("after removal", after, times[1])):
        stored = {"plan": describe(network), "weights": network.state_dict(), "notes": {}}
        sizes = _sizes(stored)
        masked = sizes["bitmask + values"]
        lines.append(
            [
                name,
                f"{count_parameters(network):,}",
                f"{sum(int(torch.count_nonzero(p)) for p in network.parameters()):,}",
                f"{sizes['dense']:,}",
                f"{sizes['dense, gzip']:,}",
                "no masks" if masked is None else f"{masked:,}",
                *row,
            ]
        )
    header = ["", "parameters", "not zero", "bytes, dense", "dense, gzip", "bitmask + values"]
    terminal.print_table("", [*header, *(f"µs, batch {n}" for n in BATCHES)], lines)


def print_weights(stored: "Saved") -> None:
    """Of weights whose model nobody can build here: bytes and products."""
    from coppice.cli import terminal

    sizes = {name: size for name, size in _sizes({**stored, "notes": {}}).items() if size is not None}
    terminal.print_table("", ["", *sizes], [["bytes", *(f"{size:,}" for size in sizes.values())]])
    print_products(stored["weights"], {})
    print(
        "nothing removed, nothing written: the file does not say how to build its model. Build it as usual and call"
        " load_model(path, into=model), compact(model) and save_model(model, path)."
    )


def _sizes(stored: "Saved") -> dict[str, int | None]:
    """Bytes of the file with whole tensors and no masks, of the same through gzip, and as coppice saves masked weights."""
    import gzip
    import tempfile

    from coppice.parts import storage
    from coppice.parts.packing import pack, without_masks

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        storage.write(file, {**stored, "weights": without_masks(stored["weights"])})
        dense = file.read_bytes()
        storage.write(file, {**stored, **pack(stored["weights"])})
        masked = len(without_masks(stored["weights"])) < len(stored["weights"])
        return {
            "dense": len(dense),
            "dense, gzip": len(gzip.compress(dense)),
            "bitmask + values": file.stat().st_size if masked else None,
        }


def print_products(before: dict[str, Any], after: dict[str, Any]) -> None:
    """The product of each weight matrix that has zeros: dense, as CSR, and with what is left of it after removal."""
    import torch

    from coppice.cli import terminal

    matrices = {
        name: value
        for name, value in before.items()
        if value.ndim == 2 and value.is_floating_point() and (value == 0).any()
    }
    if not matrices:
        print("no matrix has zeros, so there is nothing that CSR could leave out.")
        return
    largest = sorted(matrices, key=lambda name: -matrices[name].numel())[:MATRICES]
    smaller = {
        name: after[name] for name in largest if name in after and after[name].shape != before[name].shape
    }
    lines = []
    for name in (name for name in matrices if name in largest):
        weight = matrices[name]
        dead = 1 - int(torch.count_nonzero(weight)) / weight.numel()
        times = [_product_times(weight, smaller.get(name), batch) for batch in BATCHES]
        shown = [time for row in times for time in row[: 3 if smaller else 2]]
        lines.append([name, " x ".join(map(str, weight.shape)), f"{dead:.1%}", *shown])
    kinds = ("dense", "CSR", *(["removed"] if smaller else []))
    header = [f"{kind}, {batch}" for batch in BATCHES for kind in kinds]
    terminal.print_table("product with a batch of 1 and of 64, µs", ["", "shape", "zeros", *header], lines)
    if len(matrices) > len(largest):
        print(f"and {len(matrices) - len(largest)} smaller matrices")
    print(f"{HOW_CSR_IS_TIMED}\n{WHERE_IT_PAYS}")


def _product_times(weight: "Tensor", smaller: "Tensor | None", batch: int) -> list[str]:
    """Microseconds dense, as CSR and removed; "-" where nothing was removed."""
    import torch
    from torch import nn

    from coppice.cli.timing import latencies
    from coppice.parts.cost import SparseProduct

    def dense(matrix: "Tensor") -> nn.Module:
        layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
        layer.weight = nn.Parameter(matrix.detach().float(), requires_grad=False)
        return layer

    x = torch.randn(batch, weight.shape[1])
    turned = x[0] if batch == 1 else x.T.contiguous()
    models, examples = [dense(weight), SparseProduct(weight)], [x, turned]
    if smaller is not None:
        models.append(dense(smaller))
        examples.append(x[:, : smaller.shape[1]].contiguous())
    times = [f"{time * 1e6:,.1f}" for time in latencies(models, examples, SECONDS)]
    return times if smaller is not None else [*times, "-"]
