"""coppice predict"""

from pathlib import Path
from typing import Annotated, Any

import typer


def predict(
    run: Annotated[
        Path,
        typer.Argument(
            help="The folder of a learner, or of a finished run; or the .safetensors file of either."
        ),
    ],
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Of a forecaster: new rows, as in training: a table in the long form with the same columns.",
            show_default="the rows of the series the run learned from",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Of a learner, or a run on samples: new ones, .npz with x or a .csv with the columns it learned from."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Of a learner: the task that the samples are of.", show_default="inferred for each"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write all of it there too, as csv.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Say what new samples are, with a learner or a run's model; or forecast what follows the last rows of a series.

    A learner (`coppice learn`) says task, class and probability of each sample of --data; a run on samples, such as
    `bdnn-digits`, class and probability, or the values. Inputs are scaled as in training.

    A forecaster sees the last rows of each series and says what comes next, in the unit of the target. The rows need
    the columns of the training data and at least as many rows as the model sees (data.length); they are scaled by
    the constants of the training rows. Earlier rows do no harm.
    """
    if out is not None and out.exists() and not force:
        raise FileExistsError(f"{out} exists: add --force to write over it, or choose another --out.")
    from coppice.cli import terminal
    from coppice.cli.asking import predict_classes, predict_samples
    from coppice.data import Preparation
    from coppice.experiments.folder import Folder
    from coppice.experiments.forecasts import forecast
    from coppice.experiments.saved import rebuilt
    from coppice.learner.folder import LearnerFolder
    from coppice.parts import storage

    home = LearnerFolder(run)
    if run.is_file() and run == (beside := LearnerFolder(run.parent)).file:
        home = beside
    if home.exists or home.begun:
        if data is None or csv is not None:
            raise ValueError(f"{run} holds a learner, which takes new samples by --data FILE (.npz or .csv).")
        predict_classes(home.path, data, task, out)
        return
    if task is not None:
        raise ValueError(
            f"--task is for a learner, but {run} holds none: leave it out, or name a learner's folder."
        )
    model, notes = rebuilt(Folder(run).trained() if run.is_dir() else run)
    if notes.get("task") in ("classification", "regression"):
        if data is None or csv is not None:
            raise ValueError(
                f"{run} holds a model for {notes['task']}, which takes new samples by --data FILE (.npz or .csv)."
            )
        predict_samples(run, model, notes, data, out)
        return
    if notes.get("task") != "forecast":
        raise ValueError(
            f"{run} holds a model of no run: `coppice run` and `coppice learn` make some that can predict."
        )
    if data is not None:
        raise ValueError(f"{run} holds a forecaster, which takes rows by --csv FILE, not --data.")
    error = _error(run)
    preparation = Preparation.from_record(notes["data"]["preparation"])
    rows, what = _rows(run, notes, csv)
    x, keys = preparation.latest(rows, what)
    found = preparation.restore(forecast(model, x), keys)
    if out is not None:
        storage.write_bytes(out, found.to_csv(index=False).encode())
    lines = [[_word(value) for value in line] for line in found.itertuples(index=False)]
    terminal.print_first(f"{notes['recipe']}, after the last rows of {what}", list(found.columns), lines)
    if error is not None:
        print(f"on its test rows the model was off by {error:.4g} on average")
    if out is not None:
        print(f"written: {out}")


def _rows(run: Path, notes: dict[str, Any], csv: Path | None) -> tuple[Any, str]:
    """A table of rows and its name for messages."""
    from coppice.data import Series
    from coppice.data.series import table
    from coppice.data.series_frame import read_frame

    if csv is not None:
        return read_frame(csv, notes["data"]["preparation"]["columns"]["id"]), f"'{csv.name}'"
    source = Series(**notes["source"])
    if source.csv is not None:
        raise ValueError(
            f"{run} learned from a table of yours, {source.csv}, which it does not keep: give the rows with --csv."
        )
    return table(source)[0], f"'{source.name}'"


def _error(run: Path) -> float | None:
    """Mean absolute error on the test rows, in the unit of the target, where the record of the run stands by."""
    from coppice.experiments import record

    file = run / "record.json"
    if not file.is_file():
        return None
    error: float | None = record.read(file)["result"]["final"].get("test_unit")
    return error


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).removesuffix(" 00:00:00")
