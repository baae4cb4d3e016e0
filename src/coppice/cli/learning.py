"""coppice learn"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coppice.cli.running import resumable

if TYPE_CHECKING:
    from coppice.learner import Learner
    from coppice.methods.td_mcl import LearningTask

TABLES = {
    "model": "plan",
    "method": "method",
    "schooling": "schooling",
}  # of --set, and what a learner calls them


def learn(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the task is called from now on, such as digits.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled samples: .npz with the arrays x, y and, if you like, classes (their names), or a .csv table."
        ),
    ],
    into: Annotated[Path, typer.Option(help="Folder of the learner. A new one is made for its first task.")],
    target: Annotated[
        str | None, typer.Option(help="Of a .csv: the column that names the class; all others are inputs.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUE",
            help="For a new learner: a value of model, method or schooling; repeatable.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="For this task.", show_default="the learner's")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="For a new learner: of all its chance.", show_default="0")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this task where it was interrupted.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Teach a learner one more task. It keeps what it knew, and none of the samples.

    x holds vectors [n, feature], sequences [n, length, channel], images [n, channel, height, width] or frames of events
    [n, step, channel, height, width]; each task may bring another kind. y holds the class of each, numbers or text.
    Inputs other than frames are scaled by constants of the training samples, which stay with the task. A part of the
    samples is held back to say how well it went.

    The learner is a spiking network that grows by a module for each task (TD-MCL). How it is made is settled with the
    first task, as by `--set model.widths=[8,16] --set method.growth=strict --set schooling.epochs=20`. Everything is
    kept epoch by epoch: after Ctrl-C, or worse, the same line with --resume goes on to the same result.

    Then: `coppice predict FOLDER --data new.npz --task NAME`
    """
    from coppice.data.samples import read_samples, reading, scalable
    from coppice.experiments import batch
    from coppice.learner import Learner
    from coppice.learner.folder import LearnerFolder

    if LearnerFolder(into).exists:
        learner = Learner.load(into)
        refuse_changes(learner, into, set_ or [], seed)
    else:
        learner = Learner(**options(Learner(), set_ or []), seed=seed or 0)
    if name in learner.tasks and resume:
        print(f"{name} was learned already, nothing is left to do")
        return
    samples = read_samples(data, target)
    print(f"{name}: {len(samples.x):,} samples, taken as {reading(samples)}", flush=True)
    with resumable(context), batch.cpu_threads(threads), _watching(name) as show:
        summary = learner.learn(
            name, samples, scale=scalable(samples), epochs=epochs, on_epoch=show, into=into, resume=resume
        )
    _report(learner, name, summary)
    print(
        f"learner: {into}; next: coppice predict {shlex.quote(str(into))} --data NEW --task {shlex.quote(name)}"
    )


def options(base: "Learner", overrides: Sequence[str]) -> dict[str, Any]:
    """Plan, method and schooling of a learner, with `table.key=value` overrides. Raises ValueError as recipes do."""
    from coppice.experiments.tables import filled, nearest, toml_value

    tables: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    for override in overrides:
        key, equals, text = override.partition("=")
        table, dot, field = key.strip().partition(".")
        if not equals or not dot or "." in field:
            raise ValueError(
                f"--set {override} is not of the form table.key=value, such as model.widths=[8,16]."
            )
        if table not in TABLES:
            raise ValueError(f"--set {override}: there is no table '{table}'{nearest(table, TABLES)}")
        if (table, field) == ("model", "neuron"):
            raise ValueError(
                f"--set {override}: another neuron is chosen in Python, by Learner(ModularPlan(neuron=...))."
            )
        tables[table][field] = toml_value(text.strip())
    return {name: filled(getattr(base, name), tables[table], table) for table, name in TABLES.items()}


def refuse_changes(learner: "Learner", folder: Path, overrides: Sequence[str], seed: int | None) -> None:
    """Raises ValueError where a learner that is there would have to be another."""
    asked = options(learner, overrides)
    for table, name in TABLES.items():
        here, wanted = vars(getattr(learner, name)), vars(asked[name])
        for key in (key for key in here if here[key] != wanted[key]):
            raise ValueError(
                f"--set {table}.{key} asks for {wanted[key]!r}, but the learner in {folder} was made with {here[key]!r},"
                " for good: leave it out, or choose another --into."
                + (" --epochs changes them for one task." if key == "epochs" else "")
            )
    if seed is not None and seed != learner.seed:
        raise ValueError(
            f"--seed is {seed}, but the learner in {folder} was made with {learner.seed}, for good: leave it out, or"
            " choose another --into."
        )


def _report(learner: "Learner", name: str, summary: dict[str, Any]) -> None:
    task, lost = learner.tasks[name], sum(summary["died_in_old"].values())
    print(
        f"{name}: {len(task.classes)} classes, {task.samples:,} samples for training, {task.validation:.1%} right on those"
        " held back"
    )
    old = f"; {lost:,} kernels of earlier modules died" if len(learner.tasks) > 1 else ""
    modules = f"{len(learner.tasks)} modules" if len(learner.tasks) > 1 else "1 module"
    print(f"{summary['synapses']:,} living synapses in {modules}{old}")


@contextmanager
def _watching(name: str) -> Iterator[Callable[["LearningTask"], None]]:
    """What to call after each epoch: the table on a terminal, else a line at the start."""
    from coppice.cli import terminal

    if not terminal.drawable():
        print(f"{name}: started", flush=True)
        yield lambda process: None
        return
    with terminal.board() as rows:
        rows.start(name)

        def show(process: "LearningTask") -> None:
            doing = f"epoch {process.epoch} of {process.schooling.epochs}"
            rows.show(name, process.progress()._replace(doing=doing))

        yield show
