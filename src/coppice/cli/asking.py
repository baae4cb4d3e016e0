"""What coppice predict does with a run on samples: the classes, or the values, of new ones."""

import csv
import io
from pathlib import Path
from typing import Any

SHOWN = 20  # answers printed; a file has all


def predict_samples(run: Path, model: Any, notes: dict[str, Any], data: Path, out: Path | None) -> None:
    """A table on the terminal, and all of it in a .csv file; inputs scaled by the constants of the training samples.

    Raises ValueError for samples of another shape than those it was trained on.
    """
    import torch

    from coppice.cli import terminal
    from coppice.data.samples import numbers, read_inputs
    from coppice.data.scaling import Scaling
    from coppice.experiments.forecasts import forecast
    from coppice.parts import storage

    made, wanted = notes["data"], list(notes["input"])
    x = numbers("x", read_inputs(data, made.get("columns")))
    if list(x.shape[1:]) != wanted:
        raise ValueError(
            f"'{data.name}': a sample has shape {list(x.shape[1:])}, but {run} was trained on {wanted}: give x as"
            f" [n, {', '.join(map(str, wanted))}]."
        )
    inputs = Scaling(**made["scaling"]["features"])(x) if made["scaling"]["features"] else x
    outputs = forecast(model, torch.as_tensor(inputs, dtype=torch.float32)).double()
    if notes["task"] == "classification":
        sure = outputs.softmax(1) if notes["network"]["output"] == "linear" else outputs
        best = sure.max(1)
        header = ["sample", "class", "probability" if notes["network"]["output"] == "linear" else "output"]
        lines = [
            [str(place), str(notes["classes"][number]), f"{value:.4f}"]
            for place, (value, number) in enumerate(
                zip(best.values.tolist(), best.indices.tolist(), strict=True)
            )
        ]
    else:
        scale = made["scaling"]["target"]
        std, mean = (torch.tensor(scale[key], dtype=torch.float64) for key in ("std", "mean"))
        values = outputs * std + mean
        names = [made["target"]] if made.get("target") else [f"y{k}" for k in range(values.shape[1])]
        header = ["sample", *names]
        lines = [[str(place), *(f"{v:.6g}" for v in row)] for place, row in enumerate(values.tolist())]
    terminal.print_table(f"{data.name}, the first sample is 0", header, lines[:SHOWN])
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more")
    if out is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *lines])
        storage.write_bytes(out, text.getvalue().encode())
        print(f"written: {out}")
