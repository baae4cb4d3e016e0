"""The model a run left: rebuilt from its file alone, and weighed as saved."""

import tempfile
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from coppice.models import MODELS
from coppice.parts.blueprint import load_model, save_model
from coppice.parts.masks import Masks
from coppice.parts.packing import read_model
from coppice.parts.surgery import count_parameters


def rebuilt(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """(model on the CPU, notes) of a saved model, without pickle.

    A plain chain of layers is described by the file; another network is built from the recipe's table [model], the
    note "network", and takes the stored sizes, weights and masks. Raises ValueError where the file has neither.
    """
    stored = read_model(path)
    notes = stored.get("notes", {})
    if stored.get("plan") is not None or "network" not in notes:
        return load_model(path), notes
    table = notes["network"]
    if table.get("name") not in MODELS:
        raise ValueError(f"{path} holds a model '{table.get('name')}', which this coppice does not know.")
    plan = TypeAdapter(MODELS[table["name"]]).validate_python(table)
    return load_model(path, into=plan.build(notes["input"], notes["outputs"])), notes


def weighed(model: nn.Module) -> dict[str, Any]:
    """Parameters, how many of them are alive, the dead share of the synapses under masks, bytes as saved."""
    masks = Masks(model)
    total = count_parameters(model)
    return {
        "parameters": total,
        "alive": total - (masks.size - masks.alive),
        "sparsity": masks.sparsity,
        "bytes": saved_bytes(model),
    }


def saved_bytes(model: nn.Module, **notes: Any) -> int:
    """Size of the file that `save_model` writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_model(model, file, **notes)
        return file.stat().st_size
