"""coppice compact"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from torch import Tensor, nn


def compact(
    checkpoint: Annotated[
        Path, typer.Argument(help="A saved model (.safetensors), or the folder of a finished run.")
    ],
    parameters: Annotated[
        int | None,
        typer.Option(min=1, help="Of a run: take the largest network of its path within so many parameters."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="NAME.compact.safetensors beside it")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Cut the dead neurons out of a saved model, or take another size from a run's path.

    A neuron is dead when all its outgoing synapses are zero. The outputs stay the same. Says what the zeros are worth
    here: bytes as dense tensors, as bitmask and values and after removal; latency dense, as CSR and removed.
    """
    if checkpoint.is_dir():
        source = checkpoint / "model.safetensors"
    else:
        source = checkpoint
        if parameters is not None:
            raise ValueError(
                f"--parameters needs the folder of a run, whose path has several sizes; {checkpoint} is one file."
            )
    target = out if out is not None else source.with_name(f"{source.stem}.compact.safetensors")
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists: add --force to write over it, or choose another --out.")

    import torch

    from coppice.cli import worth
    from coppice.parts.blueprint import save_model
    from coppice.parts.packing import read_model
    from coppice.parts.surgery import compact as cut_dead

    torch.set_num_threads(1)
    if checkpoint.is_dir():
        before, model, notes = _from_run(checkpoint, parameters)
    else:
        stored = read_model(source)
        if stored["plan"] is None and "network" not in stored["notes"]:
            if out is not None:
                raise ValueError(
                    f"{source} does not say how to build its model, so there is no --out to write: build it as usual and"
                    " call load_model(path, into=model), compact(model) and save_model(model, path)."
                )
            worth.print_weights(stored)
            return
        before, model, notes = *_twice(source), stored["notes"]
    removed = cut_dead(model).removed
    save_model(model, target, **notes)
    worth.print_sizes(before, model, _example(before, notes.get("input")))
    worth.print_products(before.state_dict(), model.state_dict())
    dead = ", ".join(f"{count} of {layer}" for layer, count in removed.items())
    print(f"dead neurons removed: {dead or 'none, every neuron is heard'}")
    print(f"written: {target}")


def _twice(file: Path) -> tuple["nn.Module", "nn.Module"]:
    from coppice.experiments.saved import rebuilt

    return rebuilt(file)[0], rebuilt(file)[0]


def _from_run(folder: Path, parameters: int | None) -> tuple["nn.Module", "nn.Module", dict[str, Any]]:
    """The network a run began with, and the one to keep: the final one, or the largest of the path within a budget."""
    from coppice.experiments import record
    from coppice.experiments.folder import Folder
    from coppice.parts import snapshot
    from coppice.parts.fitness import Step
    from coppice.parts.packing import read_model
    from coppice.parts.stopping import Budget

    run = Folder(folder)
    file = run.trained()
    path = record.read(run.record)["result"].get("path")
    before, model = _twice(file)
    if path:
        snapshot.restore_model(before, run.shelf[0])
    if parameters is not None:
        if not path:
            raise ValueError(f"{folder} searched no size, so it has no path to choose --parameters from.")
        steps = [Step(**{**step, "widths": tuple(step["widths"])}) for step in path]
        if parameters < steps[-1].parameters:
            raise ValueError(
                f"--parameters is {parameters}, but the smallest network of the path has {steps[-1].parameters}."
            )
        snapshot.restore_model(model, run.shelf[Budget(parameters).choose(steps).step])
    return before, model, read_model(file)["notes"]


def _example(model: "nn.Module", shape: list[int] | None) -> "Tensor | None":
    """One input: of the noted shape, or as long as the first Linear wants it; None when neither tells."""
    import torch
    from torch import nn

    if shape is not None:
        return torch.zeros(1, *shape)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            return torch.zeros(1, layer.in_features)
        if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
            return None
    return None
