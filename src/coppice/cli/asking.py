"""What coppice predict does with new samples: the classes, or the values, of a run; task and class of a learner."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coppice.learner import Learner


def predict_samples(run: Path, model: Any, notes: dict[str, Any], data: Path, out: Path | None) -> None:
    """A table on the terminal, and all of it in a .csv file; inputs scaled by the constants of the training samples.

    Raises ValueError for samples of another shape than those it was trained on.
    """
    import torch

    from coppice.data.samples import numbers, read_inputs
    from coppice.data.scaling import Scaling
    from coppice.experiments.forecasts import forecast

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
    _answer(data, header, lines, out)


def predict_classes(folder: Path, data: Path, task: str | None, out: Path | None) -> None:
    """What new samples are of: a table on the terminal, and all of it in a .csv file."""
    from coppice.data.samples import read_inputs
    from coppice.experiments import batch
    from coppice.learner import Learner

    learner = Learner.load(folder)
    if not learner.tasks:
        raise ValueError(
            f"the learner in {folder} has learned no task yet: `coppice learn NAME --into {folder}`."
        )
    x = read_inputs(data, _columns(learner, task))
    with batch.cpu_threads(1):
        found = learner.predict(x, task)
    best = found.probabilities.max(1).values.tolist()
    lines = [
        [str(number), name, label, f"{probability:.4f}"]
        for number, (name, label, probability) in enumerate(zip(found.tasks, found.labels, best, strict=True))
    ]
    header = ["sample", "task", "class", "probability"]
    remarks = [
        f"{name}: {learner.tasks[name].validation:.1%} right on samples held back when it had been learned"
        for name in sorted(set(found.tasks), key=list(learner.tasks).index)
    ]
    if task is None and len({one.shape for one in learner.tasks.values()}) < len(learner.tasks):
        remarks.insert(0, "the task of each was inferred, which errs more often than --task NAME")
    _answer(data, header, lines, out, remarks)


def _columns(learner: "Learner", task: str | None) -> tuple[str, ...] | None:
    """Of a table that is to be read for this task, or for any; None where all were learned from arrays."""
    if task is not None:
        return learner.known(task).columns
    tables = {one.columns: one.name for one in learner.tasks.values() if one.columns is not None}
    if len(tables) > 1:
        raise ValueError(
            f"the tasks {', '.join(tables.values())} were learned from tables with other columns each: give --task."
        )
    return next(iter(tables), None)


def _answer(
    data: Path, header: list[str], lines: list[list[str]], out: Path | None, remarks: Sequence[str] = ()
) -> None:
    """The first lines on the terminal, all of them in a .csv file."""
    from coppice.cli import terminal
    from coppice.parts import storage

    if out is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *lines])
        storage.write_bytes(out, text.getvalue().encode())
    terminal.print_first(f"{data.name}, the first sample is 0", header, lines)
    for remark in remarks:
        print(remark)
    if out is not None:
        print(f"written: {out}")
